//! Which keys there are. The sample file knows: it names every key with its default.

use config::{Map, Value, ValueKind};

use crate::conf::{mistake::Mistake, source};

/// The tree of all keys, with a value of the right kind at each; a list holds one example element.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    keys: Value,
}

// === impl Schema ===

impl Schema {
    /// From the defaults, completed by what a node is: nodes have no default.
    pub(super) fn new(defaults: &Value) -> Self {
        let mut keys = defaults.clone();
        let node = source::parse(NODE, "").unwrap_or_else(|_| Map::<String, Value>::new().into());
        if let ValueKind::Table(table) = &mut keys.kind {
            table.insert("nodes".to_owned(), vec![node].into());
        }
        Self { keys }
    }

    fn find<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Value> {
        path.into_iter().try_fold(&self.keys, |at, segment| match &at.kind {
            ValueKind::Table(table) => table.get(segment),
            ValueKind::Array(items) if is_index(segment) => items.first(),
            _ => None,
        })
    }

    /// Takes out of a layer what has no place in it, as mistakes. What remains has the shape of the
    /// schema, except that any leaf may still have the wrong kind.
    pub(super) fn prune(&self, layer: &mut Value, mistakes: &mut Vec<Mistake>) {
        self.prune_at(layer, &self.keys, "", mistakes);
    }

    fn prune_at(&self, value: &mut Value, model: &Value, path: &str, mistakes: &mut Vec<Mistake>) {
        let (ValueKind::Table(entries), ValueKind::Table(known)) = (&mut value.kind, &model.kind)
        else {
            return;
        };
        entries.retain(|key, value| {
            let path = join(path, key);
            let place = place(value);
            let Some(model) = known.get(key) else {
                mistakes.push(self.unknown(place, &path));
                return false;
            };
            match (&mut value.kind, &model.kind) {
                (ValueKind::Table(_), ValueKind::Table(_)) => {
                    self.prune_at(value, model, &path, mistakes);
                    true
                }
                (ValueKind::Array(items), ValueKind::Array(models)) => {
                    if items.len() > MAX_ITEMS {
                        let problem = format!("found {} elements", items.len());
                        let remedy = format!("allowed: at most {MAX_ITEMS}");
                        mistakes.push(Mistake::new(place, &path, problem, remedy));
                    }
                    for (index, item) in items.iter_mut().enumerate() {
                        let Some(model) = models.first() else { continue };
                        let path = join(&path, &index.to_string());
                        if matches!(model.kind, ValueKind::Table(_))
                            && !matches!(item.kind, ValueKind::Table(_))
                        {
                            mistakes.push(misshapen(item, &path, model));
                            *item = Map::<String, Value>::new().into();
                        }
                        self.prune_at(item, model, &path, mistakes);
                    }
                    true
                }
                (_, ValueKind::Table(_) | ValueKind::Array(_)) => {
                    mistakes.push(misshapen(value, &path, model));
                    false
                }
                (ValueKind::Table(_), _) => {
                    mistakes.push(misshapen(value, &path, model));
                    false
                }
                _ => true,
            }
        });
    }

    /// The example value at a path with dots, or the mistake of naming one that does not exist.
    pub(super) fn get(&self, path: &str, place: &str) -> Result<&Value, Mistake> {
        self.find(path.split('.')).ok_or_else(|| {
            let ends = path.match_indices('.').map(|(end, _)| end);
            let unknown = ends
                .map(|end| &path[..end])
                .find(|part| self.find(part.split('.')).is_none())
                .unwrap_or(path);
            self.unknown(place, unknown)
        })
    }

