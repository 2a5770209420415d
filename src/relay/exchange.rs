//! What is owed to whom: every message a client sends and every reply a server gives is accounted for.
//!
//! The server answers in the order it was asked, so one queue of debts is enough. Each message that
//! calls for an answer adds a debt, each answer settles or advances the oldest. An answer nobody asked
//! for is a [`Verdict::Surprise`]: the connection cannot be trusted any more.
//!
//! The rules are those of PostgreSQL's chapter "Message Flow", and where that is silent, of its
//! `postgres.c` and `copyfromparse.c`:
//!
//! * after an error in the extended protocol the server skips everything up to the next Sync, simple
//!   queries and function calls included;
//! * in COPY FROM STDIN it ignores Sync and Flush, and takes the first other message for the end of the
//!   data;
//! * outside of COPY it ignores CopyData, CopyDone and CopyFail.
//!
//! One thing cannot be known: when COPY FROM STDIN fails, which of the Syncs sent meanwhile the server
//! had read by then, and so ignored, and which it reads afterwards, and answers. So many more
//! ReadyForQuery may come, or not.

use std::collections::VecDeque;

use crate::protocol::{
    backend::TransactionStatus,
    tag::{client, server},
};

/// The account of one server connection while a client holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    owed: VecDeque<Debt>,
    /// The server takes COPY data for the oldest debt.
    copying_in: bool,
    /// The server has said so, and has not ended the COPY yet.
    copies: bool,
    /// Syncs sent for a COPY FROM STDIN that is under way, or has failed: ReadyForQuery may come for
    /// any of them. Settled by the first other answer, before which they must have come.
    spare: u32,
    /// Something that is neither data nor its end was sent for the server that copies in: that ends the
    /// COPY as an error, or is answered, where the COPY failed before.
    intruded: bool,
    /// The oldest debt has been answered in part.
    answered: bool,
    /// The count is lost: the client went on in a way that has two meanings after a failed COPY. It
    /// gets whatever comes, and nobody else uses the connection.
    lost: bool,
    /// The server skips what it is sent until a Sync.
    skipping: bool,
    /// Extended-protocol messages were sent since the last Sync: the server has an open transaction of
    /// its own, whatever the last status said.
    unsynced: bool,
    status: TransactionStatus,
}

/// One answer the server owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Debt {
    /// Results, then ReadyForQuery.
    Query,
    /// FunctionCallResponse, then ReadyForQuery.
    Function,
    /// ReadyForQuery.
    Sync,
    /// ParseComplete.
    Parse,
    /// BindComplete.
    Bind,
    /// ParameterDescription, then as for a portal.
    DescribeStatement,
    /// RowDescription or NoData.
    DescribePortal,
    /// Rows or COPY data, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CloseComplete.
    Close,
    /// No answer: CopyDone or CopyFail sent before the server has said whether it copies.
    CopyEnd,
}

/// What to make of a server's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was owed, or may come at any time.
    Pass,
    /// Nobody asked for it.
    Surprise,
}

/// A message type that no client may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid frontend message type {0}")]
pub struct UnknownMessage(pub u8);

/// Beyond this many debts the queue's memory is given back when it is empty.
const KEPT_DEBTS: usize = 64;

// === impl Exchange ===

