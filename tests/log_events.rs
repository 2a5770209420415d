//! Nobody logs past [`understudy::event!`]: a line without an event name cannot be found by one.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{fs, path::Path};

#[test]
fn every_line_of_the_log_is_logged_by_event() {
    let mut past = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    visit(&root.join("src"), &mut |path, text| {
        // It is made of slog's macro.
        if path.ends_with("src/log/events.rs") {
            return;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let words: Vec<&str> =
                code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!').collect();
            let is_past = |word: &&str| MACROS.contains(word);
            if words.iter().any(is_past) || code.contains("slog::log!") {
                past.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    });
    assert!(past.is_empty(), "use understudy::event! instead:\n{}", past.join("\n"));
}

fn visit(directory: &Path, see: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

const MACROS: [&str; 7] = ["crit!", "error!", "warn!", "info!", "debug!", "trace!", "slog_log!"];
