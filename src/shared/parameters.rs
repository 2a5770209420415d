//! The settings a server reports by `ParameterStatus`.

/// Names and values, in the order they were first reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(Box<str>, Box<str>)>);

// === impl Parameters ===

impl Parameters {
    /// Notes a report.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, known)) => *known = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// The value reported last.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// All reports.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// What somebody who knows `told` must still be told to know this.
    pub fn beyond<'a>(&'a self, told: &'a Self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter(|&(name, value)| told.get(name) != Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told_again() {
        let mut first = Parameters::default();
        first.set("TimeZone", "UTC");
        first.set("DateStyle", "ISO, MDY");
        let mut second = first.clone();
        assert_eq!(second.beyond(&first).count(), 0);
        second.set("TimeZone", "Europe/Berlin");
        second.set("in_hot_standby", "off");
        let wanted = [("TimeZone", "Europe/Berlin"), ("in_hot_standby", "off")];
        assert_eq!(second.beyond(&first).collect::<Vec<_>>(), wanted);
    }
}
