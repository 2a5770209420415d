//! The settings in effect, as a configuration file would say them, each with its origin.

use std::fmt;

use config::{Value, ValueKind};

use crate::conf::schema::place;

/// Every value with its origin; printed as TOML. Secrets are left out when it is made.
#[derive(Clone, Debug)]
pub struct Effective(Vec<Entry>);

#[derive(Clone, Debug)]
enum Entry {
    Head(String),
    Value { key: String, value: String, origin: String },
}

// === impl Effective ===

impl Effective {
    pub(super) fn of(tree: &Value) -> Self {
        let mut entries = Vec::new();
        for (section, value) in sorted(tree) {
            match &value.kind {
                ValueKind::Array(items) => {
                    for item in items {
                        entries.push(Entry::Head(format!("[[{section}]]")));
                        entries.extend(sorted(item).map(|(key, value)| entry(section, key, value)));
                    }
                }
                _ => {
                    entries.push(Entry::Head(format!("[{section}]")));
                    entries.extend(sorted(value).map(|(key, value)| entry(section, key, value)));
                }
            }
        }
        Self(entries)
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.0.iter().enumerate() {
            match entry {
                Entry::Head(head) if index == 0 => writeln!(f, "{head}")?,
                Entry::Head(head) => writeln!(f, "\n{head}")?,
                Entry::Value { key, value, origin } => {
                    writeln!(f, "{:<40}  # {origin}", format!("{key} = {value}"))?;
                }
            }
        }
        Ok(())
    }
}

// === helpers ===

fn sorted(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let mut entries: Vec<_> = match &table.kind {
        ValueKind::Table(table) => table.iter().collect(),
        _ => Vec::new(),
    };
    entries.sort_unstable_by_key(|(key, _)| key.as_str());
    entries.into_iter()
}

fn entry(section: &str, key: &str, value: &Value) -> Entry {
    let is_empty = matches!(&value.kind, ValueKind::String(text) if text.is_empty());
    let text = if SECRETS.contains(&(section, key)) && !is_empty {
        "\"<secret>\"".to_owned()
    } else {
        toml(value).to_string()
    };
    Entry::Value { key: key.to_owned(), value: text, origin: place(value) }
}

fn toml(value: &Value) -> toml::Value {
    match &value.kind {
        ValueKind::I64(number) => toml::Value::Integer(*number),
        ValueKind::Float(number) => toml::Value::Float(*number),
        ValueKind::Boolean(yes) => toml::Value::Boolean(*yes),
        ValueKind::Array(items) => toml::Value::Array(items.iter().map(toml).collect()),
        other => toml::Value::String(other.to_string()),
    }
}

// === constants ===

/// Keys whose values are never shown.
const SECRETS: [(&str, &str); 1] = [("monitor", "password")];
