//! Scripts for the ledger of replies owed: what a client sends, what a server answers, and whether the
//! server connection is clean afterwards.
//!
//! A script is read left to right. `>P` is a message from the client, `<1` one from the server; `!` after
//! a server's message says that nobody asked for it. `Ds` and `Dp` describe a statement and a portal;
//! `ZI`, `ZT` and `ZE` are ReadyForQuery with its status. At the end stands what the ledger must say:
//! `idle`, `settled` (nothing owed, but in a transaction) or `owing`.

use proptest::prelude::*;

use super::exchange::{Exchange, UnknownMessage, Verdict};

fn run(script: &str) -> Exchange {
    let mut exchange = Exchange::new();
    for word in script.split_whitespace() {
        let (body, surprise) = match word.strip_suffix('!') {
            Some(body) => (body, true),
            None => (word, false),
        };
        let [direction, tag, body @ ..] = body.as_bytes() else { panic!("bad word {word}") };
        match direction {
            b'>' => {
                let body: &[u8] = match body {
                    b"s" => b"S",
                    b"p" => b"P",
                    _ => b"",
                };
                assert_eq!(exchange.sent(*tag, body), Ok(()), "{word} in {script}");
            }
            b'<' => {
                let wanted = if surprise { Verdict::Surprise } else { Verdict::Pass };
                assert_eq!(exchange.received(*tag, body), wanted, "{word} in {script}");
            }
            _ => panic!("bad word {word}"),
        }
    }
    exchange
}

fn check(script: &str, wanted: &str) {
    let exchange = run(script);
    let found = match (exchange.is_settled(), exchange.is_idle()) {
        (_, true) => "idle",
        (true, false) => "settled",
        (false, false) => "owing",
    };
    assert_eq!(found, wanted, "{script}");
}

#[test]
fn simple_queries_end_with_ready_for_query() {
    check("", "idle");
    check(">Q", "owing");
    check(">Q <T <D <D <C <ZI", "idle");
    check(">Q <T <D <C <T <D <C <ZI", "idle");
    check(">Q <I <ZI", "idle");
    check(">Q <E <ZI", "idle");
    check(">Q <C <ZT", "settled");
    check(">Q <C <ZT >Q <E <ZE", "settled");
    check(">Q >Q <C <ZI", "owing");
    check(">Q >Q <C <ZI <C <ZI", "idle");
    check(">F <V <ZI", "idle");
    check(">F <E <ZI", "idle");
}

#[test]
fn the_extended_protocol_is_settled_message_by_message() {
    check(">P >B >Dp >E >S <1 <2 <T <D <C <ZI", "idle");
    check(">P >Ds >S <1 <t <n <ZI", "idle");
    check(">P >Ds >S <1 <t <T <ZI", "idle");
    check(">B >E >S <2 <s <ZT", "settled");
    check(">C >S <3 <ZI", "idle");
    check(">S <ZI", "idle");
    check(">E >S <I <ZI", "idle");
}

#[test]
fn what_is_not_synced_is_not_settled() {
    check(">P >H <1", "owing");
    check(">P >H <1 >S <ZI", "idle");
    // A simple query ends the server's own transaction as a Sync does.
    check(">P >H <1 >Q <C <ZI", "idle");
    check(">P >H <1 >F <V <ZI", "idle");
}

#[test]
fn after_an_error_everything_up_to_sync_is_skipped() {
    check(">P >B >E >S <E <ZI", "idle");
    check(">P >B >E >S <1 <E <ZE", "settled");
    check(">P >B >E >S >P >B >E >S <1 <E <ZI <1 <2 <C <ZI", "idle");
    check(">P >H <E", "owing");
    check(">P >H <E >B >E >S <ZI", "idle");
    // Simple queries and function calls are skipped too.
    check(">P >H <E >Q >F >S <ZI", "idle");
    check(">P >Q >S <E <ZI", "idle");
    check(">P >H <E >Q <C!", "owing");
}

#[test]
fn copy_in_swallows_syncs_until_its_data_ends() {
    check(">Q <G >d >d >c <C <ZI", "idle");
    check(">Q <G >d >f <E <ZI", "idle");
    // The usual driver: Sync with the Execute, and another after the data.
    check(">B >E >S <2 <G >d >c >S <C <ZI", "idle");
    check(">B >E >H <2 <G >d >c >S <C <ZI", "idle");
    check(">B >E >S <2 <G >d >c <C", "owing");
    // Data sent before the server has said that it copies.
    check(">B >E >d >c >S <2 <G <C <ZI", "idle");
    check(">Q >d >c <G <C <ZI", "idle");
    check(">Q >d >c >Q <G <C <ZI <C <ZI", "idle");
    // The copy fails while data is still coming; the end of the data is ignored.
    check(">Q <G >d <E <ZI >d >c", "idle");
    check(">Q <G >d <E >c <ZI >Q <C <ZI", "idle");
    check(">B >E >S <2 <G >d <E >c >S <ZI", "idle");
    // Anything else ends the data as an error, unless the COPY had failed before: then it is answered.
    check(">Q <G >d >Q <E <ZI", "owing");
    check(">Q <G >d >Q <E <ZI <T <D <C <ZI", "owing");
    check(">B >E >S <2 <G >B <E >S <ZI", "owing");
    check(">B >E >H <2 <G >B <E >S <ZI", "idle");
    // No copy at all: the end of data that never was is ignored.
    check(">c >d >f", "idle");
    check(">Q >c <E <ZI", "idle");
    check(">E >c >S <C <ZI", "idle");
}

