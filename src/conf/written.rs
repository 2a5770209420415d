//! A value as it was written, before anybody says whether it will do.
//!
//! Reading never stops: a value that is refused becomes a [`Wrong`] in its place, so that one pass of
//! serde finds every wrong value.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A value that was read, or why it was refused.
pub(super) struct Given<T>(pub(super) Result<T, Wrong>);

/// Why a value was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) remedy: String,
}

/// What was written, whatever it is. Never printed: it may be a secret.
pub(super) enum Written {
    Nothing,
    Boolean,
    Whole(i128),
    Fraction(f64),
    Text(String),
    List,
    Table,
}

/// A kind of value.
pub(super) trait Kind: Sized {
    /// Accepts or refuses what was written.
    fn read(written: Written) -> Result<Self, Wrong>;
}

// === impl Given ===

impl<'de, T: Kind> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(T::read(deserializer.deserialize_any(Anything)?)))
    }
}

// === impl Written ===

impl Written {
    /// Refuses it, showing what it is.
    pub(super) fn wrong<T>(&self, allowed: &str) -> Result<T, Wrong> {
        let found = match self {
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            Self::Text(text) => quoted(text),
            _ => return self.wrong_kind(allowed),
        };
        Err(Wrong::new(&found, allowed))
    }

    /// Refuses it, showing no more than what kind of thing it is.
    pub(super) fn wrong_kind<T>(&self, allowed: &str) -> Result<T, Wrong> {
        let found = match self {
            Self::Nothing => "nothing, or a date",
            Self::Boolean => "a boolean",
            Self::Whole(_) | Self::Fraction(_) => "a number",
            Self::Text(_) => "a text",
            Self::List => "a list",
            Self::Table => "a table",
        };
        Err(Wrong::new(found, allowed))
    }

    pub(super) fn word<T: Copy>(self, words: &[(&str, T)]) -> Result<T, Wrong> {
        if let Self::Text(text) = &self
            && let Some((_, value)) = words.iter().find(|(word, _)| word == text)
        {
            return Ok(*value);
        }
        let quoted: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.wrong(&match quoted.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        })
    }

    pub(super) fn duration(self, least: Duration, allowed: &str) -> Result<Duration, Wrong> {
        let read = match &self {
            Self::Text(text) => humantime::parse_duration(text.trim()).ok(),
            _ => None,
        };
        match read {
            Some(duration) if (least..=LONGEST).contains(&duration) => Ok(duration),
            _ => self.wrong(allowed),
        }
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Written, E> {
        Ok(Written::Boolean)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Written, E> {
        Ok(Written::Whole(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Written, E> {
        Ok(Written::Whole(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Written, E> {
        Ok(Written::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Written, E> {
        Ok(Written::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Written, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Written::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Written, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Written::Table)
    }
}

// === impl Wrong ===

impl Wrong {
    pub(super) fn new(found: &str, allowed: &str) -> Self {
        Self { problem: format!("found {found}"), remedy: format!("allowed: {allowed}") }
    }
}

// === helpers ===

/// A text in quotes, cut where it gets long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

// === constants ===

/// Short enough that adding it to a time of day never overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How much of a wrong text is shown.
const SHOWN: usize = 60;
