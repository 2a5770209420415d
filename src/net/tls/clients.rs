//! TLS with clients: we are the server.

use std::{io, sync::Arc};

use rustls::{
    ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{PROTOCOL, certificate, provider, secure::Secure};
use crate::{
    conf::{
        certificates::{self, Flaw, Material},
        settings::{ClientTls, ClientTlsMode},
    },
    net::Stream,
};

/// Shows our certificate to clients, and may ask for theirs.
#[derive(Debug)]
pub struct ClientSide {
    acceptor: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
    is_required: bool,
}

/// How a client began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It asked first, by SSLRequest.
    Asked,
    /// It sent its hello at once (PostgreSQL 17's `sslnegotiation=direct`).
    Direct,
}

// === impl ClientSide ===

impl ClientSide {
    /// Reads the files of the section; nothing where TLS is off.
    pub(super) fn load(section: &ClientTls) -> Result<Option<Self>, Vec<Flaw>> {
        let Material { identity, authorities } = certificates::for_clients(section)?;
        let Some(identity) = identity else { return Ok(None) };
        let provider = provider();
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for both versions");
        let config = match authorities {
            None => config.with_no_client_auth(),
            Some(authorities) => {
                let store = Arc::clone(&authorities.store);
                let verifier = WebPkiClientVerifier::builder_with_provider(store, provider);
                let verifier = match section.mode {
                    ClientTlsMode::VerifyCa | ClientTlsMode::VerifyFull => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| {
                    vec![Flaw {
                        key: "client_tls.ca_file".to_owned(),
                        problem: error.to_string(),
                        remedy: "name authorities that may sign client certificates",
                    }]
                })?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let end_point = identity.cert.first().and_then(|own| certificate::server_end_point(own));
        let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Some(Self {
            acceptor: Arc::new(config),
            end_point: end_point.map(Arc::from),
            is_required: matches!(
                section.mode,
                ClientTlsMode::Require | ClientTlsMode::VerifyCa | ClientTlsMode::VerifyFull
            ),
        }))
    }

    /// Whether clients by TCP must speak TLS.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// Does the handshake. The caller sets the time limit.
    ///
    /// # Errors
    /// As rustls or the socket report them. The client has been told by TLS's own alert.
    pub async fn accept(&self, stream: Stream, start: Start) -> io::Result<Stream> {
        let stream = TlsAcceptor::from(Arc::clone(&self.acceptor)).accept(stream).await?;
        let session = stream.get_ref().1;
        // PostgreSQL demands it, lest a hello that was meant for another protocol is taken for one of
        // ours (the ALPACA attack). Who has sent an SSLRequest has said what it speaks.
        if start == Start::Direct && session.alpn_protocol() != Some(PROTOCOL) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "direct TLS without the ALPN protocol \"postgresql\"",
            ));
        }
        // Here the certificates are verified ones: rustls has let no others pass.
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let is_verified = shown.is_some();
        let name = shown.and_then(|shown| certificate::common_name(shown));
        let stream = TlsStream::Server(stream);
        Ok(Secure::new(stream, self.end_point.clone(), name, is_verified).into())
    }
}
