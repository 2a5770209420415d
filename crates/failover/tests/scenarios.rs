//! Runs the stories in `tests/scenarios`: events in, expected effects and sentences out.
//!
//! `BLESS=1 cargo test -p failover --test scenarios` writes down what happens instead of comparing;
//! read the difference before you keep it.

use std::fs;
use std::path::{Path, PathBuf};

use failover::story::tell;

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut stories: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of stories")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    stories.sort();
    stories
}

#[test]
fn every_story_is_told_as_it_is_written() {
    let bless = std::env::var_os("BLESS").is_some();
    let stories = stories();
    assert!(stories.len() > 80, "only {} stories found", stories.len());
    let mut differences = Vec::new();
    for path in stories {
        let written = fs::read_to_string(&path).expect("a readable story");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match tell(&written) {
            Err(misread) => differences.push(format!("{name}: {misread}")),
            Ok(told) if told == written => {}
            Ok(told) if bless => fs::write(&path, told).expect("a writable story"),
            Ok(told) => differences.push(format!("{name}:\n{}", difference(&written, &told))),
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// What is written and does not happen (-), and what happens and is not written (+), with the event
/// it belongs to.
fn difference(written: &str, told: &str) -> String {
    let effect = |line: &str| line.trim_start().starts_with("->");
    let blocks = |text: &str| -> Vec<(String, Vec<String>)> {
        let mut blocks: Vec<(String, Vec<String>)> = vec![(String::new(), Vec::new())];
        for line in text.lines() {
            if effect(line) {
                blocks.last_mut().expect("never empty").1.push(line.trim().to_owned());
            } else {
                blocks.push((line.to_owned(), Vec::new()));
            }
        }
        blocks
    };
    let mut text = String::new();
    for ((event, expected), (_, happened)) in blocks(written).into_iter().zip(blocks(told)) {
        if expected != happened {
            text.push_str(&format!("  {event}\n"));
            for line in expected.iter().filter(|line| !happened.contains(line)) {
                text.push_str(&format!("   - {line}\n"));
            }
            for line in happened.iter().filter(|line| !expected.contains(line)) {
                text.push_str(&format!("   + {line}\n"));
            }
        }
    }
    if text.is_empty() { "  the order of effects differs\n".to_owned() } else { text }
}

#[test]
fn a_difference_names_the_event_and_both_sides() {
    let written = "at 1 pass 0\n    -> say Info: one\n";
    let told = "at 1 pass 0\n    -> say Info: other\n";
    let text = difference(written, told);
    assert!(text.contains("at 1 pass 0"), "{text}");
    assert!(text.contains("- -> say Info: one"), "{text}");
    assert!(text.contains("+ -> say Info: other"), "{text}");
}

#[test]
fn a_story_that_cannot_be_read_says_where() {
    for (text, line, what) in [
        ("nodes 3\nsomething else\n", 2, "not a line of a story"),
        ("at 5 explode 1\n", 1, "no such event"),
        ("set nothing 5\n", 1, "no such key"),
        ("set fence soon\n", 1, "not a number"),
        ("set mode warp\n", 1, "no such mode"),
        ("set promote never\n", 1, "no such promote"),
        ("set on_failure panic\n", 1, "no such on_failure"),
        ("set priority.9 5\n", 1, "no such node"),
        ("set colour.0 5\n", 1, "no such key"),
        ("at 5 fail 0 bored\n", 1, "no such failure"),
        ("at 5 roles 0:witness:1:5\n", 1, "not an observation"),
        ("at 5 finished 1 maybe\n", 1, "no such outcome"),
        ("at 5 ask 1 dance\n", 1, "no such request"),
        ("at 5 settings mode\n", 1, "not key=value"),
        ("at 5 started mood=1\n", 1, "no such memory"),
        ("at 5 started primary\n", 1, "not key=value"),
        ("at 5 started lineage=1\n", 1, "not system:timeline"),
        ("at 5 started sync=1\n", 1, "not node:needed"),
        ("at 5 started nodes=odd\n", 1, "no such status"),
        ("at 5 started nodes=down:odd\n", 1, "no such reason"),
    ] {
        let misread = tell(text).expect_err(text);
        assert_eq!(misread.line, line, "{text}");
        assert!(misread.to_string().contains(what), "{misread}");
    }
}
