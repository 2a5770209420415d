//! The names of everything that is logged, in one list.
//!
//! Names are a promise: people filter and alert by them. A name may be added; a name that has been
//! released is not changed.

macro_rules! events {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal,)+) => {
        /// What a line of the log is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[doc = $meaning])+ $variant,)+
        }

        // === impl Event ===

        impl Event {
            /// All of them, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in the log.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it means, for the manual.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($meaning),+).trim_ascii(),)+
                }
            }
        }
    };
}

events! {
    /// The program starts; its configuration was accepted.
    Start = "start",
    /// The program ends.
    Stop = "stop",
    /// The configuration is valid, but probably not what was meant.
    ConfigurationDoubtful = "configuration_doubtful",
    /// Lines were dropped (`count`) because the reader of the log was too slow.
    LogDropped = "log_dropped",
    /// Clients can connect at an `address`.
    Listening = "listening",
    /// A client could not be accepted: no descriptors or memory are left.
    AcceptFailed = "accept_failed",
    /// Clients can be accepted again.
    AcceptRecovered = "accept_recovered",
    /// A client has logged in.
    SessionStart = "session_start",
    /// A session that had begun has ended.
    SessionEnd = "session_end",
    /// A `user` failed to log in from an `address` so often that more is refused for a while; said once.
    LoginThrottled = "login_throttled",
    /// A client was sent away, and why.
    SessionRefused = "session_refused",
    /// A session ended by a bug; nobody else was touched.
    SessionPanicked = "session_panicked",
    /// A server connection was opened.
    ServerOpen = "server_open",
    /// A server connection was closed, and why.
    ServerClose = "server_close",
    /// A cancel request did not reach its node.
    CancelFailed = "cancel_failed",
    /// A node's check failed in a way it did not before.
    CheckFailed = "check_failed",
    /// A node answers its checks again.
    CheckPassed = "check_passed",
    /// A node answers, and gets no statement nevertheless.
    NodeRefused = "node_refused",
    /// A node's `status` or `role` has changed.
    NodeChanged = "node_changed",
    /// A node is known as the primary.
    PrimaryFound = "primary_found",
    /// No node is known as the primary.
    PrimaryLost = "primary_lost",
    /// An actor ended that should not have, and is started again.
    ActorRestarted = "actor_restarted",
    /// An actor ends again and again, and is not started any more.
    ActorLost = "actor_lost",
    /// The program was told to stop.
    Draining = "draining",
    /// Sessions were closed because the time to drain is over.
    DrainTimedOut = "drain_timed_out",
    /// The certificate files were read again, and new connections use what is in them.
    CertificatesReloaded = "certificates_reloaded",
    /// The certificate files were read again, and will not do: the former ones stay in use.
    CertificatesRefused = "certificates_refused",
    /// A library that understudy uses had something to say (`target` names it).
    Foreign = "foreign",
    /// A bug: some code panicked (`location`, `thread`).
    Panic = "panic",
}

/// Logs one event: the logger, the level, the event, a sentence (a format string and its arguments),
/// and after a `;` the fields.
///
/// ```
/// # let log = slog::Logger::root(slog::Discard, slog::o!());
/// understudy::event!(log, Info, Stop, "understudy ends"; "sessions" => 0);
/// ```
#[macro_export]
macro_rules! event {
    ($log:expr, $level:ident, $event:ident, $($sentence_and_fields:tt)+) => {
        slog::log!(
            $log,
            slog::Level::$level,
            $crate::log::Event::$event.name(),
            $($sentence_and_fields)+
        )
    };
}

// === tests ===

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Event;

    #[test]
    fn names_are_distinct_and_snake_case() {
        let names: BTreeSet<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
        for event in Event::ALL {
            assert!(event.name().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{event:?}");
            assert!(event.meaning().ends_with('.'), "{event:?}: {}", event.meaning());
        }
    }
}
