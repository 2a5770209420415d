//! From a client's first byte to its login: encryption requests, startup packet, proof of identity.
//!
//! All of it lives in one boxed future that is dropped afterwards, so that a session in its steady state
//! stays small.

use std::{io, sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, time::Instant};

use super::{
    candidate::Candidate,
    client::{self, ClientLink},
    ending::{self, Ending},
    serve::Home,
};
use crate::{
    auth::{
        ChannelBinding, ClientLogin, Credentials, Step, StoredSecret, UserLookup,
        rules::{Attempt, Encryption, Origin},
    },
    conf::settings::AuthMethod,
    net::{
        Inbox, Stream,
        inbox::InboxError,
        stream::Outbox,
        tls::{ClientSide, Start},
    },
    pool::checkout::{self, Patience},
    protocol::{
        scan::{HEADER_LENGTH, Scanner},
        sqlstate,
        startup::{NEWEST, Opening, Startup, Version},
        tag,
        write::{self, Error},
    },
    shared::{
        census::{Full, Place},
        directory::{LONG_SECRET, Registration, SHORT_SECRET, SessionId},
        identity::Identity,
        parameters::Parameters,
    },
};

/// Bytes of the longest message a client sends while logging in (PostgreSQL's
/// `PG_MAX_AUTH_TOKEN_LENGTH`, and its length word).
const MESSAGE_LIMIT: u32 = 65_535 + 4;

/// A socket while its client logs in, and what was read from it.
struct Door {
    stream: Stream,
    inbox: Inbox,
}

/// Why a client does not come in.
pub(super) enum Shut {
    /// There is nobody to tell.
    Silently(Ending),
    /// It is told this; the log learns the reason.
    With(Error, String),
    /// It is told this; the log knows already.
    Known(Error),
}

/// Lets a client in, or sends it away with the reason. AuthenticationOk is written, and not yet sent,
/// when it is in.
///
/// # Errors
/// How the session ended that never began.
pub async fn log_in(stream: Stream, session: SessionId, home: &Home) -> Result<ClientLink, Ending> {
    let mut door = Door { stream, inbox: Inbox::default() };
    let shut = match admit(&mut door, session, home).await {
        Ok(admitted) => return Ok(admitted.into_link(door)),
        Err(shut) => shut,
    };
    let (error, ending) = match shut {
        Shut::Silently(ending) => return Err(ending),
        Shut::With(error, reason) => (error, Ending::Refused { reason }),
        Shut::Known(error) => (error, Ending::NoSession),
    };
    let mut outbox = Outbox::default();
    error.write(outbox.append());
    client::part(&mut door.stream, &mut outbox).await;
    Err(ending)
}

/// Who came in, before it is joined with its socket.
struct Admitted {
    identity: Arc<Identity>,
    credentials: Option<Credentials>,
    registration: Registration,
    place: Place,
    replication: bool,
    outbox: Outbox,
}

/// What a client has of `listen.login_timeout`. Time in which we wait for a node is not the client's.
struct Clock {
    limit: Duration,
    left: Duration,
}

async fn admit(door: &mut Door, session: SessionId, home: &Home) -> Result<Admitted, Shut> {
    let mut clock = Clock::new(home.settings.listen.login_timeout);
    let startup = clock.within(startup(door, home)).await?;
    let limits = &home.settings.limits;
    let mut place = home.census.enter(limits).map_err(full)?;
    let version = clock.within(negotiate(door, &startup)).await?;
    let credentials = prove(door, &startup, home, &mut clock).await?;
    place.name(limits, &startup.user, &startup.database).map_err(full)?;
    let mut outbox = Outbox::default();
    write::authentication_ok(outbox.append());

    let length = if version.minor >= 2 { LONG_SECRET } else { SHORT_SECRET };
    let registration = home
        .register(session, length)
        .map_err(|error| Shut::internal(format!("no randomness for a cancel key: {error}")))?;
    let replication = startup.is_replication();
    let mut parameters = startup.parameters;
    parameters.sort_unstable();
    let identity =
        Arc::new(Identity { user: startup.user, database: startup.database, parameters });
    Ok(Admitted { identity, credentials, registration, place, replication, outbox })
}

