//! The log: one event a line, for programs (JSON) or for people (a terminal).
//!
//! Every line has `ts`, `level`, `event` (a stable name from [`Event`]), `msg` (a sentence) and then
//! its fields. Whoever logs names the event through [`event!`](crate::event), so no line goes without:
//!
//! ```
//! # let log = slog::Logger::root(slog::Discard, slog::o!());
//! understudy::event!(log, Info, Start, "understudy starts with {} nodes", 3; "version" => "0.1.0");
//! ```
//!
//! A line is made by the caller, where its time is right, and handed to a bounded queue; one thread
//! writes. When the reader of the log is slow the queue fills, further lines are dropped and counted,
//! and the count is logged as soon as the reader moves again. Nothing here ever waits for a reader.

mod events;
mod foreign;
mod json;
mod panics;
mod pipe;
mod start;
mod terminal;

pub use events::Event;
pub use pipe::Guard;
pub use start::{Form, start, to_sink};
