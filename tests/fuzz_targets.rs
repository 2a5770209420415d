//! The fuzz targets, run briefly on the stable compiler: over the kept inputs, and over random and mutated
//! ones. `make fuzz` looks further, guided by coverage.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

#[path = "../fuzz/targets/files.rs"]
mod files;
#[path = "../fuzz/targets/frames.rs"]
mod frames;
#[path = "../fuzz/targets/logins.rs"]
mod logins;
#[path = "../fuzz/targets/startup.rs"]
mod startup;

/// Inputs from `fuzz/corpus/NAME`, each as it is, and then with random bytes changed, inserted and cut.
fn run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let seeds: Vec<Vec<u8>> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    for seed in &seeds {
        target(seed);
    }
    let change = (any::<prop::sample::Index>(), 0_u8..3, any::<u8>());
    let mutated = (prop::sample::select(seeds), prop::collection::vec(change, 0..8)).prop_map(
        |(mut bytes, changes)| {
            for (place, kind, byte) in changes {
                let at = place.index(bytes.len() + 1);
                match kind {
                    0 => bytes.insert(at, byte),
                    1 if at < bytes.len() => bytes[at] = byte,
                    _ => bytes.truncate(at),
                }
            }
            bytes
        },
    );
    let random = prop::collection::vec(any::<u8>(), 0..400);
    let config = Config { cases: 4_000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&prop_oneof![3 => mutated, 1 => random], |bytes| {
            target(&bytes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn startup_packets() {
    run("startup", startup::run);
}

#[test]
fn frames_of_both_directions() {
    run("frames", frames::run);
}

#[test]
fn logins_on_both_legs() {
    run("logins", logins::run);
}

#[test]
fn files_of_operators() {
    run("files", files::run);
}