/// Answers encryption requests, carries a cancel request, and returns the startup packet.
async fn startup(door: &mut Door, home: &Home) -> Result<Startup, Shut> {
    // At most one request of either kind, as in PostgreSQL, lest a client keeps us asking for ever.
    let (mut ssl, mut gss) = (false, false);
    // A unix socket needs no TLS, and has none, as in PostgreSQL.
    let tls = home.tls.clients().filter(|_| door.stream.is_tcp());
    if let Some(side) = &tls
        && door.stream.begins_with_tls().await.map_err(|_| Shut::Silently(Ending::NoSession))?
    {
        door.secure(side, Start::Direct).await?;
        (ssl, gss) = (true, true);
    }
    loop {
        match door.inbox.opening(&mut door.stream).await {
            Ok(Opening::SslRequest) if !ssl => {
                ssl = true;
                match &tls {
                    None => door.decline().await?,
                    Some(side) => {
                        door.accept_tls(side).await?;
                        // Inside of TLS there is no other encryption.
                        gss = true;
                    }
                }
            }
            Ok(Opening::GssRequest) if !gss => {
                gss = true;
                door.decline().await?;
            }
            Ok(Opening::SslRequest | Opening::GssRequest) => {
                return Err(Shut::with(Error::fatal(
                    sqlstate::PROTOCOL_VIOLATION,
                    "received more than one request for encryption",
                )));
            }
            Ok(Opening::Cancel(key)) => {
                home.directory.cancel(&key).await;
                return Err(Shut::Silently(Ending::NoSession));
            }
            Ok(Opening::Startup(startup)) => {
                let missing = tls.is_some_and(|side| side.is_required()) && door.stream.is_tcp();
                return if missing { Err(Shut::without_tls()) } else { Ok(startup) };
            }
            Err(InboxError::Opening(error)) => {
                return Err(Shut::with(ending::bad_opening(&error)));
            }
            // A load balancer's probe connects and closes.
            Err(_) => return Err(Shut::Silently(Ending::NoSession)),
        }
    }
}

/// The version to speak. Where the client must be told, it is told before anything else.
async fn negotiate(door: &mut Door, startup: &Startup) -> Result<Version, Shut> {
    let version = startup.version.min(NEWEST);
    if version < startup.version || !startup.protocol_options.is_empty() {
        let mut bytes = Vec::new();
        write::negotiate_version(&mut bytes, version, &startup.protocol_options);
        door.send(&bytes).await?;
    }
    Ok(version)
}

/// Has the client prove who it is, in the way the rules say.
async fn prove(
    door: &mut Door,
    startup: &Startup,
    home: &Home,
    clock: &mut Clock,
) -> Result<Option<Credentials>, Shut> {
    let address = door.stream.peer_address().map_err(|_| Shut::Silently(Ending::NoSession))?;
    let candidate = Candidate {
        user: &startup.user,
        origin: address.map_or(Origin::Local, Origin::Address),
        home,
    };
    let attempt = Attempt {
        origin: candidate.origin,
        encryption: match door.stream.tls() {
            None => Encryption::None,
            Some(tls) => Encryption::Tls { certificate_name: tls.peer_common_name() },
        },
        user: &startup.user,
        database: &startup.database,
        physical_replication: startup.is_physical_replication(),
    };
    let method = home.files.rules.admit(&attempt).map_err(|refusal| candidate.refused(&refusal))?;
    if method != AuthMethod::Trust {
        candidate.check_throttle()?;
    }
    let secret = secret_of(door, &candidate).await?;
    clock.within(exchange(door, &candidate, method, secret.as_ref())).await
}

/// The authentication messages.
async fn exchange(
    door: &mut Door,
    candidate: &Candidate<'_>,
    method: AuthMethod,
    secret: Option<&StoredSecret>,
) -> Result<Option<Credentials>, Shut> {
    let Candidate { user, home, .. } = *candidate;
    let started = match door.stream.tls() {
        None => ClientLogin::start(method, user, secret, &home.salts),
        Some(tls) => {
            let binding = tls.end_point().map_or(ChannelBinding::Absent, |end_point| {
                ChannelBinding::TlsServerEndPoint(end_point.to_vec())
            });
            ClientLogin::start_bound(method, user, secret, &home.salts, binding)
        }
    };
    let (mut login, mut step) = started.map_err(|refusal| candidate.refused(&refusal))?;
    loop {
        match step {
            Step::Granted { send, credentials } => {
                if method != AuthMethod::Trust {
                    candidate.succeeded();
                }
                door.send(&send).await?;
                return Ok(credentials);
            }
            Step::Send(bytes) => door.send(&bytes).await?,
        }
        let message = match door.inbox.message(&mut door.stream, MESSAGE_LIMIT).await {
            Ok(message) => message,
            Err(InboxError::Io(_)) => return Err(Shut::Silently(Ending::NoSession)),
            Err(error) => {
                return Err(Shut::with(
                    Error::fatal(sqlstate::PROTOCOL_VIOLATION, "invalid message length")
                        .detail(error.to_string()),
                ));
            }
        };
        // Again: others may have failed meanwhile, and a crowd must not get more attempts than one.
        candidate.check_throttle()?;
        step = match message[0] {
            tag::client::PASSWORD => login.on_message(&message[HEADER_LENGTH..]),
            other => Err(login.on_other_message(other)),
        }
        .map_err(|refusal| candidate.refused(&refusal))?;
    }
}