impl Exchange {
    /// The account of a server that is idle and owes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            owed: VecDeque::new(),
            copying_in: false,
            copies: false,
            spare: 0,
            intruded: false,
            answered: false,
            lost: false,
            skipping: false,
            unsynced: false,
            status: TransactionStatus::Idle,
        }
    }

    /// Notes a message that goes to the server. `body` need only show its first byte.
    ///
    /// # Errors
    /// A message type that does not exist.
    #[inline]
    pub fn sent(&mut self, tag: u8, body: &[u8]) -> Result<(), UnknownMessage> {
        let debt = match tag {
            client::QUERY => Debt::Query,
            client::FUNCTION_CALL => Debt::Function,
            client::SYNC => Debt::Sync,
            client::PARSE => Debt::Parse,
            client::BIND => Debt::Bind,
            client::DESCRIBE if body.first() == Some(&b'S') => Debt::DescribeStatement,
            client::DESCRIBE => Debt::DescribePortal,
            client::EXECUTE => Debt::Execute,
            client::CLOSE => Debt::Close,
            client::COPY_DONE | client::COPY_FAIL => Debt::CopyEnd,
            client::COPY_DATA | client::FLUSH => return Ok(()),
            _ => return Err(UnknownMessage(tag)),
        };
        self.incur(debt);
        Ok(())
    }

    /// Notes a message that came from the server. `body` need only show what [`super::depth`] asks for.
    #[inline]
    pub fn received(&mut self, tag: u8, body: &[u8]) -> Verdict {
        // These may come at any time.
        if matches!(tag, server::NOTICE | server::NOTIFICATION | server::PARAMETER_STATUS) {
            return Verdict::Pass;
        }
        if self.lost {
            return Verdict::Pass;
        }
        if tag == server::READY_FOR_QUERY && self.is_spare() {
            self.spare -= 1;
            if std::mem::take(&mut self.skipping) {
                self.unsynced = false;
            }
            return self.noted(body);
        }
        let Some(&debt) = self.owed.front() else {
            return Verdict::Surprise;
        };
        if tag != server::READY_FOR_QUERY {
            self.answered = true;
            // The error that ends a COPY is where the doubt begins.
            let failed_copy = std::mem::take(&mut self.copies) && tag == server::ERROR;
            if self.spare > 0 && !failed_copy {
                self.spare = 0;
            }
        }
        match (debt, tag) {
            // The common case first: rows pass, the debt stays.
            (
                Debt::Query | Debt::Execute,
                server::DATA_ROW | server::COPY_DATA | server::COPY_DONE,
            ) => {}
            (
                Debt::Query,
                server::ROW_DESCRIPTION
                | server::COMMAND_COMPLETE
                | server::EMPTY_QUERY
                | server::COPY_OUT,
            )
            | (Debt::Execute, server::COPY_OUT)
            | (Debt::Function, server::FUNCTION_RESULT) => {}
            (Debt::Query | Debt::Execute, server::COPY_IN) => self.copy_in(),
            (Debt::Query | Debt::Function | Debt::Sync, server::READY_FOR_QUERY) => {
                let verdict = self.noted(body);
                if verdict == Verdict::Pass {
                    self.settle();
                }
                return verdict;
            }
            (Debt::Parse, server::PARSE_COMPLETE)
            | (Debt::Bind, server::BIND_COMPLETE)
            | (Debt::Close, server::CLOSE_COMPLETE)
            | (Debt::DescribePortal, server::ROW_DESCRIPTION | server::NO_DATA)
            | (
                Debt::Execute,
                server::COMMAND_COMPLETE | server::EMPTY_QUERY | server::PORTAL_SUSPENDED,
            ) => self.settle(),
            (Debt::DescribeStatement, server::PARAMETER_DESCRIPTION) => {
                self.owed[0] = Debt::DescribePortal;
            }
            (_, server::ERROR) => self.failed(debt),
            _ => return Verdict::Surprise,
        }
        Verdict::Pass
    }

    /// Whether nothing is owed, by the server to the client or by the client to the server.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.owed.is_empty() && !self.skipping && !self.unsynced && !self.lost
    }

    /// Whether the server will say something more even if the client never does.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        !self.owed.is_empty() && !self.copying_in
    }

    /// Whether, besides, no transaction is open: the client's next message starts afresh.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_settled() && self.status == TransactionStatus::Idle
    }

    /// Whether a ReadyForQuery that comes now may be for a Sync within a failed COPY, and can be for
    /// nothing else.
    fn is_spare(&self) -> bool {
        self.spare > 0 && !self.answered && self.owed.front() != Some(&Debt::Sync)
    }

    /// Notes the status that ReadyForQuery tells.
    fn noted(&mut self, body: &[u8]) -> Verdict {
        match TransactionStatus::parse(body) {
            Ok(status) => {
                self.status = status;
                Verdict::Pass
            }
            Err(_) => Verdict::Surprise,
        }
    }

    fn incur(&mut self, debt: Debt) {
        if self.lost {
            return;
        }
        if self.copying_in {
            return self.feed(debt);
        }
        if self.skipping {
            if debt != Debt::Sync {
                // Or is it?
                self.lost |= self.spare > 0 && debt != Debt::CopyEnd;
                return;
            }
            self.skipping = false;
        }
        match debt {
            // Ignored by a server that has nothing to do.
            Debt::CopyEnd if self.owed.is_empty() => return,
            // Each of these ends in ReadyForQuery, and with it the server's own transaction.
            Debt::Sync | Debt::Query | Debt::Function => self.unsynced = false,
            Debt::CopyEnd => {}
            _ => self.unsynced = true,
        }
        self.owed.push_back(debt);
    }

    fn settle(&mut self) {
        self.owed.pop_front();
        self.answered = false;
        while self.owed.front() == Some(&Debt::CopyEnd) {
            self.owed.pop_front();
        }
        if self.owed.is_empty() {
            self.owed.shrink_to(KEPT_DEBTS);
        }
    }

    /// COPY FROM STDIN began: what was sent behind its statement is now read as COPY input.
    fn copy_in(&mut self) {
        self.copying_in = true;
        self.copies = true;
        self.intruded = false;
        while self.copying_in
            && let Some(debt) = self.owed.remove(1)
        {
            self.feed(debt);
        }
        // A Sync swallowed here is not coming back as ReadyForQuery.
        self.unsynced |=
            self.owed.front() == Some(&Debt::Execute) && !self.owed.contains(&Debt::Sync);
    }

    /// A message that the server reads as COPY input. Sync is ignored; anything else ends the data, as it
    /// should or as an error.
    fn feed(&mut self, debt: Debt) {
        match debt {
            Debt::Sync => self.spare += 1,
            Debt::CopyEnd => self.copying_in = false,
            _ => {
                self.copying_in = false;
                self.intruded = true;
            }
        }
    }

    fn failed(&mut self, debt: Debt) {
        self.copying_in = false;
        // After a COPY of the extended protocol without a Sync it is skipped either way.
        let answerable = debt == Debt::Query || self.spare > 0;
        self.lost |= std::mem::take(&mut self.intruded) && answerable;
        if matches!(debt, Debt::Query | Debt::Function | Debt::Sync) {
            return;
        }
        self.answered = false;
        let sync = self.owed.iter().position(|&debt| debt == Debt::Sync);
        let mut skipped = self.owed.drain(..sync.unwrap_or(self.owed.len())).skip(1);
        self.lost |= self.spare > 0 && skipped.any(|debt| debt != Debt::CopyEnd);
        drop(skipped);
        self.skipping = sync.is_none();
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}
