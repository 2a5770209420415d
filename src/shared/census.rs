//! How many clients there are, over all workers: in all, per role, per database.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;

use crate::conf::settings::Limits;

/// The count, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Census(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    clients: AtomicUsize,
    named: DashMap<Name, usize>,
}

/// What clients are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    User(String),
    Database(String),
}

/// A client's place in the count, given up when dropped.
#[derive(Debug)]
pub struct Place {
    census: Census,
    names: Vec<Name>,
}

/// A limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// `limits.max_clients`
    #[error("limits.max_clients ({0}) is reached")]
    Clients(usize),
    /// `limits.max_clients_per_user`
    #[error("limits.max_clients_per_user ({1}) is reached for \"{0}\"")]
    User(String, usize),
    /// `limits.max_clients_per_database`
    #[error("limits.max_clients_per_database ({1}) is reached for \"{0}\"")]
    Database(String, usize),
}

// === impl Census ===

impl Census {
    /// Counts a client that has just connected, where there is room for one.
    ///
    /// # Errors
    /// `limits.max_clients` is reached.
    pub fn enter(&self, limits: &Limits) -> Result<Place, Full> {
        let place = Place { census: self.clone(), names: Vec::new() };
        let clients = self.0.clients.fetch_add(1, Ordering::Relaxed) + 1;
        match limits.max_clients {
            // Dropping the place takes the count back.
            Some(most) if clients > most => Err(Full::Clients(most)),
            _ => Ok(place),
        }
    }
}

// === impl Place ===

impl Place {
    /// Counts the client by its role and database, once it has proved who it is: a stranger must not
    /// fill up somebody else's share.
    ///
    /// # Errors
    /// A limit of the role or the database is reached.
    pub fn name(&mut self, limits: &Limits, user: &str, database: &str) -> Result<(), Full> {
        if let Some(most) = limits.max_clients_per_user {
            self.count(Name::User(user.to_owned()), most)
                .map_err(|()| Full::User(user.to_owned(), most))?;
        }
        if let Some(most) = limits.max_clients_per_database {
            self.count(Name::Database(database.to_owned()), most)
                .map_err(|()| Full::Database(database.to_owned(), most))?;
        }
        Ok(())
    }

    fn count(&mut self, name: Name, most: usize) -> Result<(), ()> {
        let mut count = self.census.0.named.entry(name.clone()).or_default();
        if *count >= most {
            return Err(());
        }
        *count += 1;
        self.names.push(name);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.census.0.clients.fetch_sub(1, Ordering::Relaxed);
        for name in &self.names {
            self.census.0.named.remove_if_mut(name, |_, count| {
                *count -= 1;
                *count == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: Option<usize>, user: Option<usize>, database: Option<usize>) -> Limits {
        let mut limits = crate::conf::load(&crate::conf::Sources {
            set: vec!["nodes.0.host=h".to_owned()],
            ..Default::default()
        })
        .unwrap()
        .settings
        .limits;
        limits.max_clients = all;
        limits.max_clients_per_user = user;
        limits.max_clients_per_database = database;
        limits
    }

    #[test]
    fn every_limit_counts_for_itself_and_a_place_given_up_is_free_again() {
        let census = Census::default();
        let all = limits(Some(3), Some(2), Some(2));
        let enter = |user: &str, database: &str| {
            let mut place = census.enter(&all)?;
            place.name(&all, user, database)?;
            Ok::<_, Full>(place)
        };
        let first = enter("ann", "a").unwrap();
        let _second = enter("ann", "b").unwrap();
        assert_eq!(enter("ann", "c").unwrap_err(), Full::User("ann".to_owned(), 2));
        let third = enter("bob", "b").unwrap();
        assert_eq!(enter("eve", "e").unwrap_err(), Full::Clients(3));
        drop(first);
        assert_eq!(enter("eve", "b").unwrap_err(), Full::Database("b".to_owned(), 2));
        drop(third);
        let _again = enter("ann", "b").unwrap();
        assert_eq!(census.0.clients.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn names_that_are_gone_are_forgotten() {
        let census = Census::default();
        let limits = limits(None, Some(1), None);
        for name in 0..100 {
            census.enter(&limits).unwrap().name(&limits, &name.to_string(), "d").unwrap();
        }
        assert!(census.0.named.is_empty());
    }
}
