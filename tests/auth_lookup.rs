//! `auth_query` against scripted nodes: what they are asked, and what becomes of their answers.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use std::{cell::RefCell, collections::VecDeque, future::Future, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use understudy::{
    auth::{LookupError, StoredSecret, UserLookup},
    conf::{
        Secret,
        settings::{Monitor, Node},
    },
};

const PLANTED: &str = "swordfish-7731";
const TEXT: u32 = 25;
const INT4: u32 = 23;

#[test]
fn a_secret_is_found_and_kept() {
    run(async {
        let node =
            FakeNode::start(vec![rows(&["u", "s"], &[&["joe", PLANTED]]), rows(&["u", "s"], &[])])
                .await;
        let lookup = lookup(Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(clear(lookup.find(&[node.node()], "joe").await), PLANTED);
        }
        // Asked again only once the answer is forgotten.
        lookup.forget("joe");
        assert!(lookup.find(&[node.node()], "joe").await.unwrap().is_none());

        let seen = node.seen();
        assert_eq!(seen.queries, ["joe", "joe"]);
        assert_eq!(seen.connections, 1, "the connection stays");
        let startup = &seen.startups[0];
        for part in ["user\0understudy", "database\0authdb", "options\0-c search_path=pg_catalog"] {
            assert!(startup.contains(part), "{startup}");
        }
        assert!(!startup.contains("joe"));
    });
}

#[test]
fn nothing_is_kept_for_zero_seconds() {
    run(async {
        let answer = || rows(&["u", "s"], &[&["joe", PLANTED]]);
        let node = FakeNode::start(vec![answer(), answer()]).await;
        let lookup = lookup(Duration::ZERO);
        for _ in 0..2 {
            assert_eq!(clear(lookup.find(&[node.node()], "joe").await), PLANTED);
        }
        assert_eq!(node.seen().queries.len(), 2);
    });
}

#[test]
fn made_up_names_do_not_fill_the_memory() {
    run(async {
        let node = FakeNode::start((0..1002).map(|_| rows(&["u", "s"], &[])).collect()).await;
        let lookup = lookup(Duration::from_secs(60));
        for number in 0..1001 {
            assert!(lookup.find(&[node.node()], &format!("u{number}")).await.unwrap().is_none());
        }
        // The newest answer is kept, the oldest had to make room.
        for (name, asked) in [("u1000", 1001), ("u0", 1002)] {
            lookup.find(&[node.node()], name).await.unwrap();
            assert_eq!(node.seen().queries.len(), asked);
        }
    });
}

#[test]
fn what_the_query_must_not_return_is_named() {
    run(async {
        let scram = format!("SCRAM-SHA-256$4096:{PLANTED}");
        for (answer, expected) in [
            (rows(&["s"], &[&[PLANTED]]), "returns 1 columns; it must return two"),
            (
                rows(&["u", "s", "x"], &[&["joe", PLANTED, "x"]]),
                "returns 3 columns; it must return two",
            ),
            (rows(&["u", "s"], &[&["joe", PLANTED], &["joe", PLANTED]]), "more than one row"),
            (rows(&["u", "s"], &[&["JOE", PLANTED]]), "answered for another"),
            (rows(&["u", "s"], &[&["joe", &scram]]), "unusable secret for user joe"),
            (typed(&[TEXT, INT4], &[&["joe", "1234"]]), "column secret is of another type"),
            (Answer::Error("42P01", "relation does not exist"), "relation does not exist (42P01)"),
        ] {
            let node = FakeNode::start(vec![answer]).await;
            let other = FakeNode::start(vec![]).await;
            let error =
                lookup(Duration::ZERO).find(&[node.node(), other.node()], "joe").await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(expected), "{told}");
            assert!(!told.contains(PLANTED), "{told}");
            assert_eq!(other.seen().connections, 0, "no other node would answer better");
        }
    });
}

#[test]
fn null_and_empty_secrets_are_none() {
    run(async {
        let null = Answer::Rows(vec![TEXT, TEXT], vec![vec![Some("joe".into()), None]]);
        let nulls = Answer::Rows(vec![TEXT, TEXT], vec![vec![None, None]]);
        let node = FakeNode::start(vec![null, nulls, rows(&["u", "s"], &[&["joe", ""]])]).await;
        let lookup = lookup(Duration::ZERO);
        for _ in 0..3 {
            assert!(lookup.find(&[node.node()], "joe").await.unwrap().is_none());
        }
    });
}

#[test]
fn the_next_node_is_asked_when_one_cannot_answer() {
    run(async {
        let good = || rows(&["u", "s"], &[&["joe", PLANTED]]);
        let dead = Node { host: "127.0.0.1".into(), port: unused_port().await, weight: 1.0 };
        let leaving = FakeNode::start(vec![Answer::Error("57P01", "shutting down")]).await;
        let dropping = FakeNode::start(vec![Answer::Drop, Answer::Drop]).await;
        let silent = FakeNode::start(vec![Answer::Silence]).await;
        let alive = FakeNode::start(vec![good()]).await;
        let nodes = [dead.clone(), leaving.node(), dropping.node(), silent.node(), alive.node()];
        assert_eq!(clear(lookup(Duration::ZERO).find(&nodes, "joe").await), PLANTED);

        let error = lookup(Duration::ZERO).find(&[dead], "joe").await.unwrap_err();
        assert!(error.to_string().contains("cannot connect to node 127.0.0.1:"), "{error}");
        let silent = FakeNode::start(vec![Answer::Silence]).await;
        let error = lookup(Duration::ZERO).find(&[silent.node()], "joe").await.unwrap_err();
        assert!(matches!(error, LookupError::Silent { .. }), "{error}");
        let error = lookup(Duration::ZERO).find(&[], "joe").await.unwrap_err();
        assert!(matches!(error, LookupError::NoNode));
    });
}

