//! What people hear who start the program with something wrong.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

use nix::sys::signal::Signal;
use understudy::lab::{Cluster, ClusterSpec, Login};

use support::{LIMIT, Proxy, ProxySpec, Stage, connect, proxy::free_port, value};

/// Runs a start that must fail at once.
fn fails(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn every_mistake_in_the_configuration_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("understudy.toml");
    fs::write(
        &file,
        "[[nodes]]\nhost = \"127.0.0.1\"\nport = \"much\"\n\n[pool]\nmax_idel = 3\n\n\
         [failover]\nhold_timeout = \"soon\"\n",
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("run").arg("--config").arg(&file);
    let (code, said) = fails(command);
    assert_eq!(code, Some(2), "{said}");
    for part in ["nodes.0.port", "max_idel", "max_idle", "hold_timeout", "soon", ":3", ":6"] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
}

#[test]
fn files_that_are_missing_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("nowhere.toml").display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(["run", "--config", &missing]);
    let (code, said) = fails(command);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&missing), "{said}");

    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let (port, _reserved) = free_port();
    for (key, exit) in [("auth.users_file", Some(2)), ("monitor.password_file", Some(2))] {
        let setting = format!("{key}={missing}");
        let spec = ProxySpec::of(&cluster).set(&[&setting]);
        let (code, said) = fails(spec.command(directory.path(), port));
        assert_eq!(code, exit, "{said}");
        assert!(said.contains(&missing), "{said}");
    }
    let none = directory.path().join("none").display().to_string();
    let spec = ProxySpec::of(&cluster).set(&[&format!("listen.unix_socket_dir={none}")]);
    let (code, said) = fails(spec.command(directory.path(), port));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("{none} is not a directory; create it")), "{said}");
}

#[test]
fn a_users_file_with_mistakes_names_the_lines() {
    let directory = tempfile::tempdir().unwrap();
    let users = support::proxy::file(directory.path(), "users", "\"app\" \"x\"\n\"half\n");
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let (port, _reserved) = free_port();
    let setting = format!("auth.users_file={}", users.display());
    let spec = ProxySpec::of(&cluster).set(&[&setting]);
    let (code, said) = fails(spec.command(directory.path(), port));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{}:2", users.display())), "{said}");
}

#[test]
fn a_port_in_use_is_told_with_the_remedy() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let (code, said) = fails(ProxySpec::of(&cluster).command(directory.path(), port));
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(
        said.lines().next().unwrap(),
        format!(
            "error: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98); another \
             process listens there: stop it, or choose another port in listen.addresses"
        )
    );

    // A second one of us on the same unix socket does not take it away from the first.
    let stage = Stage::new();
    let spec = ProxySpec::of(&stage.cluster);
    let (other, _reserved) = free_port();
    let taken = format!("listen.unix_socket_dir={}", stage.proxy.socket_dir().display());
    let addresses = format!("listen.addresses=0.0.0.0:{}", stage.proxy.port());
    let (code, said) =
        fails(spec.clone().set(&[&taken, &addresses]).command(directory.path(), other));
    assert_eq!(code, Some(1), "{said}");
    let file = stage.proxy.socket_dir().join(format!(".s.PGSQL.{}", stage.proxy.port()));
    std::os::unix::net::UnixStream::connect(file).unwrap();
}

#[tokio::test]
async fn a_killed_predecessor_is_no_hindrance() {
    let mut stage = Stage::new();
    let port = stage.proxy.port();
    let directory = stage.proxy.socket_dir().to_owned();
    let client = connect(&stage.proxied(Login::App)).await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
    stage.proxy.signal(Signal::SIGKILL);
    stage.proxy.await_end();
    // The same port, though its last connections linger, and the same socket file, which was left.
    let mut command = ProxySpec::of(&stage.cluster).command(&directory, port);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let began = std::time::Instant::now();
    let client = loop {
        match support::try_connect(&stage.proxied(Login::App)).await {
            Ok(client) => break client,
            Err(error) => assert!(began.elapsed() < LIMIT, "{error:?}"),
        }
        assert_eq!(child.try_wait().unwrap(), None);
        tokio::task::yield_now().await;
    };
    assert_eq!(value(&client, "SELECT 2").await, "2");
    let by_socket =
        stage.proxied(Login::App).replace("127.0.0.1", &directory.display().to_string());
    let client = connect(&by_socket).await;
    assert_eq!(value(&client, "SELECT 3").await, "3");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_wrong_password_of_the_monitor_is_told_in_the_log() {
    let cluster = Cluster::create(ClusterSpec::with_nodes(1)).unwrap();
    let spec = ProxySpec::of(&cluster).set(&[
        "monitor.password=planted-secret",
        "monitor.password_file=",
        "failover.hold_timeout=100ms",
    ]);
    let proxy = Proxy::start(&spec);
    proxy.await_sentence("check_failed", "password authentication failed for user \"understudy\"");
    let error = support::try_connect(&proxy.conninfo(&cluster, Login::App)).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57P03");
    assert!(!proxy.log().contains("planted-secret"), "{}", proxy.log());
}
