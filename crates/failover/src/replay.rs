//! A recorded history shown again: the same events make the same decisions.

use crate::machine::Machine;
use crate::{Effect, Event, Millis, PhaseName, Settings};

/// What one recorded event led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Decision {
    /// When.
    pub at: Millis,
    /// What happened.
    pub event: Event,
    /// What was asked for.
    pub effects: Vec<Effect>,
    /// What operators were told, in words.
    pub sentences: Vec<String>,
    /// Where the machine was afterwards.
    pub phase: PhaseName,
}

/// Runs recorded events through a new machine and yields what each led to. The first event is to be
/// [`Event::Started`] with what was saved then; the settings are those of that time.
pub fn replay<I>(settings: Settings, events: I) -> impl Iterator<Item = Decision>
where
    I: IntoIterator<Item = (Millis, Event)>,
{
    let mut machine = Machine::new(settings);
    events.into_iter().map(move |(at, event)| {
        let mut effects = Vec::new();
        machine.step(at, event.clone(), &mut effects);
        let sentences = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Say(sentence) => Some(sentence.text(machine.settings())),
                _ => None,
            })
            .collect();
        Decision { at, event, effects, sentences, phase: machine.phase() }
    })
}