    /// The mistake of naming a key that does not exist, with the nearest that does.
    fn unknown(&self, place: impl Into<String>, path: &str) -> Mistake {
        let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
        let section_path = section.split('.').filter(|segment| !segment.is_empty());
        let siblings = match self.find(section_path).map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        let remedy = if self.is_list(section) && !is_index(key) {
            format!("elements of a list are numbered from 0 to {}", MAX_ITEMS - 1)
        } else if let Some(elsewhere) = self.elsewhere(key, 1.0) {
            format!("did you mean \"{elsewhere}\"?")
        } else if let Some(near) = nearest(key, siblings.iter().copied(), 0.8) {
            format!("did you mean \"{}\"?", join(section, near))
        } else if let Some(elsewhere) = self.elsewhere(key, 0.93) {
            format!("did you mean \"{elsewhere}\"?")
        } else if siblings.is_empty() {
            "see understudy.toml for all keys".to_owned()
        } else {
            let mut known = siblings;
            known.sort_unstable();
            format!("known here: {}", known.join(", "))
        };
        Mistake::new(place, path, "unknown key", remedy)
    }

    fn is_list(&self, path: &str) -> bool {
        self.find(path.split('.')).is_some_and(|value| matches!(value.kind, ValueKind::Array(_)))
    }

    /// A key of some section with a name at least so much like this one.
    fn elsewhere(&self, key: &str, least: f64) -> Option<String> {
        let ValueKind::Table(sections) = &self.keys.kind else { return None };
        let mut sections: Vec<_> = sections.iter().collect();
        sections.sort_unstable_by_key(|(name, _)| name.as_str());
        sections.into_iter().find_map(|(section, value)| match &value.kind {
            ValueKind::Table(keys) => nearest(key, keys.keys().map(String::as_str), least)
                .map(|found| join(section, found)),
            _ => None,
        })
    }
}

// === helpers ===

/// Where a value stands; for a table that was put together, where something in it stands.
pub(super) fn place(value: &Value) -> String {
    match (value.origin(), &value.kind) {
        (Some(origin), _) => origin.to_owned(),
        (None, ValueKind::Table(table)) => {
            table.values().map(place).find(|place| !place.is_empty()).unwrap_or_default()
        }
        (None, _) => String::new(),
    }
}

/// What is at a path of a merged tree.
pub(super) fn at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |at, segment| match &at.kind {
        ValueKind::Table(table) => table.get(segment),
        ValueKind::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Whether a segment of a path numbers an element of a list.
pub(super) fn is_index(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_digit())
        && segment.parse::<usize>().is_ok_and(|index| index < MAX_ITEMS)
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>, least: f64) -> Option<&'a str> {
    known
        .map(|name| (likeness(key, name), name))
        .filter(|(likeness, _)| *likeness >= least)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, name)| name)
}

/// From 0 to 1. One slip of the finger is near in a short name, too.
fn likeness(a: &str, b: &str) -> f64 {
    match strsim::damerau_levenshtein(a, b) {
        0 => 1.0,
        1 if a.len() > 2 => 0.95,
        _ => strsim::jaro_winkler(a, b).min(0.94),
    }
}

/// A table or a list was due, and something else stands there.
fn misshapen(value: &Value, path: &str, model: &Value) -> Mistake {
    let found = match value.kind {
        ValueKind::Table(_) => "found a table",
        ValueKind::Array(_) => "found a list",
        ValueKind::Nil => "found a date",
        ValueKind::Boolean(_) => "found a boolean",
        ValueKind::String(_) => "found a text",
        _ => "found a number",
    };
    let allowed = match (&model.kind, path) {
        (_, "nodes") => "allowed: one [[nodes]] block (two brackets) for every node".to_owned(),
        (ValueKind::Array(_), _) => "allowed: a list, in square brackets".to_owned(),
        (_, path) if path.starts_with("nodes.") => {
            "allowed: a table such as { host = \"db0.example.com\", port = 5432 }".to_owned()
        }
        (ValueKind::Table(_), path) => {
            format!("allowed: a section, its head [{path}] on a line of its own")
        }
        _ => "allowed: a single value".to_owned(),
    };
    Mistake::new(place(value), path, found, allowed)
}

// === constants ===

/// What a node has. The sample file shows the same as a comment; a test compares the two.
pub(super) const NODE: &str = "host = \"\"\nport = 5432\nweight = 1.0\n";

/// As many elements as a list may have: one number in an environment variable must not fill the memory.
const MAX_ITEMS: usize = 128;
