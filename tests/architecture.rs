//! The direction of dependencies between folders, held against the `use` lines of every source file.
//!
//! An arrow may only point down, or sideways where the table says so. ARCHITECTURE.md shows the same
//! table for people.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Level of each folder of `src`. A folder may use those of lower levels, and of its own.
const LEVELS: [(&str, u32); 13] = [
    ("cli", 5),
    ("actors", 4),
    ("lab", 4),
    ("relay", 3),
    ("pool", 3),
    ("probe", 3),
    ("net", 2),
    ("auth", 2),
    ("shared", 2),
    ("log", 2),
    ("protocol", 1),
    ("conf", 1),
    ("main.rs", 6),
];

/// Crates that only some folders may use, and why.
const RESERVED: [(&[&str], &[&str], &str); 6] = [
    (&["actix", "actix_rt"], &["actors"], "actors are the hands; nothing else knows actix"),
    (
        &["tokio", "tokio_postgres", "socket2"],
        &["actors", "relay", "pool", "probe", "net", "auth", "shared", "lab", "log"],
        "protocol and conf are pure: no sockets, no clock",
    ),
    (&["tokio_rustls", "x509_parser", "arc_swap"], &["net"], "TLS is spoken in net alone"),
    (&["rustls"], &["net", "conf"], "TLS is spoken in net; conf reads certificate files"),
    (&["dashmap"], &["shared"], "maps that threads share"),
    (&["config", "toml"], &["conf", "lab", "cli"], "only conf reads configuration"),
];

/// `use` paths and inline paths of a file, as far as they name a crate or a folder of ours.
fn named(text: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(top_level_names(group));
        } else {
            found.push(identifier(rest));
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The first identifiers of each item in `a::{b, c}, d}`, up to the brace that ends the group.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0_u32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(identifier(group[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(identifier(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every file of `src` with the folder it belongs to and its text.
fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root)
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let folder = inside.components().next().unwrap().as_os_str().to_str().unwrap();
            let text = without_comments(&fs::read_to_string(&path).unwrap());
            (folder.to_owned(), path, text)
        })
        .filter(|(folder, ..)| folder != "lib.rs")
        .collect()
}

#[test]
fn arrows_between_folders_only_point_down() {
    let levels: BTreeMap<_, _> = LEVELS.into_iter().collect();
    let mut wrong = Vec::new();
    for (folder, path, text) in files() {
        let Some(level) = levels.get(folder.as_str()) else {
            wrong.push(format!("{folder} has no level: add it to LEVELS and to ARCHITECTURE.md"));
            continue;
        };
        let ours = [named(&text, "crate::"), named(&text, "understudy::")].concat();
        for used in ours {
            if let Some(other) = levels.get(used.as_str())
                && other > level
            {
                wrong.push(format!("{} uses {used}, which stands above it", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reserved_crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (folder, path, text) in files() {
        for (crates, folders, why) in RESERVED {
            for name in crates {
                let uses = text.contains(&format!("use {name}::"))
                    || !named(&text, &format!("{name}::")).is_empty();
                if uses && !folders.contains(&folder.as_str()) {
                    wrong.push(format!("{} uses {name}: {why}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_failover_crate_depends_on_nothing() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/failover/Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let always: Vec<_> = dependencies
        .iter()
        .filter(|(_, how)| how.get("optional") != Some(&toml::Value::Boolean(true)))
        .map(|(name, _)| name)
        .collect();
    assert!(always.is_empty(), "the failover crate is pure, but always needs {always:?}");
}

#[test]
fn no_profile_turns_a_panic_into_the_end_of_the_process() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    for (name, profile) in manifest["profile"].as_table().unwrap() {
        let panic = profile.get("panic").and_then(toml::Value::as_str).unwrap_or("unwind");
        assert_eq!(panic, "unwind", "profile {name}: a panic must end one session only");
    }
}

#[test]
fn the_reader_of_use_lines_sees_what_it_must() {
    let text = "use crate::{a::b, c::{d, e}, f};\nlet x = crate::g::h();\nuse $crate::i;";
    assert_eq!(named(text, "crate::"), ["a", "c", "f", "g"]);
}