/// A server ignores the Syncs that it reads while it copies in; those it reads after the COPY has failed
/// it answers. Both must pass.
#[test]
fn a_failed_copy_may_answer_a_sync_sent_for_it() {
    // The COPY fails at its first row, or before (a statement trigger): the usual driver.
    check(">B >E >S <2 <G >d <E >c >S <ZI", "idle");
    check(">B >E >S <2 <G >d <E <ZI >c >S <ZI", "idle");
    check(">B >E >S <2 <G >d >c >S <E <ZI", "idle");
    check(">B >E >S <2 <G >d >c >S <E <ZI <ZI", "idle");
    check(">B >E >S <2 <G <E >f >S <ZI <ZI >Q <T <D <C <ZI", "idle");
    check(">B >E >S <2 <G <E >f >S >Q <ZI <ZI <T <D <C <ZI", "idle");
    check(">B >E >S <2 <G <E >f >S >Q <ZI <T <D <C <ZI", "idle");
    check(">B >E >S >d >c >S >P >S <2 <G <E <ZI <ZI <1 <ZI", "idle");
    check(">B >E >S >d >c >S >P >S <2 <G <E <ZI <1 <ZI", "idle");
    check(">Q >S >d >c >Q <G <E <ZI <ZI <C <ZI", "idle");
    check(">Q >S >d >c >Q <G <E <ZI <C <ZI", "idle");
    check(">B >E >S <2 <G <E <ZI >Q <T <D <C <ZI", "idle");
    // No more than were sent, and none once something later was answered.
    check(">B >E >S <2 <G <E >f >S <ZI <ZI <ZI!", "idle");
    check(">B >E >S <2 <G <E >f >S >Q <ZI <T <C <ZI <ZI!", "idle");
    // None where the COPY went well.
    check(">B >E >S <2 <G >d >c >S <C <ZI <ZI!", "idle");
    // A client that goes on without a Sync of its own means one thing or another: all passes, and nobody
    // else gets the connection.
    check(">B >E >S <2 <G <E >Q >S <ZI <T <D <C <ZI <ZI", "owing");
    check(">B >E >S <2 <G <E >Q >S <ZI", "owing");
    check(">B >E >S >c >Q >S <2 <G <E <ZI <T <D <C <ZI <ZI", "owing");
}

#[test]
fn copy_out_is_a_result_like_rows() {
    check(">Q <H <d <d <c <C <ZI", "idle");
    check(">B >E >S <2 <H <d <c <C <ZI", "idle");
    check(">Q <H <d <E <ZI", "idle");
}

#[test]
fn notices_reports_and_notifications_come_at_any_time() {
    check("<N <S <A", "idle");
    check(">Q <N <T <S <D <A <C <ZI <A", "idle");
}

#[test]
fn what_nobody_asked_for_is_a_surprise() {
    for tag in "ZETDC123tnsIVGHWdc".chars() {
        check(&format!("<{tag}I!"), "idle");
    }
    for script in [
        ">P <2!", ">B <1!", ">E <T!", ">E <ZI!", ">S <C!", ">F <T!", ">Dp <t!", ">Ds <T!",
        ">C <1!", ">Q <1!", ">Q <s!", ">Q <V!", ">Q <W!", ">Q <ZX!", ">S <Z!",
    ] {
        check(script, "owing");
    }
}

#[test]
fn messages_that_do_not_exist_are_refused() {
    for tag in (0..=u8::MAX).filter(|tag| !b"QPBDECHSFdcf".contains(tag)) {
        assert_eq!(Exchange::new().sent(tag, b""), Err(UnknownMessage(tag)));
    }
}

/// A server as PostgreSQL's main loop has it, for the extended protocol, simple queries and COPY: an
/// oracle that knows nothing of the ledger.
#[derive(Default)]
struct Server {
    skipping: bool,
    copying: Option<bool>,
    /// A Sync was ignored in this COPY.
    swallowed: bool,
    /// A COPY failed in the middle, or with Syncs in it: what came of the messages behind it is not to be
    /// seen from outside.
    doubtful: bool,
}

