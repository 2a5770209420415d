//! Somebody between the proxy and a node, or between a client and the proxy.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, RwLock},
    thread,
};

use tokio::io::copy_bidirectional;
use understudy::{
    conf::settings::{Node, Settings},
    net::{Stream, Tls, tls::Start},
};

/// Passes bytes on, notes how each connection began, and answers itself when it is told to.
#[derive(Clone, Debug)]
pub struct Meddler {
    address: SocketAddr,
    begun: Arc<RwLock<Vec<[u8; 8]>>>,
    answer: Arc<RwLock<Option<Vec<u8>>>>,
    later: Arc<RwLock<Vec<u8>>>,
}

// === impl Meddler ===

impl Meddler {
    /// In front of a port of this machine, or of nothing at all.
    pub fn before(target: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let meddler =
            Self { address, begun: Arc::default(), answer: Arc::default(), later: Arc::default() };
        let accepting = meddler.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let meddler = accepting.clone();
                thread::spawn(move || meddler.meet(client, target));
            }
        });
        meddler
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on new connections get these bytes as the answer to their first packet, and a close.
    pub fn answer(&self, bytes: Option<&[u8]>) {
        *self.answer.write().unwrap() = bytes.map(<[u8]>::to_vec);
    }

    /// The same, and these bytes once the peer has said something more.
    pub fn answer_later(&self, bytes: &[u8], later: &[u8]) {
        self.answer(Some(bytes));
        *self.later.write().unwrap() = later.to_vec();
    }

    /// The first eight bytes of every connection so far.
    pub fn begun(&self) -> Vec<[u8; 8]> {
        self.begun.read().unwrap().clone()
    }

    fn meet(&self, mut client: TcpStream, target: Option<u16>) {
        let mut first = [0; 8];
        if client.read_exact(&mut first).is_err() {
            return;
        }
        self.begun.write().unwrap().push(first);
        if let Some(answer) = self.answer.read().unwrap().clone() {
            let _ = client.write_all(&answer);
            let later = self.later.read().unwrap().clone();
            if !later.is_empty() && client.read_exact(&mut [0]).is_ok() {
                let _ = client.write_all(&later);
            }
            let _ = client.shutdown(Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
            return;
        }
        let Some(target) = target else { return };
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)) else { return };
        server.write_all(&first).unwrap();
        let mut up = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut up.0, &mut up.1);
            let _ = up.1.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut server, &mut client);
        let _ = client.shutdown(Shutdown::Write);
    }
}

/// Ends TLS with a certificate of its own, and begins it anew towards a port of this machine: the man in
/// the middle whom only channel binding finds out where no certificate is verified.
pub fn man_in_the_middle(settings: Settings, target: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let tls = Tls::load(&settings).unwrap();
            let node = Node { host: "127.0.0.1".to_owned(), port: target, weight: 1.0 };
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (tls, node) = (tls.clone(), node.clone());
                tokio::task::spawn_local(async move {
                    use tokio::io::{AsyncReadExt, AsyncWriteExt};
                    if socket.read_exact(&mut [0; 8]).await.is_err() {
                        return;
                    }
                    socket.write_all(b"S").await.unwrap();
                    let side = tls.clients().unwrap();
                    let accepted = side.accept(Stream::from(socket), Start::Asked).await;
                    let Ok(mut client) = accepted else { return };
                    let Ok(mut server) = tls.connect(&node).await else { return };
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    port
}
