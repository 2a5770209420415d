//! Tagged messages of both directions, in pieces of any size, through scanner, views and ledger. The first
//! byte says how large the pieces are; the lowest bit of each piece's first byte who sends it.

use understudy::{
    protocol::{
        backend::{ErrorFields, ParameterStatus, authentication, backend_key_data},
        scan::{Depth, HEADER_LENGTH, Scanner, Step},
    },
    relay::exchange::{Exchange, Verdict},
};

/// One direction of a stream.
#[derive(Default)]
struct Side {
    scanner: Scanner,
    held: Vec<u8>,
    gone: bool,
}

impl Side {
    /// Takes a piece, and hands over each message that begins in what is there.
    fn take(&mut self, piece: &[u8], mut on: impl FnMut(u8, &[u8]) -> bool) {
        self.held.extend_from_slice(piece);
        let mut at = 0;
        while !self.gone {
            match self.scanner.step(&self.held[at..], |_| Depth::Prefix(64)) {
                Ok(Step::More) => break,
                Ok(Step::Rest(length)) => at += length,
                Ok(Step::Message { header, bytes }) => {
                    assert!(bytes.len() >= HEADER_LENGTH && bytes.len() <= header.length);
                    self.gone |= !on(header.tag, &bytes[HEADER_LENGTH..]);
                    at += bytes.len();
                }
                Err(_) => self.gone = true,
            }
        }
        self.held.drain(..at);
        assert!(self.gone || self.held.len() < HEADER_LENGTH + 64, "nothing more is gathered");
    }
}

pub fn run(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let (mut client, mut server) = (Side::default(), Side::default());
    let mut exchange = Exchange::new();
    for piece in stream.chunks(usize::from(size) + 1) {
        if piece[0] & 1 == 0 {
            client.take(piece, |tag, body| exchange.sent(tag, body).is_ok());
        } else {
            server.take(piece, |tag, body| {
                let _ = ErrorFields::new(body).code();
                let _ = ParameterStatus::parse(body);
                let _ = authentication(body);
                let _ = backend_key_data(body);
                exchange.received(tag, body) == Verdict::Pass
            });
        }
        assert!(!exchange.is_idle() || exchange.is_settled());
    }
}
