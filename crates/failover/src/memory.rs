//! What outlives a restart, and what changes with the settings.

use crate::machine::{Machine, Turn};
use crate::node::ids;
use crate::phase::{Bereft, Phase};
use crate::{Effect, Millis, Saved, Sentence, Sessions, Status};

impl Machine {
    /// The proxy started. What was in service must be seen again; what was out stays out.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>, saved: Option<Saved>) {
        if let Some(saved) = saved {
            self.cluster.restore(&saved, turn.now);
            // Numbers given out after the last save are not known; they must not be given again.
            self.errands.last.0 = saved.errand.0 + UNSAVED_MAX;
            self.cluster.epoch.0 += UNSAVED_MAX;
            self.hooked = saved.hooked;
            self.stopped = saved.stopped;
            self.failovers =
                saved.failovers.iter().map(|ago| Millis(turn.now.0.saturating_sub(*ago))).collect();
            turn.say(Sentence::Remembered {
                primary: self.cluster.primary,
                timeline: self.cluster.lineage.map(|lineage| lineage.timeline),
                pending: self.cluster.pending.iter().map(|pending| pending.node).collect(),
            });
            for id in self.cluster.ids() {
                if let Some(reason) = self.cluster.node(id).reason {
                    turn.say(Sentence::StillOut { node: id, reason });
                }
            }
        }
        self.phase = Phase::Bereft(Bereft::since(turn.now, self.settings.timeouts.patience));
        self.save(turn);
        self.publish(turn, None, Sessions::None);
        let nodes = self.cluster.ids().collect();
        self.ask(turn, nodes);
    }

    /// Writes down what must survive.
    pub(crate) fn save(&self, turn: &mut Turn<'_>) {
        turn.emit(Effect::Save(Saved {
            epoch: self.cluster.epoch,
            errand: self.errands.last,
            primary: self.cluster.primary,
            granted: self.cluster.granted || self.cluster.unwatched,
            lineage: self.cluster.lineage,
            renounced: self.cluster.renounced,
            high_water: self.cluster.high_water,
            synchrony: self.cluster.synchrony.clone(),
            pending: self.cluster.pending.iter().map(|pending| pending.node).collect(),
            hooked: self.hooked,
            stopped: self.stopped,
            failovers: self.failovers.iter().map(|at| turn.now.since(*at)).collect(),
            nodes: self.cluster.nodes.iter().map(|node| (node.status, node.reason)).collect(),
        }));
    }

    /// Takes over changed settings, once no failover is under way.
    pub(crate) fn renew(&mut self, turn: &mut Turn<'_>) {
        let Some(mut settings) = self.newcomer.take() else { return };
        // How the cluster is replicated cannot change under a running proxy.
        settings.mode = self.settings.mode;
        let count = settings.nodes.len();
        if matches!(self.phase, Phase::Steady)
            && let Some(node) = self.cluster.primary.filter(|primary| primary.index() >= count)
        {
            turn.say(Sentence::SettingsRefused { node });
            return;
        }
        self.cluster.nodes.resize(self.cluster.nodes.len().max(count), Default::default());
        for id in ids(self.cluster.nodes.len()) {
            let status = self.cluster.node(id).status;
            if id.index() >= count && status != Status::Unused {
                self.cluster.set(id, Status::Unused, None, turn.now);
                self.cluster.node_mut(id).seen = None;
                self.cluster.node_mut(id).alive = None;
                self.publish(turn, Some(id), Sessions::BoundTo(id));
            } else if id.index() < count && status == Status::Unused {
                self.cluster.set(id, Status::Waiting, None, turn.now);
            }
        }
        if self.cluster.primary.is_some_and(|primary| primary.index() >= count) {
            self.cluster.primary = None;
        }
        self.settings = settings;
        self.publish(turn, None, Sessions::None);
        turn.say(Sentence::SettingsApplied);
        self.save(turn);
    }
}

/// More snapshots and errands than there can be between two saves.
const UNSAVED_MAX: u64 = 1_000;