impl Server {
    /// Takes one message and answers; `fails` is the dice.
    fn take(&mut self, word: &'static str, fails: bool) -> Vec<&'static str> {
        if let Some(extended) = self.copying {
            return match word {
                ">d" if fails => {
                    self.copying = None;
                    self.skipping = extended;
                    self.doubtful = true;
                    if extended { vec!["<E"] } else { vec!["<E", "<ZI"] }
                }
                ">S" => {
                    self.swallowed = true;
                    vec![]
                }
                ">H" | ">d" => vec![],
                _ => {
                    self.copying = None;
                    let ok = word == ">c" && !fails;
                    let swallowed = std::mem::take(&mut self.swallowed);
                    self.doubtful |= (swallowed && !ok) || !matches!(word, ">c" | ">f");
                    self.skipping = extended && !ok;
                    match (ok, extended) {
                        (true, true) => vec!["<C"],
                        (false, true) => vec!["<E"],
                        (true, false) => vec!["<C", "<ZI"],
                        (false, false) => vec!["<E", "<ZI"],
                    }
                }
            };
        }
        if self.skipping && word != ">S" {
            return vec![];
        }
        if fails && !matches!(word, ">H" | ">d" | ">c" | ">f" | ">S") {
            self.skipping = !word.starts_with(">Q");
            return if self.skipping { vec!["<E"] } else { vec!["<E", "<ZI"] };
        }
        match word {
            ">Q" => vec!["<T", "<D", "<C", "<ZI"],
            // A statement trigger that fails.
            ">Qtrigger" => {
                self.doubtful = true;
                vec!["<G", "<E", "<ZI"]
            }
            ">Etrigger" => {
                self.doubtful = true;
                self.skipping = true;
                vec!["<G", "<E"]
            }
            ">Qcopy" => {
                self.copying = Some(false);
                vec!["<G"]
            }
            ">Ecopy" => {
                self.copying = Some(true);
                vec!["<G"]
            }
            ">P" => vec!["<1"],
            ">B" => vec!["<2"],
            ">Ds" => vec!["<t", "<n"],
            ">Dp" => vec!["<T"],
            ">E" => vec!["<D", "<C"],
            ">C" => vec!["<3"],
            ">S" => {
                self.skipping = false;
                vec!["<ZI"]
            }
            _ => vec![],
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However a client pipelines and however late the answers come, no answer of a correct server is a
    /// surprise, and at the end nothing is owed, unless that cannot be known.
    #[test]
    fn no_correct_answer_is_ever_a_surprise(
        sent in prop::collection::vec(
            (prop::sample::select(vec![
                ">Q", ">Qcopy", ">Ecopy", ">Qtrigger", ">Etrigger", ">P", ">B", ">Ds", ">Dp", ">E", ">C", ">S", ">H", ">d", ">c", ">f",
            ]), prop::bool::weighted(0.15), 0_usize..6),
            0..40,
        ),
    ) {
        let mut server = Server::default();
        let mut exchange = Exchange::new();
        let mut answers = std::collections::VecDeque::new();
        let deliver = |exchange: &mut Exchange, answer: &str| {
            let [_, tag, body @ ..] = answer.as_bytes() else { unreachable!() };
            exchange.received(*tag, body)
        };
        // What ends any state: the end of a COPY, and two Syncs (a COPY swallows the first).
        let ending = [(">c", false, 9), (">S", false, 9), (">c", false, 9), (">S", false, 9)];
        let mut script = String::new();
        for (word, fails, delivered) in sent.iter().copied().chain(ending) {
            let (tag, body) = (word.as_bytes()[1], match &word[2..] { "s" => &b"S"[..], "p" => b"P", _ => b"" });
            script.push_str(&format!("{word} "));
            prop_assert_eq!(exchange.sent(tag, body), Ok(()));
            answers.extend(server.take(word, fails));
            for answer in answers.drain(..delivered.min(answers.len())) {
                script.push_str(&format!("{answer} "));
                prop_assert_eq!(deliver(&mut exchange, answer), Verdict::Pass, "{}", script);
            }
        }
        for answer in answers {
            script.push_str(&format!("{answer} "));
            prop_assert_eq!(deliver(&mut exchange, answer), Verdict::Pass, "{}", script);
        }
        prop_assert!(exchange.is_idle() || server.doubtful, "{}", script);
    }
}

/// An idle client costs its session's future for as long as it stays: what belongs to the beginning or
/// the end of a session must be boxed.
#[test]
fn the_future_of_a_session_stays_small() {
    fn size<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = size(super::serve::serve);
    assert!(bytes <= 1200, "{bytes} bytes");
}
