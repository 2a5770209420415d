//! Properties of the scanner over arbitrary splits, and tables for the packets strangers send.

use proptest::prelude::*;

use super::{
    backend::{ErrorFields, ParameterStatus},
    scan::{Depth, LARGE_MESSAGE_LIMIT, Scanner, Step},
    sqlstate,
    startup::{BadOpening, CancelKey, Opening, Startup, Version},
    write::{self, Error},
};

/// A message that was seen: tag, length, and the front of its body.
type Seen = (u8, usize, Vec<u8>);

/// Feeds `stream` in pieces, keeping what the scanner asks to keep, and returns the messages seen
/// (tag, length, visible body prefix) and the bytes that passed.
fn feed(stream: &[u8], cuts: &[usize], prefix: usize) -> (Vec<Seen>, Vec<u8>) {
    let mut scanner = Scanner::default();
    let (mut kept, mut seen, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    let mut from = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    for end in ends {
        kept.extend_from_slice(&stream[from..end]);
        from = end;
        let mut at = 0;
        loop {
            match scanner.step(&kept[at..], |_| Depth::Prefix(prefix)).unwrap() {
                Step::More => break,
                Step::Rest(length) => {
                    passed.extend_from_slice(&kept[at..at + length]);
                    at += length;
                }
                Step::Message { header, bytes } => {
                    let body = &bytes[5..bytes.len().min(5 + prefix)];
                    seen.push((header.tag, header.length, body.to_vec()));
                    passed.extend_from_slice(bytes);
                    at += bytes.len();
                }
            }
        }
        kept.drain(..at);
    }
    assert!(kept.is_empty() && scanner.is_between(), "a whole stream leaves nothing behind");
    (seen, passed)
}

proptest! {
    #[test]
    fn messages_and_bytes_are_the_same_however_the_stream_is_split(
        bodies in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..70)), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
        prefix in 0_usize..9,
    ) {
        let mut stream = Vec::new();
        for (tag, body) in &bodies {
            stream.push(*tag);
            stream.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            stream.extend_from_slice(body);
        }
        let (seen, passed) = feed(&stream, &cuts, prefix);
        let wanted: Vec<_> = bodies
            .iter()
            .map(|(tag, body)| (*tag, body.len() + 5, body[..body.len().min(prefix)].to_vec()))
            .collect();
        prop_assert_eq!(seen, wanted);
        prop_assert_eq!(passed, stream);
    }

    #[test]
    fn no_bytes_make_the_scanner_or_the_views_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut scanner = Scanner::default();
        let mut at = 0;
        while let Ok(Step::Rest(n)) | Ok(Step::Message { bytes: &[.., _], header: super::scan::Header { length: n, .. } })
            = scanner.step(&bytes[at..], |_| Depth::Prefix(1)) {
            at = (at + n).min(bytes.len());
        }
        let _ = Opening::parse(&bytes);
        let _ = ParameterStatus::parse(&bytes);
        let _ = ErrorFields::new(&bytes).code();
    }

    #[test]
    fn a_startup_packet_survives_the_round_trip(
        user in "[^\0]{1,20}", database in "[^\0]{1,20}",
        parameters in prop::collection::btree_map("[a-z_.]{2,12}", "[^\0]{0,20}", 0..6),
    ) {
        let parameters: Vec<_> = parameters.into_iter()
            .filter(|(name, _)| !matches!(name.as_str(), "user" | "database") && !name.starts_with("_pq_."))
            .collect();
        let startup = Startup {
            version: Version { major: 3, minor: 0 }, user, database, parameters, protocol_options: vec![],
        };
        let mut bytes = Vec::new();
        write::startup(&mut bytes, startup.version, &startup);
        prop_assert_eq!(Opening::parse(&bytes[4..]), Ok(Opening::Startup(startup)));
    }
}

