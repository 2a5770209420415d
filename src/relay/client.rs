//! What a session keeps of its client, whichever server connection it uses.

use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    auth::Credentials,
    net::{Stream, stream::Outbox},
    protocol::{scan::Scanner, write},
    shared::{
        census::Place, directory::Registration, greetings::Greeting, identity::Identity,
        parameters::Parameters,
    },
};

/// A logged-in client.
#[derive(Debug)]
pub struct ClientLink {
    /// The socket.
    pub stream: Stream,
    /// Where the client's messages stand.
    pub scanner: Scanner,
    /// Read from the client and not yet passed on.
    pub held: Vec<u8>,
    /// What the client has not taken yet.
    pub outbox: Outbox,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What we may use towards nodes on its behalf.
    pub credentials: Option<Credentials>,
    /// The settings it has been told of.
    pub told: Arc<Parameters>,
    /// Its cancel key.
    pub registration: Registration,
    /// Its place in the count of clients.
    pub place: Place,
    /// Whether it asked for a replication connection, which is never pooled.
    pub replication: bool,
}

/// How long a client may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

// === impl ClientLink ===

impl ClientLink {
    /// Notes that the client is now told everything in `parameters`, and appends what it did not know.
    pub fn tell(&mut self, parameters: &Arc<Parameters>) {
        if Arc::ptr_eq(&self.told, parameters) {
            return;
        }
        for (name, value) in parameters.beyond(&self.told) {
            write::parameter_status(self.outbox.append(), name, value);
        }
        self.told = Arc::clone(parameters);
    }

    /// Appends what PostgreSQL tells at login: notices and settings, as a server of its pool told them,
    /// then cancel key and ready for query.
    pub fn greet(&mut self, greeting: &Greeting) {
        self.outbox.append().extend_from_slice(&greeting.notices);
        self.tell(&greeting.parameters);
        let out = self.outbox.append();
        write::backend_key_data(out, &self.registration.key);
        write::ready_for_query(out, write::IDLE);
    }

    /// Says the last words and closes.
    pub async fn part(self, last_words: Option<&write::Error>) {
        let Self { mut stream, mut outbox, .. } = self;
        if let Some(error) = last_words {
            error.write(outbox.append());
        }
        part(&mut stream, &mut outbox).await;
    }
}

/// Sends what waits, closes our side, and reads what the client still sends: closing over unread bytes
/// would reset the connection, and take our last words with it.
pub async fn part(stream: &mut Stream, outbox: &mut Outbox) {
    // A client that does not read its last words in time goes without.
    let _ = timeout(LAST_WORDS, async {
        if std::future::poll_fn(|cx| outbox.poll_flush(stream, cx)).await.is_err() {
            return;
        }
        // The peer may be gone already; then there is nobody to tell.
        let _ = stream.shutdown().await;
        let mut ignored = [0; 1024];
        while let Ok(1..) = std::future::poll_fn(|cx| stream.poll_read_into(cx, &mut ignored)).await
        {
        }
    })
    .await;
}
