//! The Python drivers that applications use: what they get straight is what they get through the proxy.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use support::{Stage, python};

#[test]
fn psycopg_gets_the_same_answers() {
    let stage = Stage::new();
    let said = stage.same(|conninfo| python("talk_psycopg.py", &[conninfo])).ok();
    assert_eq!(said.lines().last(), Some("1500"), "{said}");
}

#[test]
fn asyncpg_gets_the_same_answers() {
    let stage = Stage::new();
    let said = stage.same(|conninfo| python("talk_asyncpg.py", &[conninfo])).ok();
    assert_eq!(said.lines().last(), Some("200"), "{said}");
}
