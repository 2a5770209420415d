//! Single values laid over the file: environment variables and flags.
//!
//! A variable `UNDERSTUDY__SECTION__KEY` and a flag `--set section.key=value` name a key; elements of
//! lists are counted from 0 (`UNDERSTUDY__NODES__0__HOST`, `--set nodes.0.host=…`) and a list of texts
//! may be written whole, with commas. What is written is read as the kind of value the key has.

use std::ffi::OsString;

use config::{Map, Value, ValueKind};

use crate::conf::{
    load::{Flag, Sources},
    mistake::Mistake,
    schema::{Schema, is_index},
    source::Layer,
};

/// One layer for every override, in the order in which they apply.
pub(super) fn layers(
    sources: &Sources,
    schema: &Schema,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Layer> {
    let mut overrides = environment(&sources.environment, mistakes);
    overrides.extend(flags(sources, mistakes));
    overrides
        .into_iter()
        .filter_map(|value| value.layer(schema).map_err(|mistake| mistakes.push(mistake)).ok())
        .collect()
}

/// A key and what somebody wants it to be.
struct Override {
    place: String,
    path: String,
    text: String,
}

// === impl Override ===

impl Override {
    fn layer(self, schema: &Schema) -> Result<Layer, Mistake> {
        let model = schema.get(&self.path, &self.place)?;
        let value = |kind| Value::new(Some(&self.place), kind);
        let kind = match &model.kind {
            ValueKind::Table(_) => return Err(self.too_short("name a key inside it")),
            ValueKind::Array(items) => match items.first().map(|item| &item.kind) {
                Some(ValueKind::Table(_)) => {
                    return Err(self.too_short("name an element and a key, such as nodes.0.host"));
                }
                _ => ValueKind::Array(
                    self.text
                        .split(',')
                        .map(str::trim)
                        .filter(|item| !item.is_empty())
                        .map(|item| value(item.into()))
                        .collect(),
                ),
            },
            ValueKind::I64(_) => self.text.parse().map_or_else(|_| self.as_text(), ValueKind::I64),
            ValueKind::Float(_) => {
                self.text.parse().map_or_else(|_| self.as_text(), ValueKind::Float)
            }
            _ => self.as_text(),
        };
        Ok(Layer(Map::from([(expression(&self.path), value(kind))])))
    }

    /// What does not read as the kind of the key is left for the key to refuse.
    fn as_text(&self) -> ValueKind {
        ValueKind::String(self.text.clone())
    }

    fn too_short(&self, remedy: &str) -> Mistake {
        Mistake::new(&self.place, &self.path, "not a single value", remedy)
    }
}

// === helpers ===

fn environment(variables: &[(OsString, OsString)], mistakes: &mut Vec<Mistake>) -> Vec<Override> {
    let mut overrides = Vec::new();
    for (name, value) in variables {
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let place = format!("environment {PREFIX}{key}");
        let path = key.to_lowercase().replace(SEPARATOR, ".");
        match value.to_str() {
            Some(text) => overrides.push(Override { place, path, text: text.to_owned() }),
            None => mistakes.push(Mistake::new(place, path, "not UTF-8", "allowed: UTF-8 text")),
        }
    }
    // A whole list comes before its elements, and the order does not depend on the environment's.
    overrides.sort_by(|a, b| a.path.cmp(&b.path));
    overrides
}

fn flags(sources: &Sources, mistakes: &mut Vec<Mistake>) -> Vec<Override> {
    let mut overrides = Vec::new();
    for text in &sources.set {
        match text.split_once('=') {
            Some((key, value)) => overrides.push(Override {
                place: "flag --set".to_owned(),
                path: key.trim().to_owned(),
                text: value.trim().to_owned(),
            }),
            // What was written is not repeated: it may be a password.
            None => mistakes.push(Mistake::new(
                "flag --set",
                "",
                "found no \"=\"",
                "allowed: section.key=value, such as --set log.level=debug",
            )),
        }
    }
    overrides.extend(sources.flags.iter().map(|Flag { name, key, value }| Override {
        place: format!("flag {name}"),
        path: (*key).to_owned(),
        text: value.clone(),
    }));
    overrides
}

/// The path as the `config` crate writes it: `nodes.0.host` is `nodes[0].host` there.
fn expression(path: &str) -> String {
    let mut expression = String::with_capacity(path.len() + 2);
    for segment in path.split('.') {
        if is_index(segment) {
            expression.push_str(&format!("[{segment}]"));
        } else {
            if !expression.is_empty() {
                expression.push('.');
            }
            expression.push_str(segment);
        }
    }
    expression
}

// === constants ===

const PREFIX: &str = "UNDERSTUDY__";
const SEPARATOR: &str = "__";
