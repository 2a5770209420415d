//! The drawing in `docs/failover-states.md` is rendered from the transition list, so it cannot lie.
//!
//! `BLESS=1 cargo test -p failover --test diagram` renders it anew.

use std::fs;
use std::path::Path;

use failover::{PhaseName, TRANSITIONS, diagram};

const BEGIN: &str = "<!-- rendered from crates/failover/src/phase.rs -->\n```mermaid\n";
const END: &str = "```\n<!-- end of the rendering -->\n";

#[test]
fn the_documented_drawing_is_the_rendered_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/failover-states.md");
    let text = fs::read_to_string(&path).expect("docs/failover-states.md");
    let (before, rest) = text.split_once(BEGIN).expect("the mark where the drawing begins");
    let (drawn, after) = rest.split_once(END).expect("the mark where the drawing ends");
    if std::env::var_os("BLESS").is_some() {
        let text = format!("{before}{BEGIN}{}{END}{after}", diagram());
        fs::write(&path, text).expect("a writable document");
    } else {
        assert_eq!(drawn, diagram(), "render it anew with BLESS=1");
    }
}

#[test]
fn every_phase_is_entered_and_left() {
    let all = [
        PhaseName::Bereft,
        PhaseName::Steady,
        PhaseName::Fencing,
        PhaseName::CatchingUp,
        PhaseName::Promoting,
        PhaseName::Seeking,
        PhaseName::Following,
    ];
    for phase in all {
        assert!(TRANSITIONS.iter().any(|it| it.to == phase && it.from != phase), "{phase:?}");
        assert!(TRANSITIONS.iter().any(|it| it.from == phase && it.to != phase), "{phase:?}");
    }
}
