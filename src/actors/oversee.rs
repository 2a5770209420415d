//! Our supervision: who starts an actor learns how it ended, and decides what follows.
//!
//! actix's own `Supervisor` does not restart after a panic (supervisor and actor share one task, both
//! die), and restarts an actor that stops in `started` in a tight loop. So a parent keeps the task of
//! every actor it starts in a [`Nursery`], hears of each end with its reason, and asks a pure
//! [`RestartPolicy`] what to do. A parent that ends takes its children with it.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use actix::{
    Actor, ActorFuture, Addr, AsyncContext, Context,
    dev::channel::{self, AddressSender},
};
use actix_rt::ArbiterHandle;
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinError, JoinSet},
    time::Instant,
};

/// How an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It stopped.
    Finished,
    /// It panicked, with this text.
    Panicked(String),
    /// It was dropped from outside: its thread is ending.
    Cancelled,
}

/// The actors that one parent has started and that have not ended.
#[derive(Debug)]
pub struct Nursery<Id> {
    tasks: JoinSet<Exit>,
    ids: HashMap<tokio::task::Id, (Id, AbortHandle)>,
    parent: Option<Waker>,
}

/// An actor with a nursery.
pub trait Parent: Actor<Context = Context<Self>> {
    /// What it calls its children.
    type ChildId: Unpin + 'static;

    /// Where they are.
    fn nursery(&mut self) -> &mut Nursery<Self::ChildId>;

    /// One of them has ended.
    fn child_exited(&mut self, id: Self::ChildId, exit: Exit, ctx: &mut Context<Self>);
}

/// How often an actor may be restarted, and after what pause. Pure: time is passed in.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    /// So many restarts…
    pub most: usize,
    /// …within this time; one more, and the parent gives up.
    pub within: Duration,
    /// The first pause; doubled with each restart still remembered.
    pub pause: Duration,
    restarts: VecDeque<Instant>,
}

/// What to do about an actor that ended and should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Start it again after this pause.
    After(Duration),
    /// It has been restarted too often.
    GiveUp,
}

/// Messages an actor's mailbox holds before `try_send` refuses; `do_send` does not ask.
const MAILBOX: usize = 16;

// === impl Nursery ===

impl<Id> Nursery<Id> {
    /// No children yet.
    #[must_use]
    pub fn new() -> Self {
        Self { tasks: JoinSet::new(), ids: HashMap::new(), parent: None }
    }

    /// Starts an actor on this thread.
    pub fn start<A>(&mut self, id: Id, make: impl FnOnce(&mut Context<A>) -> A) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let mut ctx = Context::new();
        let address = ctx.address();
        let actor = make(&mut ctx);
        let task = ctx.into_future(actor);
        self.watch(id, async move {
            task.await;
            Exit::Finished
        });
        address
    }

    /// Starts an actor on the thread of an arbiter. The actor is made there.
    pub fn start_on<A>(
        &mut self,
        arbiter: &ArbiterHandle,
        id: Id,
        make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
    ) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let (sender, receiver): (AddressSender<A>, _) = channel::channel(MAILBOX);
        let (told, heard) = oneshot::channel();
        arbiter.spawn(async move {
            // A task within the task, so that a panic in the actor, or while it is made, is caught.
            let child = tokio::task::spawn_local(async move {
                let mut ctx = Context::with_receiver(receiver);
                let actor = make(&mut ctx);
                ctx.into_future(actor).await;
            });
            let exit = child.await.map_or_else(Exit::of, |()| Exit::Finished);
            // A parent that is gone does not ask.
            let _ = told.send(exit);
        });
        self.watch(id, async move { heard.await.unwrap_or(Exit::Cancelled) });
        Addr::new(sender)
    }

    /// Drops the children that `which` names, wherever they are. Their ends are heard of as
    /// [`Exit::Cancelled`].
    pub fn abort(&self, which: impl Fn(&Id) -> bool) {
        for (_, task) in self.ids.values().filter(|(id, _)| which(id)) {
            task.abort();
        }
    }

    /// How many children live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no child lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn watch(&mut self, id: Id, child: impl Future<Output = Exit> + 'static) {
        let task = self.tasks.spawn_local(child);
        self.ids.insert(task.id(), (id, task));
        // The set remembers only who polled it while it was not empty.
        if let Some(parent) = self.parent.take() {
            parent.wake();
        }
    }

    fn poll_exit(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<(Id, Exit)>> {
        let (task, exit) = match std::task::ready!(self.tasks.poll_join_next_with_id(cx)) {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => (error.id(), Exit::of(error)),
            None => {
                self.parent = Some(cx.waker().clone());
                return Poll::Ready(None);
            }
        };
        Poll::Ready(self.ids.remove(&task).map(|(id, _)| (id, exit)))
    }
}

impl<Id> Default for Nursery<Id> {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Exit ===

impl Exit {
    fn of(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::Panicked(
                panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "a panic without a text".to_owned()),
            ),
            Err(_) => Self::Cancelled,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished => f.write_str("it stopped"),
            Self::Panicked(text) => write!(f, "it panicked: {text}"),
            Self::Cancelled => f.write_str("its thread ended"),
        }
    }
}

// === watching ===

/// Has a parent hear of its children's ends. To be called once, in its `started`.
pub fn watch_children<P: Parent>(ctx: &mut Context<P>) {
    ctx.spawn(Watch);
}

