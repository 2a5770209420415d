//! A client that knows every method: it logs in as the server asks, and tells who it is then.

use std::io::{Read, Write};

use postgres_protocol::authentication::{
    md5_hash,
    sasl::{ChannelBinding, ScramSha256},
};

use super::{
    Proxy,
    tls::{Authority, say, socket, tls_over},
    wire::{SSL, V3_0, startup, tagged, untagged},
};

/// What a client is told, as SQLSTATE and message, or who it is.
pub type Outcome = Result<String, (String, String)>;

/// Logs in as the server asks, and says who it is then.
pub fn knock(
    stream: &mut (impl Read + Write),
    user: &str,
    database: &str,
    password: &str,
) -> Outcome {
    knock_as(stream, user, database, password, &[])
}

pub fn knock_as(
    stream: &mut (impl Read + Write),
    user: &str,
    database: &str,
    password: &str,
    parameters: &[(&str, &str)],
) -> Outcome {
    let parameters = [&[("user", user), ("database", database)], parameters].concat();
    say(stream, &startup(V3_0, &parameters));
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    let mut name = None;
    loop {
        let Some((tag, body)) = message(stream) else {
            return Err((String::new(), "closed without a word".into()));
        };
        match (tag, body.get(3)) {
            (b'R', Some(0)) => {}
            (b'R', Some(3)) => {
                say(stream, &tagged(b'p', &[password.as_bytes(), &[0]].concat()));
            }
            (b'R', Some(5)) => {
                let salt = body[4..].try_into().unwrap();
                let answer = md5_hash(user.as_bytes(), password.as_bytes(), salt);
                say(stream, &tagged(b'p', &[answer.as_bytes(), &[0]].concat()));
            }
            (b'R', Some(10)) => {
                let first = scram.message();
                let length = u32::try_from(first.len()).unwrap().to_be_bytes();
                say(stream, &tagged(b'p', &[b"SCRAM-SHA-256\0", &length[..], first].concat()));
            }
            (b'R', Some(11)) => {
                scram.update(&body[4..]).unwrap();
                say(stream, &tagged(b'p', scram.message()));
            }
            (b'R', Some(12)) => scram.finish(&body[4..]).unwrap(),
            (b'E', _) => return Err(error_fields(&body)),
            (b'D', _) => name = Some(String::from_utf8(body[6..].to_vec()).unwrap()),
            (b'Z', _) => match name {
                None => say(stream, &tagged(b'Q', b"SELECT current_user\0")),
                Some(name) => {
                    say(stream, &tagged(b'X', b""));
                    return Ok(name);
                }
            },
            _ => {}
        }
    }
}

pub fn knock_with_tls(
    proxy: &Proxy,
    authority: &Authority,
    user: &str,
    database: &str,
    password: &str,
) -> Outcome {
    let mut socket = socket(proxy.port());
    say(&mut socket, &untagged(SSL, b""));
    let mut answer = [0];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
    let mut stream = tls_over(socket, &authority.file("ca.crt"), &[]).unwrap();
    knock(&mut stream, user, database, password)
}

/// The next message; none when the server has closed.
pub fn message(stream: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Some((head[0], body))
}

/// SQLSTATE and message of an ErrorResponse.
pub fn error_fields(body: &[u8]) -> (String, String) {
    let field = |kind: u8| {
        let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&kind));
        String::from_utf8(field.unwrap_or(b"?")[1..].to_vec()).unwrap()
    };
    (field(b'C'), field(b'M'))
}
