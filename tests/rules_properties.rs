//! Access rules against a naive reading of the same rules, and against noise.

use std::{net::IpAddr, path::Path};

use proptest::{prelude::*, sample::select};
use understudy::auth::{
    Rules,
    rules::{Attempt, Encryption, Origin},
};

/// A line in pieces.
#[derive(Clone, Debug)]
struct Line {
    connection: &'static str,
    databases: Vec<&'static str>,
    users: Vec<&'static str>,
    /// Address and bits; none for `all`.
    network: Option<(IpAddr, u8)>,
    masked: bool,
    quoted: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    address: Option<IpAddr>,
    tls: bool,
    user: &'static str,
    database: &'static str,
    replication: bool,
}

const NAMES: [&str; 5] = ["joe", "jim", "all", "replication", "sameuser"];

fn address() -> impl Strategy<Value = IpAddr> {
    // Few different bits, so that networks are hit.
    prop_oneof![
        (0_u32..4, 0_u32..4).prop_map(|(high, low)| IpAddr::from((high << 30 | low).to_be_bytes())),
        (0_u128..4, 0_u128..4)
            .prop_map(|(high, low)| IpAddr::from((0x20 << 120 | high << 64 | low).to_be_bytes())),
    ]
}

fn network() -> impl Strategy<Value = Option<(IpAddr, u8)>> {
    let network = address().prop_flat_map(|address| {
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        (Just(address), 0..=most)
    });
    prop::option::weighted(0.7, network)
}

fn line() -> impl Strategy<Value = Line> {
    (
        select(vec!["local", "host", "hostssl", "hostnossl"]),
        prop::collection::vec(select(NAMES.to_vec()), 1..3),
        prop::collection::vec(select(NAMES.to_vec()), 1..3),
        network(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(connection, databases, users, network, masked, quoted)| Line {
            connection,
            databases,
            users,
            network,
            masked,
            quoted,
        })
}

fn asked() -> impl Strategy<Value = Asked> {
    let name = || select(NAMES.to_vec());
    (prop::option::weighted(0.8, address()), any::<bool>(), name(), name(), any::<bool>()).prop_map(
        |(address, tls, user, database, replication)| Asked {
            tls: tls && address.is_some(),
            address,
            user,
            database,
            replication,
        },
    )
}

// === the naive reading ===

impl Line {
    fn text(&self) -> String {
        let list = |names: &[&str]| {
            let quote =
                |name: &&str| if self.quoted { format!("\"{name}\"") } else { (*name).to_owned() };
            names.iter().map(quote).collect::<Vec<_>>().join(", ")
        };
        let address = match self.network {
            _ if self.connection == "local" => String::new(),
            None => "all".to_owned(),
            Some((address, bits)) if self.masked => format!("{address}  {}", mask(address, bits)),
            Some((address, bits)) => format!("{address}/{bits}"),
        };
        let (databases, users) = (list(&self.databases), list(&self.users));
        format!("{}\t{databases} {users} {address} trust # why", self.connection)
    }

    fn holds(&self, asked: &Asked) -> bool {
        let by_connection = match (self.connection, asked.address) {
            ("local", address) => address.is_none(),
            (_, None) => false,
            ("hostssl", _) => asked.tls,
            ("hostnossl", _) => !asked.tls,
            _ => true,
        };
        let by_address = self.connection == "local"
            || match (self.network, asked.address) {
                (None, _) => true,
                (Some((network, bits)), Some(address)) => {
                    network.is_ipv4() == address.is_ipv4()
                        && binary(network)[..bits.into()] == binary(address)[..bits.into()]
                }
                _ => false,
            };
        let keyword = |name: &str, word: &str| name == word && !self.quoted;
        let by_database = self.databases.iter().any(|&name| {
            if keyword(name, "replication") {
                asked.replication
            } else if asked.replication {
                false
            } else if keyword(name, "sameuser") {
                asked.user == asked.database
            } else {
                keyword(name, "all") || name == asked.database
            }
        });
        let by_user = self.users.iter().any(|&name| keyword(name, "all") || name == asked.user);
        by_connection && by_address && by_database && by_user
    }
}

fn binary(address: IpAddr) -> String {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets.iter().map(|octet| format!("{octet:08b}")).collect()
}

fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(_) => {
            IpAddr::from(u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0).to_be_bytes())
        }
        IpAddr::V6(_) => {
            IpAddr::from(u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0).to_be_bytes())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_first_line_that_holds_decides(
        lines in prop::collection::vec(line(), 1..6),
        asked in prop::collection::vec(asked(), 1..10),
    ) {
        let text: Vec<String> = lines.iter().map(Line::text).collect();
        let rules = Rules::parse(&text.join("\n"), Path::new("hba")).unwrap();
        for asked in &asked {
            let attempt = Attempt {
                origin: asked.address.map_or(Origin::Local, Origin::Address),
                encryption: match asked.tls {
                    true => Encryption::Tls { certificate_name: None },
                    false => Encryption::None,
                },
                user: asked.user,
                database: asked.database,
                physical_replication: asked.replication,
            };
            let first = lines.iter().position(|line| line.holds(asked)).map(|index| index + 1);
            let decided = rules.decide(&attempt).map(|rule| rule.line());
            prop_assert_eq!(decided, first, "{:?}\n{}", asked, text.join("\n"));
        }
    }

    /// Whatever is in the file, it is read or every mistake has a line that exists.
    #[test]
    fn noise_is_refused_without_a_panic(noise in "[a-z0-9 .:/\"#,\\\\\n\t\r+@\u{e9}\0]{0,120}") {
        in_lines(&noise)?;
    }

    #[test]
    fn nearly_rules_are_refused_without_a_panic(
        words in prop::collection::vec(
            select(vec![
                "host", "local", "hostssl", "all", "joe", "\"", "\"\"", ",", "10.0.0.0/8", "::/0", "10.0.0.1",
                "255.0.0.0", "trust", "cert", "password", "#", "\\\n", "\n", "samerole", "+g", "/re",
            ]),
            0..40,
        ),
        glue in select(vec!["", " ", "\t"]),
    ) {
        in_lines(&words.join(glue))?;
    }
}

fn in_lines(text: &str) -> Result<(), TestCaseError> {
    if let Err(mistakes) = Rules::parse(text, Path::new("hba")) {
        prop_assert!(!mistakes.is_empty());
        for mistake in mistakes {
            let line =
                mistake.place.strip_prefix("hba:").map(|line| line.parse().unwrap_or(0_usize));
            prop_assert!(
                line.is_none_or(|line| (1..=text.lines().count()).contains(&line)),
                "{mistake}"
            );
        }
    }
    Ok(())
}
