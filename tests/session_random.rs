//! Random conversations: whatever a client sends, in whatever order and pieces, the answers through
//! the proxy are PostgreSQL's, message by message.
#![cfg(feature = "real-nodes")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use understudy::lab::Login;

use support::{Script, Stage, Wire};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> usize {
        // Knuth's MMIX generator; its upper bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit).unwrap()
    }

    fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len() as u64)]
    }
}

const NAMES: &[&str] = &["", "a", "b"];

const QUERIES: &[&str] = &[
    "SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1/0",
    "SELECT 1; SELECT nonsense; SELECT 2",
    "",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "INSERT INTO r VALUES (1)",
    "SELECT count(*) FROM r",
    "COPY r TO STDOUT",
    "COPY (SELECT generate_series(1, 3)) TO STDOUT; SELECT 'after'",
    "SET application_name = 'x'",
    "SET application_name = 'y'",
    "PREPARE a AS SELECT 3",
    "EXECUTE a",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "LISTEN c; NOTIFY c, 'n'",
    "DO $$ BEGIN RAISE NOTICE 'n'; END $$",
    "FETCH 1 FROM a",
    "CLOSE ALL",
    "SELECT repeat('long ', 20000)",
];

const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT generate_series(1, 5)",
    "SELECT 1/0",
    "SELECT nonsense",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "INSERT INTO r VALUES (2)",
    "INSERT INTO r VALUES (3) RETURNING n",
    "SET application_name = 'z'",
    "COPY r TO STDOUT",
    "DO $$ BEGIN RAISE WARNING 'w'; END $$",
    "",
];

/// What a client may do next; in COPY only what belongs there, mostly.
fn step(dice: &mut Dice, script: Script) -> Script {
    let name = dice.of(NAMES);
    let other = dice.of(NAMES);
    match dice.below(32) {
        0..=5 => script.query(dice.of(QUERIES)),
        6..=9 => script.parse(name, dice.of(STATEMENTS)),
        10..=13 => script.bind(name, other, &[]),
        14..=17 => script.execute(name, u32::try_from(dice.below(3)).unwrap()),
        18 => script.describe_statement(name),
        19..=20 => script.describe_portal(name),
        21 => script.close_statement(name),
        22 => script.close_portal(name),
        23..=25 => script.sync(),
        26 => script.flush(),
        27 => script.function(177, &["1", "2"]),
        28 => script.function(154, &["1", "0"]),
        29 => copy(dice, script.query("COPY r FROM STDIN")),
        30 => {
            let script = script.parse("", "COPY r FROM STDIN").bind("", "", &[]).execute("", 0);
            let script = if dice.below(2) == 0 { script.sync() } else { script };
            copy(dice, script)
        }
        _ => script.copy_data("7\n").copy_done(),
    }
}

fn copy(dice: &mut Dice, mut script: Script) -> Script {
    for _ in 0..dice.below(4) {
        script = match dice.below(6) {
            0 => script.copy_data("bad\n"),
            1 => script.sync(),
            2 => script.flush(),
            _ => script.copy_data("4\n5\n"),
        };
    }
    match dice.below(4) {
        0 => script.copy_fail("no more"),
        _ => script.copy_done(),
    }
}

/// All that comes until the end of the session, which the script asks for.
fn converse(wire: &mut Wire, bytes: &[u8], pieces: &mut Dice) -> Vec<String> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = if pieces.below(2) == 0 { rest.len() } else { 1 + pieces.below(40) };
        let (piece, after) = rest.split_at(size.min(rest.len()));
        // A server that has given up the session takes no more.
        if std::io::Write::write_all(&mut wire.stream, piece).is_err() {
            break;
        }
        rest = after;
    }
    let mut said = Vec::new();
    while let Ok(Some(message)) = wire.try_next() {
        let text = message.to_string();
        let end = text == "row the end" || text.starts_with("error FATAL");
        said.push(text);
        if end {
            break;
        }
    }
    said
}

/// What a script says, for people: tags and texts.
fn sent(script: &Script) -> Vec<String> {
    let mut rest = &script.0[..];
    let mut lines = Vec::new();
    while let Some(length) = rest.get(1..5) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let (message, after) = rest.split_at(length + 1);
        lines.push(format!("{} {}", char::from(message[0]), message[5..].escape_ascii()));
        rest = after;
    }
    lines
}

#[test]
fn random_conversations_are_answered_as_by_postgresql() {
    let stage = Stage::with(1, &["process.workers=1"]);
    stage.admin("CREATE TABLE r (n int); ALTER TABLE r OWNER TO app");
    let mut messages = 0;
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut script = Script::new();
        for _ in 0..dice.below(60) {
            script = step(&mut dice, script);
        }
        // Out of any COPY and any skipping: the first Sync may be swallowed.
        let script = script.copy_fail("the end").sync().sync().query("ROLLBACK");
        let script = script.query("SELECT 'the end'");
        let [straight, proxied] =
            [stage.straight(Login::App), stage.proxied(Login::App)].map(|conninfo| {
                stage.admin("TRUNCATE r");
                let mut wire = Wire::log_in(&conninfo, &[]);
                converse(&mut wire, &script.0, &mut Dice(!seed))
            });
        assert!(
            proxied == straight,
            "conversation {seed}: {:#?}\n{}",
            sent(&script),
            support::difference(&straight, &proxied)
        );
        messages += proxied.len();
    }
    println!("{SEEDS} conversations, {messages} messages compared");
    let log = stage.proxy.log();
    assert!(!log.contains("broke the protocol") && !log.contains("panic"), "{log}");
}

const SEEDS: u64 = 150;
