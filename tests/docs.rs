//! What the documentation says is what the program does.
//!
//! `UNDERSTUDY_BLESS=1 cargo test --test docs` writes the generated parts anew.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{fmt::Write, fs, path::Path};

use understudy::log::Event;

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_event_is_in_the_list_of_events() {
    let mut wanted = String::from(
        "# Events in the log\n\nEvery line of the log has one of these names in its field `event`. Names \
         are a promise: filter and alert by them.\n\n| event | meaning |\n| --- | --- |\n",
    );
    for event in Event::ALL {
        writeln!(wanted, "| `{}` | {} |", event.name(), event.meaning()).unwrap();
    }
    wanted.push_str(
        "\nThe other fields of every line: `ts` (RFC 3339, UTC), `level` (critical, error, warning, info, \
         debug, trace), `msg` (a sentence). Where they apply: `session`, `user`, `database`, `node`, \
         `worker`.\n",
    );
    let file = path("docs/events.md");
    if std::env::var_os("UNDERSTUDY_BLESS").is_some() {
        fs::write(&file, &wanted).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), wanted);
}

#[test]
fn every_folder_of_the_source_is_on_the_map() {
    let map = fs::read_to_string(path("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(path("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let named = map.contains(&format!("| `src/{name}` |"));
        assert!(named || name == "lib.rs", "ARCHITECTURE.md does not say what src/{name} is");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/setup.md"]
    {
        let text = fs::read_to_string(path(name)).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            let target = target.split('#').next().unwrap();
            let local = !target.is_empty() && !target.starts_with("http");
            let folder = path(name).parent().unwrap().to_owned();
            assert!(!local || folder.join(target).exists(), "{name} links to {target}");
        }
    }
}
