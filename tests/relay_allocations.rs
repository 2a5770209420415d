//! The budget of the data path: a statement that fits the buffer costs no allocation.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use failover::NodeId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    time::Instant,
};

use understudy::{
    conf::{self, Sources},
    net::{Stream, Tls, stream::Outbox},
    pool::{budget::Budget, cancel::CancelTarget, server::ServerLink},
    protocol::{
        scan::Scanner,
        startup::CancelKey,
        tag::{client, server},
    },
    relay::{
        client::ClientLink,
        control::Control,
        run::{Relay, Scratch, Stopped},
    },
    shared::{
        census::Census,
        directory::Directory,
        identity::{Identity, PoolKey},
        parameters::Parameters,
    },
};

/// A future that counts what its polls allocate.
struct Counted<F> {
    inner: F,
    allocations: Rc<Cell<u64>>,
}

impl<F: Future + Unpin> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut polled = Poll::Pending;
        let count = allocation_counter::measure(|| polled = Pin::new(&mut self.inner).poll(cx));
        self.allocations.set(self.allocations.get() + count.count_total);
        polled
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn client_and_server() -> ((ClientLink, UnixStream), (ServerLink, UnixStream)) {
    let sources = Sources { set: vec!["nodes.0.host=h".to_owned()], ..Sources::default() };
    let settings = conf::load(&sources).unwrap().settings;
    let directory = Directory::default();
    let (cancels, _) = mpsc::unbounded_channel();
    let registration = directory.register(directory.next_session(), cancels, 4).unwrap();
    let identity =
        Arc::new(Identity { user: "u".into(), database: "d".into(), parameters: Vec::new() });
    let (near, client_end) = UnixStream::pair().unwrap();
    let client = ClientLink {
        stream: Stream::from(near),
        scanner: Scanner::default(),
        held: Vec::new(),
        outbox: Outbox::default(),
        identity: Arc::clone(&identity),
        credentials: None,
        told: Arc::new(Parameters::default()),
        registration,
        place: Census::default().enter(&settings.limits).unwrap(),
        replication: false,
    };
    let (near, server_end) = UnixStream::pair().unwrap();
    let key = CancelKey { pid: 1, secret: Box::default() };
    let target = CancelTarget::new(settings.nodes[0].clone(), Tls::default(), key);
    let server = ServerLink {
        stream: Stream::from(near),
        scanner: Scanner::default(),
        held: Vec::new(),
        outbox: Outbox::default(),
        parameters: Arc::new(Parameters::default()),
        notices: Arc::default(),
        key: PoolKey { identity, node: NodeId(0) },
        cancel: Rc::new(target),
        opened: Instant::now(),
        permit: Budget::new(1, None).try_take(NodeId(0)).unwrap(),
        doubt: None,
    };
    ((client, client_end), (server, server_end))
}

/// Relays `question` and `answer` back and forth, and returns what a thousand rounds allocate after the
/// first few.
fn allocations(question: &[u8], answer: &[u8]) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let ((mut client, mut asker), (mut server, mut answerer)) = client_and_server();
        let counted = Rc::new(Cell::new(0));
        let allocations = Rc::clone(&counted);
        let relaying = tokio::task::spawn_local(async move {
            let (control, scratch) = (Control::default(), Scratch::new());
            let relay = Relay::new(&mut client, &mut server, &control, &scratch, usize::MAX);
            Counted { inner: relay, allocations }.await
        });
        let (mut asked, mut answered) = (vec![0; question.len()], vec![0; answer.len()]);
        for round in 0..1_010 {
            if round == 10 {
                assert!(counted.get() > 0, "the first rounds do allocate, and are seen to");
                counted.set(0);
            }
            asker.write_all(question).await.unwrap();
            answerer.read_exact(&mut asked).await.unwrap();
            answerer.write_all(answer).await.unwrap();
            asker.read_exact(&mut answered).await.unwrap();
            assert_eq!((&asked[..], &answered[..]), (question, answer));
        }
        let total = counted.get();
        drop(asker);
        assert!(matches!(relaying.await.unwrap(), Stopped::ClientLeft));
        total
    })
}

#[test]
fn a_simple_query_allocates_nothing() {
    let question = message(client::QUERY, b"SELECT 1\0");
    let answer = [
        message(server::ROW_DESCRIPTION, &[0; 30]),
        message(server::DATA_ROW, &[0; 11]),
        message(server::COMMAND_COMPLETE, b"SELECT 1\0"),
        message(server::READY_FOR_QUERY, b"I"),
    ]
    .concat();
    assert_eq!(allocations(&question, &answer), 0);
}

#[test]
fn an_extended_query_allocates_nothing() {
    let question = [
        message(client::PARSE, b"\0SELECT $1\0\0\0"),
        message(client::BIND, &[0; 12]),
        message(client::DESCRIBE, b"P\0"),
        message(client::EXECUTE, &[0; 5]),
        message(client::SYNC, b""),
    ]
    .concat();
    let answer = [
        message(server::PARSE_COMPLETE, b""),
        message(server::BIND_COMPLETE, b""),
        message(server::ROW_DESCRIPTION, &[0; 30]),
        message(server::DATA_ROW, &[0; 11]),
        message(server::COMMAND_COMPLETE, b"SELECT 1\0"),
        message(server::READY_FOR_QUERY, b"I"),
    ]
    .concat();
    assert_eq!(allocations(&question, &answer), 0);
}