/// What is known about a user: the users file first, then the query on a node that answers.
async fn secret_of(
    door: &mut Door,
    candidate: &Candidate<'_>,
) -> Result<Option<StoredSecret>, Shut> {
    let Candidate { user, home, .. } = *candidate;
    if let Some(secret) = home.files.users.find(user) {
        return Ok(Some(secret.clone()));
    }
    let Some(lookup) = home.lookup.as_ref() else { return Ok(None) };
    tokio::select! {
        biased;
        secret = look_up(lookup, candidate) => secret,
        () = door.left() => Err(Shut::Silently(Ending::NoSession)),
    }
}

/// Asks until a node answers, or `failover.hold_timeout` is over.
async fn look_up(
    lookup: &UserLookup,
    candidate: &Candidate<'_>,
) -> Result<Option<StoredSecret>, Shut> {
    let Candidate { user, home, .. } = *candidate;
    let mut patience = Patience::new(home.settings.failover.hold_timeout);
    loop {
        let changed = home.topology.changed();
        let nodes = checkout::answering_nodes(&home.topology.current());
        let nodes: Vec<_> =
            nodes.iter().map(|node| home.settings.nodes[node.index()].clone()).collect();
        let error = match lookup.find(&nodes, user).await {
            Ok(secret) => return Ok(secret),
            Err(error) => error,
        };
        if !error.is_of_the_node() || !patience.wait(changed).await {
            return Err(Shut::With(
                Error::fatal(
                    sqlstate::CANNOT_CONNECT_NOW,
                    "the proxy cannot look up this user on any node",
                )
                .hint("Try again later; the proxy's log says what the nodes answered."),
                candidate.named(&error),
            ));
        }
    }
}

/// As PostgreSQL says it; which limit it is only the log learns.
fn full(full: Full) -> Shut {
    let error = Error::fatal(sqlstate::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
    Shut::With(error, full.to_string())
}

// === impl Clock ===

impl Clock {
    fn new(limit: Duration) -> Self {
        Self { limit, left: limit }
    }

    /// Has a part of the login end in the time that is left.
    async fn within<T>(&mut self, part: impl Future<Output = Result<T, Shut>>) -> Result<T, Shut> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(self.left, part).await;
        self.left = self.left.saturating_sub(begun.elapsed());
        // PostgreSQL closes without a word when authentication_timeout runs out.
        outcome.unwrap_or_else(|_| {
            let limit = self.limit.as_millis();
            let reason = format!("not logged in within listen.login_timeout ({limit} ms)");
            Err(Shut::Silently(Ending::Refused { reason }))
        })
    }
}

// === impl Door ===

impl Door {
    /// Returns when the client leaves. Once it has sent something more, that is not to be seen.
    async fn left(&mut self) {
        if self.inbox.peek(&mut self.stream).await.is_ok() {
            std::future::pending().await
        }
    }

    /// "No" to a request for encryption.
    async fn decline(&mut self) -> Result<(), Shut> {
        self.send(b"N").await
    }

    /// "Yes" to a request for TLS, and the handshake.
    async fn accept_tls(&mut self, side: &ClientSide) -> Result<(), Shut> {
        if !self.inbox.is_empty() {
            // Whoever sent it, it must not pass for something that came encrypted (CVE-2021-23214).
            return Err(Shut::with(
                Error::fatal(
                    sqlstate::PROTOCOL_VIOLATION,
                    "received unencrypted data after SSL request",
                )
                .detail(
                    "This could be either a client-software bug or evidence of an attempted \
                     man-in-the-middle attack.",
                ),
            ));
        }
        self.send(b"S").await?;
        self.secure(side, Start::Asked).await
    }

    /// The handshake. When it fails nobody is left to be told: TLS's own alert has done that.
    async fn secure(&mut self, side: &ClientSide, start: Start) -> Result<(), Shut> {
        let stream = std::mem::take(&mut self.stream);
        self.stream = side.accept(stream, start).await.map_err(|error| {
            Shut::Silently(match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Ending::NoSession,
                _ => Ending::Refused { reason: format!("TLS handshake failed: {error}") },
            })
        })?;
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Shut> {
        self.stream.write_all(bytes).await.map_err(|_| Shut::Silently(Ending::NoSession))
    }
}

// === impl Shut ===

impl Shut {
    fn with(error: Error) -> Self {
        let reason = error.message.clone();
        Self::With(error, reason)
    }

    fn without_tls() -> Self {
        Self::with(
            Error::fatal(sqlstate::INVALID_AUTHORIZATION, "connections without TLS are refused")
                .hint("Connect with sslmode=require, or a stricter one."),
        )
    }

    fn internal(reason: String) -> Self {
        Self::With(Error::fatal(sqlstate::INTERNAL_ERROR, "the proxy is out of resources"), reason)
    }
}

// === impl Admitted ===

impl Admitted {
    fn into_link(self, door: Door) -> ClientLink {
        ClientLink {
            stream: door.stream,
            scanner: Scanner::default(),
            held: door.inbox.into_rest(),
            outbox: self.outbox,
            identity: self.identity,
            credentials: self.credentials,
            told: Arc::new(Parameters::default()),
            registration: self.registration,
            place: self.place,
            replication: self.replication,
        }
    }
}
