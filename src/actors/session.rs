//! Session: one client. The actor owns the future that relays its bytes; dropping one ends the other.

use std::rc::Rc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};

use crate::{
    event,
    net::Stream,
    relay::{
        control::Control,
        ending::Ending,
        serve::{self, Home},
    },
    shared::directory::SessionId,
};

/// The actor.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    /// Gone once it is served.
    stream: Option<Stream>,
    home: Rc<Home>,
    control: Rc<Control>,
}

// === impl Session ===

impl Session {
    /// A session for a client that has just connected.
    #[must_use]
    pub fn new(id: SessionId, stream: Stream, home: Rc<Home>, control: Rc<Control>) -> Self {
        Self { id, stream: Some(stream), home, control }
    }

    fn log_end(&self, ending: &Ending) {
        let log = &self.home.log;
        let id = self.id.0;
        match ending {
            Ending::NoSession => {}
            Ending::ClientLeft => {
                event!(log, Info, SessionEnd, "the client left"; "session" => id);
            }
            Ending::Drained => {
                event!(log, Info, SessionEnd, "the session ended for the shutdown"; "session" => id);
            }
            Ending::Refused { reason } => {
                event!(log, Warning, SessionRefused, "the client was sent away: {}", reason;
                    "session" => id);
            }
            Ending::ServerLost { error } => {
                let error =
                    error.as_ref().map_or_else(|| "it was closed".to_owned(), ToString::to_string);
                event!(log, Warning, SessionEnd, "its server connection was lost: {}", error;
                    "session" => id);
            }
            Ending::ServerBroke { what } => {
                event!(log, Error, SessionEnd,
                    "its server broke the protocol, and the connection was closed: {}", what;
                    "session" => id);
            }
        }
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(stream) = self.stream.take() else { return ctx.stop() };
        let served = serve::serve(stream, self.id, Rc::clone(&self.home), Rc::clone(&self.control));
        ctx.spawn(served.into_actor(&*self).map(|ending, session, ctx| {
            session.log_end(&ending);
            ctx.stop();
        }));
    }
}
