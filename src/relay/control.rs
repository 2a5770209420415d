//! How an actor gives its session an order: a cell and a bell, on one thread, without locks.
//!
//! A cell and not a channel: an order cannot cut a message in half, because the session looks at the
//! cell at safe points only, and a newer order replaces one that was not obeyed yet.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};

use crate::pool::cancel::CancelTarget;

/// What a session can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Finish the transaction, then say good-bye: the proxy shuts down.
    Drain,
}

/// The session's end of it and the actor's, in one.
#[derive(Debug, Default)]
pub struct Control {
    order: Cell<Option<Order>>,
    bell: RefCell<Option<Waker>>,
    cancel: RefCell<Option<Rc<CancelTarget>>>,
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

    /// The order that waits to be obeyed. Where there is none, `cx` is woken when one comes.
    pub fn poll_order(&self, cx: &Context<'_>) -> Option<Order> {
        let order = self.order.get();
        if order.is_none() {
            let mut bell = self.bell.borrow_mut();
            match &mut *bell {
                Some(bell) => bell.clone_from(cx.waker()),
                None => *bell = Some(cx.waker().clone()),
            }
        }
        order
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
}