struct Watch;

impl<P: Parent> ActorFuture<P> for Watch {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        parent: &mut P,
        ctx: &mut Context<P>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        while let Poll::Ready(Some((id, exit))) = parent.nursery().poll_exit(cx) {
            parent.child_exited(id, exit, ctx);
        }
        Poll::Pending
    }
}

// === impl RestartPolicy ===

impl RestartPolicy {
    /// Five restarts a minute, the first after a tenth of a second.
    #[must_use]
    pub fn permanent() -> Self {
        Self {
            most: 5,
            within: Duration::from_secs(60),
            pause: Duration::from_millis(100),
            restarts: VecDeque::new(),
        }
    }

    /// An actor that should not have ended has.
    pub fn ended(&mut self, now: Instant) -> Restart {
        while self.restarts.front().is_some_and(|&then| now.duration_since(then) > self.within) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.most {
            return Restart::GiveUp;
        }
        let doublings = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX).min(16);
        self.restarts.push_back(now);
        Restart::After(self.pause * 2_u32.pow(doublings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_slow_down_and_end_and_old_ones_are_forgotten() {
        let mut policy = RestartPolicy::permanent();
        let start = Instant::now();
        let pauses: Vec<_> =
            (0..6).map(|second| policy.ended(start + Duration::from_secs(second))).collect();
        let after = |ms| Restart::After(Duration::from_millis(ms));
        let wanted = [after(100), after(200), after(400), after(800), after(1600), Restart::GiveUp];
        assert_eq!(pauses, wanted);
        assert_eq!(policy.ended(start + Duration::from_secs(120)), after(100));
    }

    /// A child that does as its name says.
    struct Child(&'static str);

    impl Actor for Child {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            match self.0 {
                "stops" => actix::ActorContext::stop(ctx),
                "panics" => panic!("a child panicked"),
                // An actor with nothing to do and no address ends.
                _ => drop(ctx.spawn(actix::fut::wrap_future(std::future::pending()))),
            }
        }
    }

    struct Mother {
        nursery: Nursery<&'static str>,
        heard: tokio::sync::mpsc::UnboundedSender<(&'static str, Exit)>,
        again: bool,
    }

    impl Actor for Mother {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            watch_children(ctx);
            for name in ["stops", "panics", "lives"] {
                self.nursery.start(name, |_| Child(name));
            }
        }
    }

    impl Parent for Mother {
        type ChildId = &'static str;

        fn nursery(&mut self) -> &mut Nursery<&'static str> {
            &mut self.nursery
        }

        fn child_exited(&mut self, id: &'static str, exit: Exit, ctx: &mut Context<Self>) {
            self.heard.send((id, exit)).unwrap();
            if self.again && id == "panics" {
                self.again = false;
                ctx.run_later(Duration::from_millis(1), |mother, _| {
                    mother.nursery.start("panics", |_| Child("panics"));
                });
            }
        }
    }

    #[test]
    fn a_parent_hears_how_each_child_ended_and_may_start_it_again() {
        actix_rt::System::new().block_on(async {
            let (heard, mut told) = tokio::sync::mpsc::unbounded_channel();
            let _mother = Mother { nursery: Nursery::new(), heard, again: true }.start();
            let mut ends = Vec::new();
            for _ in 0..3 {
                ends.push(told.recv().await.unwrap());
            }
            ends.sort_by_key(|(name, _)| *name);
            let panicked = ("panics", Exit::Panicked("a child panicked".to_owned()));
            assert_eq!(ends, [panicked.clone(), panicked, ("stops", Exit::Finished)]);
            assert!(told.try_recv().is_err(), "the third child lives");
        });
    }

    #[test]
    fn a_child_on_another_thread_is_overseen_like_one_at_home() {
        struct Far {
            nursery: Nursery<&'static str>,
            arbiter: actix_rt::Arbiter,
            heard: tokio::sync::mpsc::UnboundedSender<(&'static str, Exit)>,
        }
        impl Actor for Far {
            type Context = Context<Self>;

            fn started(&mut self, ctx: &mut Self::Context) {
                watch_children(ctx);
                let arbiter = self.arbiter.handle();
                self.nursery.start_on(&arbiter, "panics", |_| Child("panics"));
                self.nursery.start_on::<Child>(&arbiter, "unmade", |_| panic!("never made"));
            }
        }
        impl Parent for Far {
            type ChildId = &'static str;

            fn nursery(&mut self) -> &mut Nursery<&'static str> {
                &mut self.nursery
            }

            fn child_exited(&mut self, id: &'static str, exit: Exit, _: &mut Context<Self>) {
                self.heard.send((id, exit)).unwrap();
            }
        }
        actix_rt::System::new().block_on(async {
            let (heard, mut told) = tokio::sync::mpsc::unbounded_channel();
            let arbiter = actix_rt::Arbiter::new();
            let _far = Far { nursery: Nursery::new(), arbiter, heard }.start();
            let mut ends = vec![told.recv().await.unwrap(), told.recv().await.unwrap()];
            ends.sort_by_key(|(name, _)| *name);
            let panicked = |text: &str| Exit::Panicked(text.to_owned());
            assert_eq!(
                ends,
                [("panics", panicked("a child panicked")), ("unmade", panicked("never made"))]
            );
        });
    }
}
