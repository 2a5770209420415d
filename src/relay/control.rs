//! How an actor gives its session an order, and how it knows how its session is: cells and a bell, on one
//! thread, without locks and without a clock on the data path.
//!
//! A cell and not a channel: an order cannot cut a message in half, because the session looks at the
//! cell at safe points only, and a newer order replaces one that was not obeyed yet.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use crate::{conf::settings::Limits, pool::cancel::CancelTarget};

/// What a session can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Finish the transaction, then say good-bye: the proxy shuts down.
    Drain,
    /// End, unless the client starts something: it has been idle for too long.
    EndIdle,
    /// End, unless the client goes on: it has left a transaction open for too long.
    EndIdleTransaction,
    /// End at once: the client does not read.
    EndStalled,
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Logging in, or waiting for a server connection.
    #[default]
    Waiting,
    /// The client may start something, and does not.
    Idle,
    /// In a transaction, the client may go on, and does not.
    InTransaction,
    /// Something is owed to the client.
    Working,
    /// The client does not read what it is owed.
    Stalled,
}

/// The session's end of it and the actor's, in one.
#[derive(Debug, Default)]
pub struct Control {
    order: Cell<Option<Order>>,
    bell: RefCell<Option<Waker>>,
    cancel: RefCell<Option<Rc<CancelTarget>>>,
    phase: Cell<Phase>,
    /// Whether anything has moved since the last look.
    moved: Cell<bool>,
    /// How long nothing has, at the last look.
    quiet: Cell<Duration>,
}

// === impl Control ===

impl Control {
    /// Gives an order and rings the bell.
    pub fn give(&self, order: Order) {
        self.order.set(Some(order));
        if let Some(bell) = self.bell.take() {
            bell.wake();
        }
    }

    /// The order that waits to be obeyed, where there is one. `cx` is woken when the next one comes.
    pub fn poll_order(&self, cx: &Context<'_>) -> Option<Order> {
        let mut bell = self.bell.borrow_mut();
        match &mut *bell {
            Some(bell) => bell.clone_from(cx.waker()),
            None => *bell = Some(cx.waker().clone()),
        }
        self.order.get()
    }

    /// Waits for an order.
    pub async fn ordered(&self) -> Order {
        std::future::poll_fn(|cx| match self.poll_order(cx) {
            Some(order) => std::task::Poll::Ready(order),
            None => std::task::Poll::Pending,
        })
        .await
    }

    /// Says which server connection a cancel request is for from now on.
    pub fn working_on(&self, target: Option<Rc<CancelTarget>>) {
        self.cancel.replace(target);
    }

    /// The server connection that a cancel request is for, where there is one.
    #[must_use]
    pub fn cancel_target(&self) -> Option<Rc<CancelTarget>> {
        self.cancel.borrow().clone()
    }

    /// Says what the session is doing; `moved` when bytes have.
    pub fn is_now(&self, phase: Phase, moved: bool) {
        self.phase.set(phase);
        self.moved.set(self.moved.get() | moved);
    }

    /// Looks at the session, `since` after the last look, and orders it to end when it has been quiet
    /// for longer than a limit allows. A time limit is kept to within one look.
    pub fn look(&self, since: Duration, limits: &Limits) {
        if self.moved.take() {
            self.quiet.set(Duration::ZERO);
            return;
        }
        let quiet = self.quiet.get() + since;
        self.quiet.set(quiet);
        let (limit, order) = match self.phase.get() {
            Phase::Waiting | Phase::Working => return,
            Phase::Idle => (limits.client_idle_timeout, Order::EndIdle),
            Phase::InTransaction => (limits.idle_transaction_timeout, Order::EndIdleTransaction),
            Phase::Stalled => (limits.client_write_timeout, Order::EndStalled),
        };
        if limit.is_some_and(|limit| quiet >= limit) && self.order.get().is_none() {
            self.give(order);
        }
    }

    /// Takes an order back that does not hold any more: a quiet client has spoken before it was obeyed.
    pub fn withdraw(&self) {
        self.order.set(self.order.get().filter(|order| *order == Order::Drain));
    }
}

// === impl Order ===

impl Order {
    /// Whether it may be obeyed by a session that is doing this.
    #[must_use]
    pub fn suits(self, phase: Phase) -> bool {
        match self {
            Self::Drain | Self::EndIdle => phase == Phase::Idle,
            Self::EndIdleTransaction => phase == Phase::InTransaction,
            Self::EndStalled => phase == Phase::Stalled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        let sources = crate::conf::Sources {
            set: vec![
                "nodes.0.host=h".to_owned(),
                "limits.client_idle_timeout=3s".to_owned(),
                "limits.idle_transaction_timeout=2s".to_owned(),
                "limits.client_write_timeout=4s".to_owned(),
            ],
            ..Default::default()
        };
        crate::conf::load(&sources).unwrap().settings.limits
    }

    #[test]
    fn each_kind_of_silence_has_its_own_limit() {
        for (phase, looks, order) in [
            (Phase::Idle, 3, Some(Order::EndIdle)),
            (Phase::InTransaction, 2, Some(Order::EndIdleTransaction)),
            (Phase::Stalled, 4, Some(Order::EndStalled)),
            (Phase::Working, 100, None),
            (Phase::Waiting, 100, None),
        ] {
            let control = Control::default();
            control.is_now(phase, true);
            control.look(SECOND, &limits());
            for _ in 1..looks {
                control.look(SECOND, &limits());
                assert_eq!(control.order.get(), None, "{phase:?}");
            }
            control.look(SECOND, &limits());
            assert_eq!(control.order.get(), order, "{phase:?}");
        }
    }

    #[test]
    fn whatever_moves_starts_the_count_anew() {
        let control = Control::default();
        for _ in 0..10 {
            control.is_now(Phase::Idle, true);
            control.look(SECOND, &limits());
            control.look(SECOND, &limits());
            control.look(SECOND, &limits());
            assert_eq!(control.order.get(), None);
        }
    }

    #[test]
    fn a_shutdown_is_not_withdrawn() {
        let control = Control::default();
        control.give(Order::EndIdle);
        control.withdraw();
        assert_eq!(control.order.get(), None);
        control.give(Order::Drain);
        control.withdraw();
        assert_eq!(control.order.get(), Some(Order::Drain));
    }
}