#[test]
fn lengths_no_message_can_have_are_refused() {
    for length in [0_u32, 1, 3, LARGE_MESSAGE_LIMIT + 1, 0x7FFF_FFFF, 0xFFFF_FFFF] {
        let mut bytes = vec![b'Q'];
        bytes.extend_from_slice(&length.to_be_bytes());
        let refused = Scanner::default().step(&bytes, |_| Depth::Header).unwrap_err();
        assert_eq!((refused.tag, refused.length), (b'Q', length));
    }
}

#[test]
fn openings_are_told_apart() {
    let code = |code: u32| code.to_be_bytes().to_vec();
    assert_eq!(Opening::parse(&code(80_877_103)), Ok(Opening::SslRequest));
    assert_eq!(Opening::parse(&code(80_877_104)), Ok(Opening::GssRequest));

    let key = CancelKey { pid: 7, secret: [1, 2, 3, 4].into() };
    let mut bytes = Vec::new();
    write::cancel_request(&mut bytes, &key);
    assert_eq!(Opening::parse(&bytes[4..]), Ok(Opening::Cancel(key)));
    assert_eq!(Opening::parse(&bytes[4..12]), Err(BadOpening::CancelLength));

    let packet = |version: u32, body: &[u8]| [&version.to_be_bytes(), body].concat();
    let three = 3 << 16;
    assert_eq!(
        Opening::parse(&packet(2 << 16, b"\0")),
        Err(BadOpening::Version(Version { major: 2, minor: 0 }))
    );
    assert_eq!(Opening::parse(&packet(three, b"user\0bob\0")), Err(BadOpening::Layout));
    assert_eq!(Opening::parse(&packet(three, b"user\0bob\0\0x")), Err(BadOpening::Layout));
    assert_eq!(Opening::parse(&packet(three, b"user\0bob\0\0")).map(|_| ()), Ok(()));
    assert_eq!(Opening::parse(&packet(three, b"database\0d\0\0")), Err(BadOpening::NoUser));
    assert_eq!(Opening::parse(&packet(three, b"user\0\0\0")), Err(BadOpening::NoUser));
    assert_eq!(Opening::parse(&packet(three, b"user\0\xff\0\0")), Err(BadOpening::Encoding));
    assert_eq!(
        Opening::parse(&packet(three, b"user\0bob\0a\0x\0a\0y\0\0")),
        Err(BadOpening::Twice("a".into()))
    );
    for (word, length) in
        [(0_u32, None), (7, None), (8, Some(8)), (10_000, Some(10_000)), (10_001, None)]
    {
        assert_eq!(Opening::length(word.to_be_bytes()).ok(), length);
    }
}

#[test]
fn replication_is_asked_for_as_postgresql_reads_booleans() {
    for (value, wanted) in [
        ("true", true),
        ("on", true),
        ("1", true),
        ("database", true),
        ("yes", true),
        ("false", false),
        ("off", false),
        ("0", false),
        ("no", false),
        ("of", false),
        ("F", false),
    ] {
        let packet = [
            &(3_u32 << 16).to_be_bytes()[..],
            b"user\0u\0replication\0",
            value.as_bytes(),
            b"\0\0",
        ]
        .concat();
        let Ok(Opening::Startup(startup)) = Opening::parse(&packet) else { panic!("{value}") };
        assert_eq!(startup.is_replication(), wanted, "{value}");
    }
}

#[test]
fn our_errors_can_be_read_back_and_no_text_breaks_out_of_its_field() {
    let mut bytes = Vec::new();
    Error::fatal(sqlstate::CANNOT_CONNECT_NOW, "no\0primary").hint("wait").write(&mut bytes);
    assert_eq!(bytes.len(), 1 + u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize);
    let fields = ErrorFields::new(&bytes[5..]);
    assert!(fields.is_fatal());
    assert_eq!(fields.code(), Some(&b"57P03"[..]));
    assert_eq!(fields.message(), "noprimary");
    assert_eq!(fields.get(b'H'), Some(&b"wait"[..]));
    assert_eq!(fields.get(b'D'), None);
}
