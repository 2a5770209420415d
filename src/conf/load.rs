//! From the sources to the settings.

use std::{ffi::OsString, fs, path::PathBuf};

use config::{Config, Map, Value, ValueKind};

use crate::conf::{
    convert,
    mistake::{Mistake, Mistakes},
    overrides,
    raw::Raw,
    schema::{NODE, Schema},
    settings::Settings,
    show::Effective,
    source::{self, Layer},
};

/// The commented sample file, which is the default layer.
pub const SAMPLE: &str = include_str!("../../understudy.toml");

/// Where configuration may come from, apart from the defaults.
#[derive(Clone, Default)]
pub struct Sources {
    /// The user's file.
    pub file: Option<PathBuf>,
    /// The process's environment; what does not begin with `UNDERSTUDY__` is passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// `section.key=value`, as often as wanted.
    pub set: Vec<String>,
    /// Flags with a key of their own.
    pub flags: Vec<Flag>,
}

/// A flag that stands for a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is typed: `--log-level`.
    pub name: &'static str,
    /// The key it stands for: `log.level`.
    pub key: &'static str,
    /// What was given.
    pub value: String,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What is allowed but probably not meant, as sentences.
    pub doubts: Vec<String>,
    /// The file that was read, where there is one.
    pub file: Option<PathBuf>,
    /// Every value with its origin.
    pub effective: Effective,
}

/// Lays the sources over the defaults, checks everything, and reports every mistake there is.
///
/// Files that are named (passwords, users) are looked at; the network is not.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let mut mistakes = Vec::new();
    let loaded = merge(sources, &mut mistakes).and_then(|tree| {
        let raw: Option<Raw> =
            tree.clone().try_deserialize().map_err(|_| mistakes.push(bug())).ok();
        let file = sources.file.as_deref();
        let (settings, doubts) = convert::settings(raw?, &tree, file, &mut mistakes)?;
        let (file, effective) = (sources.file.clone(), Effective::of(&tree));
        Some(Loaded { settings, doubts, file, effective })
    });
    match loaded {
        Some(loaded) if mistakes.is_empty() => Ok(loaded),
        _ => {
            mistakes.sort_by_cached_key(order);
            Err(Mistakes(mistakes))
        }
    }
}

// === impl Sources ===

/// Environment and flags may hold secrets.
impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

// === helpers ===

/// All layers in one tree, in which every value knows where it was written. None without the user's
/// file: what it would have said must not be reported as missing.
fn merge(sources: &Sources, mistakes: &mut Vec<Mistake>) -> Option<Value> {
    let defaults = builtin(SAMPLE, DEFAULT);
    let schema = Schema::new(&defaults);
    let mut layers = vec![layer(defaults)];
    let file = file(sources).map_err(|found| mistakes.extend(found)).ok();
    let overrides = overrides::layers(sources, &schema, mistakes);
    if let Some(mut tree) = file? {
        schema.prune(&mut tree, mistakes);
        layers.push(layer(tree));
    }
    layers.extend(overrides);
    let builder =
        layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(layer));
    let mut tree = builder.build().map_err(|_| mistakes.push(bug())).ok()?.cache;
    complete_nodes(&mut tree);
    Some(tree)
}

/// A text of our own, which tests prove to be TOML.
fn builtin(text: &str, name: &str) -> Value {
    let mut tree = source::parse(text, name).expect("the sample file is TOML: a test reads it");
    name_all(&mut tree, name);
    tree
}

/// Gives a tree one place: nobody looks for line 3 of the defaults.
fn name_all(value: &mut Value, name: &str) {
    let kind = std::mem::take(&mut value.kind);
    let kind = match kind {
        ValueKind::Table(mut entries) => {
            entries.values_mut().for_each(|value| name_all(value, name));
            ValueKind::Table(entries)
        }
        ValueKind::Array(mut items) => {
            items.iter_mut().for_each(|value| name_all(value, name));
            ValueKind::Array(items)
        }
        kind => kind,
    };
    *value = Value::new(Some(&name.to_owned()), kind);
}

fn file(sources: &Sources) -> Result<Option<Value>, Vec<Mistake>> {
    let Some(path) = &sources.file else { return Ok(None) };
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| {
        vec![Mistake::new(
            &name,
            "",
            format!("cannot be read: {error}"),
            "name the configuration file with --config",
        )]
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .split(|byte| *byte == b'\n')
            .count();
        vec![Mistake::new(format!("{name}:{line}"), "", "not UTF-8", "save the file as UTF-8")]
    })?;
    source::parse(&text, &name).map(Some)
}

fn layer(tree: Value) -> Layer {
    Layer(tree.into_table().unwrap_or_default())
}

/// Adds to every node what it does not say; a node of which an override named only the number of a
/// later one is there, too, and has no host.
fn complete_nodes(tree: &mut Value) {
    let ValueKind::Table(sections) = &mut tree.kind else { return };
    let Some(ValueKind::Array(nodes)) = sections.get_mut("nodes").map(|nodes| &mut nodes.kind)
    else {
        return;
    };
    let template = layer(builtin(NODE, DEFAULT)).0;
    for node in nodes {
        if !matches!(node.kind, ValueKind::Table(_)) {
            node.kind = ValueKind::Table(Map::new());
        }
        if let ValueKind::Table(keys) = &mut node.kind {
            for (key, value) in &template {
                keys.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// In the order of a file's lines; what has no line comes behind.
fn order(mistake: &Mistake) -> (u8, usize, usize, String) {
    let mut parts = mistake.place.rsplit(':').map_while(|part| part.parse().ok());
    let (column, line) = (parts.next(), parts.next());
    let rank = match mistake.place.split(' ').next() {
        _ if line.is_some() => 0,
        Some("environment") => 1,
        Some("flag") => 2,
        Some("") | None => 3,
        Some(_) => 0,
    };
    (rank, line.unwrap_or(0), column.unwrap_or(0), mistake.key.clone())
}

/// Said instead of a panic should the checks above ever miss a shape.
fn bug() -> Mistake {
    Mistake::new("", "", "cannot be understood", "this is a bug in understudy, please report it")
}

// === constants ===

/// The origin of what nobody has written.
pub(super) const DEFAULT: &str = "default";
