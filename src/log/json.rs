//! A line for programs: one JSON object, every key once.

use std::{fmt, fmt::Write as _, ops::Range, time::SystemTime};

use slog::{KV, Key, Level, OwnedKVList, Record, Serializer};

/// The line for a record, with its end.
///
/// Fields stand in the order in which they were attached, the logger's own first. Where a key is
/// attached twice the more specific value wins; a field named like one of the four fixed keys gets an
/// underscore behind its name.
pub(super) fn line(record: &Record<'_>, context: &OwnedKVList) -> Vec<u8> {
    let mut fields = Fields::default();
    // A field that fails to serialize is left out; there is nobody to tell and the line matters more.
    let _ = record.kv().serialize(record, &mut fields);
    let _ = context.serialize(record, &mut fields);

    let mut line = String::with_capacity(128 + fields.text.len());
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    let _ = write!(line, r#"{{"ts":"{now}","level":"{}","event":"#, level_word(record.level()));
    push_json(&mut line, if record.tag().is_empty() { UNNAMED } else { record.tag() });
    line.push_str(r#","msg":"#);
    match record.msg().as_str() {
        Some(sentence) => push_json(&mut line, sentence),
        None => push_json(&mut line, &text(record.msg())),
    }
    // slog hands out the latest field first.
    for (key, value) in fields.found.iter().rev() {
        line.push(',');
        if FIXED.contains(key) {
            push_json(&mut line, &format!("{key}_"));
        } else {
            push_json(&mut line, key);
        }
        line.push(':');
        line.push_str(&fields.text[value.clone()]);
    }
    line.push_str("}\n");
    line.into_bytes()
}

/// The fields of a record as they come, each key once.
#[derive(Default)]
struct Fields {
    /// Their values, as JSON, one behind the other.
    text: String,
    found: Vec<(Key, Range<usize>)>,
}

// === impl Fields ===

impl Fields {
    fn add(&mut self, key: Key, value: &(impl serde::Serialize + ?Sized)) -> slog::Result {
        if self.found.iter().all(|(known, _)| *known != key) {
            let start = self.text.len();
            push_json(&mut self.text, value);
            self.found.push((key, start..self.text.len()));
        }
        Ok(())
    }
}

macro_rules! emit {
    ($($method:ident: $kind:ty),+ $(,)?) => {
        $(fn $method(&mut self, key: Key, value: $kind) -> slog::Result {
            self.add(key, &value)
        })+
    };
}

impl Serializer for Fields {
    emit! {
        emit_bool: bool, emit_char: char, emit_str: &str,
        emit_u8: u8, emit_u16: u16, emit_u32: u32, emit_u64: u64, emit_usize: usize,
        emit_i8: i8, emit_i16: i16, emit_i32: i32, emit_i64: i64, emit_isize: isize,
        emit_f32: f32, emit_f64: f64,
    }

    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.add(key, &())
    }

    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.add(key, &())
    }

    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.add(key, &text(value))
    }
}

// === helpers ===

/// The words of the configuration's `[log] level`, and "critical".
fn level_word(level: Level) -> &'static str {
    match level {
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Formats without trusting the `Display` of a stranger to succeed: what it wrote until then is kept.
fn text(arguments: &fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    let _ = text.write_fmt(*arguments);
    text
}

fn push_json(line: &mut String, value: &(impl serde::Serialize + ?Sized)) {
    // Numbers, texts, booleans and null always serialize.
    line.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
}

// === constants ===

/// The keys every line has.
const FIXED: [&str; 4] = ["ts", "level", "event", "msg"];

/// The event of a line that was logged without a name, which the house forbids and a test looks for.
const UNNAMED: &str = "unnamed";

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(context: OwnedKVList, record: &Record<'_>) -> String {
        let line = String::from_utf8(line(record, &context)).unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line:?}");
        let (ts, rest) = line.trim_end().strip_prefix(r#"{"ts":""#).unwrap().split_at(24);
        assert!(ts.ends_with('Z') && ts.as_bytes()[19] == b'.', "{ts}");
        rest.strip_prefix(r#"","#).unwrap().to_owned()
    }

    #[test]
    fn fields_keep_their_order_and_the_most_specific_value_wins() {
        let root = slog::Logger::root(slog::Discard, slog::o!("worker" => 1, "node" => 0));
        let child = root.new(slog::o!("node" => 1, "user" => "app"));
        let line = logged(
            child.list().clone(),
            &slog::record!(
                Level::Info,
                "session_start",
                &format_args!("hello {}", 1),
                slog::b!("node" => 2, "user" => "first", "user" => "second", "ok" => true)
            ),
        );
        assert_eq!(
            line,
            r#""level":"info","event":"session_start","msg":"hello 1","worker":1,"node":2,"user":"second","ok":true}"#
        );
    }

    #[test]
    fn odd_values_stay_one_valid_object() {
        let none: Option<u32> = None;
        let line = logged(
            OwnedKVList::from(slog::o!()),
            &slog::record!(
                Level::Warning,
                "",
                &format_args!("a\n\"b\"\u{1b}[31m\u{0}\u{2028}é"),
                slog::b!("msg" => "shadow", "odd \"key\"" => "\\\r\n", "nan" => f64::NAN, "none" => none, "char" => '\u{7f}')
            ),
        );
        let object: serde_json::Value = serde_json::from_str(&format!("{{{line}")).unwrap();
        assert_eq!(object["event"], "unnamed");
        assert_eq!(object["msg"], "a\n\"b\"\u{1b}[31m\u{0}\u{2028}é");
        assert_eq!(object["msg_"], "shadow");
        assert_eq!(object["odd \"key\""], "\\\r\n");
        assert_eq!(object["nan"], serde_json::Value::Null);
    }

    #[test]
    fn a_display_that_fails_does_not_take_the_line_with_it() {
        struct Broken;
        impl fmt::Display for Broken {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        let line = logged(
            OwnedKVList::from(slog::o!()),
            &slog::record!(Level::Error, "e", &format_args!("m"), slog::b!("broken" => %Broken)),
        );
        assert!(line.contains(r#""broken":"half""#), "{line}");
    }
}
