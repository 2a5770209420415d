//! A TOML text as a layer: the values, each with the place where it stands.

use config::{Map, Source, Value, ValueKind};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use crate::conf::mistake::Mistake;

/// Values for the `config` crate to lay over those below.
#[derive(Clone, Debug)]
pub(super) struct Layer(pub(super) Map<String, Value>);

/// Reads a TOML text; `name` is what its places begin with.
pub(super) fn parse(text: &str, name: &str) -> Result<Value, Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let text = Text { text, name };
    if errors.is_empty() {
        return Ok(text.table(table.get_ref(), table.span().start));
    }
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut last_line = 0;
    for error in errors {
        let offset = error.span().map_or(text.text.len(), |span| span.start);
        let (line, column) = text.position(offset);
        // What follows on the same line follows from the first.
        if line != last_line {
            // The parser's message names what it expected, never what stands there: that may be a
            // secret. For the same reason the line itself is not shown.
            mistakes.push(Mistake::new(
                format!("{name}:{line}:{column}"),
                "",
                format!("not TOML: {}", error.message()),
                remedy(error.message()),
            ));
        }
        last_line = line;
    }
    Err(mistakes)
}

struct Text<'a> {
    text: &'a str,
    name: &'a str,
}

// === impl Layer ===

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

// === impl Text ===

impl Text<'_> {
    fn table(&self, table: &DeTable<'_>, offset: usize) -> Value {
        let entries: Map<String, Value> = table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), self.value(value, key.span().start)))
            .collect();
        self.at(offset, ValueKind::Table(entries))
    }

    /// A value; its place is that of its key, or its own inside a list.
    fn value(&self, value: &Spanned<DeValue<'_>>, offset: usize) -> Value {
        let kind = match value.get_ref() {
            DeValue::Table(table) => return self.table(table, offset),
            DeValue::Array(items) => ValueKind::Array(
                items.iter().map(|item| self.value(item, item.span().start)).collect(),
            ),
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Integer(number) => whole(number),
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(yes) => ValueKind::Boolean(*yes),
            // No key takes a date, and `config` has no kind for one: nothing of use was written.
            DeValue::Datetime(_) => ValueKind::Nil,
        };
        self.at(offset, kind)
    }

    fn at(&self, offset: usize, kind: ValueKind) -> Value {
        let (line, column) = self.position(offset);
        Value::new(Some(&format!("{}:{line}:{column}", self.name)), kind)
    }

    /// Line and column, both from 1, the column in characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

// === helpers ===

fn whole(number: &DeInteger<'_>) -> ValueKind {
    match i128::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => i64::try_from(number).map_or(ValueKind::I128(number), ValueKind::I64),
        Err(_) => ValueKind::Float(f64::INFINITY),
    }
}

fn remedy(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "keep one of the two"
    } else {
        "write key = value, text in quotes: host = \"db0.example.com\""
    }
}