#[test]
fn a_connection_that_died_is_replaced_at_the_same_node() {
    run(async {
        let good = || rows(&["u", "s"], &[&["joe", PLANTED]]);
        let node = FakeNode::start(vec![good(), Answer::Drop, good()]).await;
        let lookup = lookup(Duration::ZERO);
        for _ in 0..2 {
            assert_eq!(clear(lookup.find(&[node.node()], "joe").await), PLANTED);
        }
        assert_eq!(node.seen().connections, 2);
    });
}

#[test]
fn a_crowd_shares_one_connection() {
    run(async {
        let answers = (0..20).map(|_| rows(&["u", "s"], &[&["joe", PLANTED]])).collect();
        let node = FakeNode::start(answers).await;
        let (lookup, nodes) = (lookup(Duration::ZERO), [node.node()]);
        let finds = (0..20).map(|_| lookup.find(&nodes, "joe"));
        for found in futures::future::join_all(finds).await {
            assert_eq!(clear(found), PLANTED);
        }
        assert_eq!(node.seen().connections, 1);
    });
}

// === helpers ===

fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, story);
}

fn lookup(keep: Duration) -> UserLookup {
    let monitor = Monitor {
        user: "understudy".into(),
        password: Some(Secret::new("unused".into())),
        database: "postgres".into(),
    };
    UserLookup::new(
        "SELECT u, s FROM users WHERE u = $1",
        "authdb",
        monitor,
        keep,
        Duration::from_millis(300),
    )
}

fn clear(found: Result<Option<StoredSecret>, LookupError>) -> String {
    match found {
        Ok(Some(StoredSecret::Clear(password))) => password.reveal().to_owned(),
        other => panic!("{other:?}"),
    }
}

async fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

enum Answer {
    Rows(Vec<u32>, Vec<Vec<Option<String>>>),
    Error(&'static str, &'static str),
    Silence,
    Drop,
}

fn rows(columns: &[&str], rows: &[&[&str]]) -> Answer {
    typed(&vec![TEXT; columns.len()], rows)
}

fn typed(types: &[u32], rows: &[&[&str]]) -> Answer {
    let rows = rows
        .iter()
        .map(|row| row.iter().map(|value| Some((*value).to_owned())).collect())
        .collect();
    Answer::Rows(types.to_vec(), rows)
}

#[derive(Clone, Default)]
struct Seen {
    connections: usize,
    startups: Vec<String>,
    queries: Vec<String>,
}

/// A node that lets everybody in and answers each query with the next line of its script.
struct FakeNode {
    port: u16,
    seen: Rc<RefCell<Seen>>,
}

impl FakeNode {
    async fn start(script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Rc::new(RefCell::new(Seen::default()));
        let script = Rc::new(RefCell::new(VecDeque::from(script)));
        let watched = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                watched.borrow_mut().connections += 1;
                tokio::task::spawn_local(serve(socket, Rc::clone(&script), Rc::clone(&watched)));
            }
        });
        Self { port, seen }
    }

    fn node(&self) -> Node {
        Node { host: "127.0.0.1".into(), port: self.port, weight: 1.0 }
    }

    fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

async fn serve(
    mut socket: TcpStream,
    script: Rc<RefCell<VecDeque<Answer>>>,
    seen: Rc<RefCell<Seen>>,
) {
    let Ok(length) = socket.read_u32().await else { return };
    let mut startup = vec![0; length as usize - 4];
    socket.read_exact(&mut startup).await.unwrap();
    seen.borrow_mut().startups.push(String::from_utf8_lossy(&startup[4..]).into_owned());
    socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
    loop {
        let Ok(tag) = socket.read_u8().await else { return };
        let length = socket.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        socket.read_exact(&mut body).await.unwrap();
        match tag {
            // Bind: two empty names, one format code, then the one parameter.
            b'B' => {
                let value = &body[2..][4..][2..];
                let length = u32::from_be_bytes(value[..4].try_into().unwrap()) as usize;
                seen.borrow_mut()
                    .queries
                    .push(String::from_utf8(value[4..4 + length].to_vec()).unwrap());
            }
            b'S' => {
                let answer =
                    script.borrow_mut().pop_front().expect("a query that is not in the script");
                let bytes = match answer {
                    Answer::Drop => return,
                    Answer::Silence => continue,
                    Answer::Error(state, text) => {
                        message(b'E', format!("SERROR\0C{state}\0M{text}\0\0").as_bytes())
                    }
                    Answer::Rows(types, rows) => result(&types, &rows),
                };
                socket.write_all(&[&bytes, &b"Z\0\0\0\x05I"[..]].concat()).await.unwrap();
            }
            _ => {}
        }
    }
}

fn result(types: &[u32], rows: &[Vec<Option<String>>]) -> Vec<u8> {
    let count = (types.len() as u16).to_be_bytes();
    let mut description = count.to_vec();
    for kind in types {
        description.extend_from_slice(b"c\0\0\0\0\0\0\0");
        description.extend_from_slice(&kind.to_be_bytes());
        description.extend_from_slice(&[0, 4, 255, 255, 255, 255, 0, 1]);
    }
    let mut bytes =
        [message(b'1', b""), message(b'2', b""), message(b't', &[0, 1, 0, 0, 0, 25])].concat();
    bytes.extend(message(b'T', &description));
    for row in rows {
        let mut data = count.to_vec();
        for value in row {
            match value {
                Some(text) => {
                    data.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    data.extend_from_slice(text.as_bytes());
                }
                None => data.extend_from_slice(&[255; 4]),
            }
        }
        bytes.extend(message(b'D', &data));
    }
    bytes.extend(message(b'C', b"SELECT\0"));
    bytes
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}
