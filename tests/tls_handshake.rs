//! What a node may answer to a request for TLS, one answer after the other, without any node.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::{path::Path, time::Duration};

use support::meddler::Meddler;
use understudy::{
    conf::{self, Sources, settings::Node},
    net::{Stream, Tls, tls::NodeTlsError},
};

/// TLS with nodes in this mode.
fn tls(mode: &str) -> Tls {
    let set = vec!["nodes.0.host=a".to_owned(), format!("server_tls.sslmode={mode}")];
    let loaded = conf::load(&Sources { set, ..Sources::default() }).unwrap();
    Tls::load(&loaded.settings).unwrap()
}

/// What becomes of a connection to a node that answers so, and how it began.
async fn met(mode: &str, answer: &[u8]) -> (Result<Stream, NodeTlsError>, usize) {
    let meddler = Meddler::before(None);
    meddler.answer(Some(answer));
    let node = Node { host: "127.0.0.1".to_owned(), port: meddler.port(), weight: 1.0 };
    let tls = tls(mode);
    let met = tokio::time::timeout(Duration::from_secs(20), tls.connect(&node)).await.unwrap();
    (met, meddler.begun().len())
}

#[tokio::test]
async fn one_letter_is_all_that_is_believed() {
    let error = b"E\0\0\0\x0fSFATAL\0Mno\0\0";
    for mode in ["prefer", "require"] {
        for answer in [&b"E"[..], error, b"ESFATAL", b"E\xff\xff\xff\xff"] {
            let (met, _) = met(mode, answer).await;
            assert!(matches!(met, Err(NodeTlsError::ErrorBeforeTls)), "{mode} {answer:?}: {met:?}");
        }
        for answer in [&b"SS"[..], b"Sjunk", b"S\x16\x03\x03\0\x04", b"NN", b"NE\0\0\0\x04"] {
            let (met, _) = met(mode, answer).await;
            assert!(matches!(met, Err(NodeTlsError::ClearBytes)), "{mode} {answer:?}: {met:?}");
        }
        for answer in [&b"R"[..], b"\0", b"s", b"\xff", b"\x15\x03\x01\0\x02"] {
            let (met, _) = met(mode, answer).await;
            assert!(matches!(met, Err(NodeTlsError::NoAnswer(_))), "{mode} {answer:?}: {met:?}");
        }
        let (met, _) = met(mode, b"").await;
        assert!(matches!(met, Err(NodeTlsError::Io(_))), "{mode}: {met:?}");
    }
    let (met, _) = met("require", b"N").await;
    assert!(matches!(met, Err(NodeTlsError::Declined)), "{met:?}");
    let (met, _) = self::met("prefer", b"N").await;
    assert!(met.unwrap().is_tcp());
}

#[tokio::test]
async fn where_the_handshake_fails_only_prefer_does_without_tls() {
    // A node that is lost in the middle is not one to distrust: it is worth another attempt.
    let (met, _) = met("require", b"S").await;
    assert!(matches!(met, Err(NodeTlsError::Io(_))), "{met:?}");
    let (met, _) = self::met("prefer", b"S").await;
    assert!(met.unwrap().is_tcp());
    for (mode, is_taken) in [("require", false), ("prefer", true)] {
        let meddler = Meddler::before(None);
        meddler.answer_later(b"S", b"-ERR this is no TLS, and never will be\r\n");
        let node = Node { host: "127.0.0.1".to_owned(), port: meddler.port(), weight: 1.0 };
        let met = tls(mode).connect(&node).await;
        assert_eq!(met.is_ok(), is_taken, "{met:?}");
        assert!(is_taken || matches!(met, Err(NodeTlsError::Handshake(_))), "{met:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_not_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".s.PGSQL.5432");
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    let host = Path::display(directory.path()).to_string();
    let node = Node { host, port: 5432, weight: 1.0 };
    let stream = tls("require").connect(&node).await.unwrap();
    assert!(matches!(stream, Stream::Unix(_)));
}

#[test]
fn a_session_without_tls_pays_little_for_it() {
    // A tag, which two kinds of sockets need anyway.
    assert!(size_of::<Stream>() <= size_of::<tokio::net::TcpStream>() + size_of::<usize>() * 2);
}
