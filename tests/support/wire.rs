//! A client that speaks the protocol message by message: it sends what it is told to and shows what
//! comes back, so that conversations no driver would lead can be led, and compared.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio_postgres::config::Host;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    pub stream: TcpStream,
    inbox: Vec<u8>,
    /// The body of `BackendKeyData`.
    pub key: Vec<u8>,
    /// What `ParameterStatus` messages have said so far.
    pub parameters: BTreeMap<String, String>,
}

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// Messages of a client, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Script(pub Vec<u8>);

/// Protocol 3.0, as a startup packet has it.
pub const V3_0: u32 = 3 << 16;
/// Protocol 3.2.
pub const V3_2: u32 = 3 << 16 | 2;
/// The code of an SSLRequest.
pub const SSL: u32 = 80_877_103;
/// The code of a GSSENCRequest.
pub const GSS: u32 = 80_877_104;
/// The code of a CancelRequest.
pub const CANCEL: u32 = 80_877_102;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

// === impl Wire ===

impl Wire {
    /// A TCP connection on which nothing has been said.
    pub fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, inbox: Vec::new(), key: Vec::new(), parameters: BTreeMap::new() }
    }

    /// Connects and logs in as a connection string says, with further startup parameters, up to the
    /// first ReadyForQuery.
    pub fn log_in(conninfo: &str, parameters: &[(&str, &str)]) -> Self {
        let (wire, said) = Self::try_log_in(conninfo, parameters);
        assert_eq!(said.last().map(String::as_str), Some("ready I"), "{said:?}");
        wire
    }

    /// The same as far as it comes, with what the server said after the login itself.
    pub fn try_log_in(conninfo: &str, parameters: &[(&str, &str)]) -> (Self, Vec<String>) {
        Self::try_log_in_as(V3_0, conninfo, parameters)
    }

    /// The same with a protocol version of one's own.
    pub fn try_log_in_as(
        version: u32,
        conninfo: &str,
        parameters: &[(&str, &str)],
    ) -> (Self, Vec<String>) {
        let config: tokio_postgres::Config = conninfo.parse().unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("127.0.0.1".into())]);
        let mut wire = Self::open(config.get_ports()[0]);
        let mut all =
            vec![("user", config.get_user().unwrap()), ("database", config.get_dbname().unwrap())];
        all.extend(parameters);
        wire.send(&startup(version, &all));
        let mut said = Vec::new();
        let mut scram = None;
        let password = config.get_password().unwrap_or_default().to_owned();
        while let Some(message) = wire.next() {
            if message.tag != b'R' {
                let ends = matches!(message.tag, b'Z' | b'E');
                said.push(message.to_string());
                if ends {
                    break;
                }
                continue;
            }
            let (code, data) = message.body.split_at(4);
            match code[3] {
                0 => {}
                10 => {
                    let client = ScramSha256::new(&password, ChannelBinding::unsupported());
                    let first = client.message();
                    let mut body = b"SCRAM-SHA-256\0".to_vec();
                    body.extend(u32::try_from(first.len()).unwrap().to_be_bytes());
                    body.extend(first);
                    wire.send(&tagged(b'p', &body));
                    scram = Some(client);
                }
                11 => {
                    let client = scram.as_mut().unwrap();
                    client.update(data).unwrap();
                    wire.send(&tagged(b'p', client.message()));
                }
                12 => scram.as_mut().unwrap().finish(data).unwrap(),
                other => panic!("authentication request {other}"),
            }
        }
        (wire, said)
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends messages.
    pub fn say(&mut self, script: &Script) {
        self.send(&script.0);
    }

    /// Sends messages and returns what comes back up to the `count`th ReadyForQuery.
    pub fn ask(&mut self, script: &Script, count: usize) -> Vec<String> {
        self.say(script);
        (0..count).flat_map(|_| self.until(b'Z')).collect()
    }

    /// Runs a simple query.
    pub fn query(&mut self, sql: &str) -> Vec<String> {
        self.ask(&Script::new().query(sql), 1)
    }

    /// The one value a simple query returns.
    pub fn value(&mut self, sql: &str) -> String {
        let said = self.query(sql);
        let row = said.iter().find_map(|line| line.strip_prefix("row "));
        row.unwrap_or_else(|| panic!("{sql}: {said:?}")).to_owned()
    }

    /// What comes up to a message with this tag.
    pub fn until(&mut self, tag: u8) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let Some(message) = self.next() else { panic!("the server closed after {said:?}") };
            said.push(message.to_string());
            if message.tag == tag {
                return said;
            }
        }
    }

    /// What comes up to the end of the connection, which is the last word: "closed" or "reset".
    pub fn until_closed(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.try_next() {
                Ok(Some(message)) => said.push(message.to_string()),
                Ok(None) => said.push("closed".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    said.push("reset".to_owned());
                }
                Err(error) => panic!("after {said:?}: {error}"),
            }
            if said.last().is_some_and(|last| last == "closed" || last == "reset") {
                return said;
            }
        }
    }

    /// One byte without a message around it: the answer to a request for encryption.
    pub fn byte(&mut self) -> u8 {
        assert!(self.fill(1).unwrap());
        self.inbox.remove(0)
    }

    /// The next message; `None` when the server has closed.
    pub fn next(&mut self) -> Option<Message> {
        self.try_next().unwrap_or_else(|error| panic!("waiting for a message: {error}"))
    }

    /// Nothing more will be sent; what comes can still be read.
    pub fn close_sending(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Ends the connection with a reset instead of a good-bye.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The next message, or how the connection failed.
    pub fn try_next(&mut self) -> io::Result<Option<Message>> {
        if !self.fill(5)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes(self.inbox[1..5].try_into().unwrap()) as usize;
        if !self.fill(length + 1)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest = self.inbox.split_off(length + 1);
        let whole = std::mem::replace(&mut self.inbox, rest);
        let message = Message { tag: whole[0], body: whole[5..].to_vec() };
        match message.tag {
            b'K' => self.key.clone_from(&message.body),
            b'S' => {
                let texts = texts(&message.body);
                self.parameters.insert(texts[0].clone(), texts[1].clone());
            }
            _ => {}
        }
        Ok(Some(message))
    }

    /// False: the server has closed, at the border of a message.
    fn fill(&mut self, length: usize) -> io::Result<bool> {
        let mut chunk = vec![0; 64 * 1024];
        while self.inbox.len() < length {
            match self.stream.read(&mut chunk)? {
                0 if self.inbox.is_empty() => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.inbox.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(true)
    }
}

// === impl Script ===

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn query(self, sql: &str) -> Self {
        self.raw(b'Q', &text(sql))
    }

    pub fn parse(self, name: &str, sql: &str) -> Self {
        self.raw(b'P', &[text(name), text(sql), vec![0, 0]].concat())
    }

    /// Parameters as text, results as text.
    pub fn bind(self, portal: &str, statement: &str, parameters: &[&str]) -> Self {
        let mut body = [text(portal), text(statement), vec![0, 0]].concat();
        body.extend(u16::try_from(parameters.len()).unwrap().to_be_bytes());
        for parameter in parameters {
            body.extend(u32::try_from(parameter.len()).unwrap().to_be_bytes());
            body.extend(parameter.as_bytes());
        }
        body.extend([0, 0]);
        self.raw(b'B', &body)
    }

    pub fn describe_statement(self, name: &str) -> Self {
        self.raw(b'D', &[b"S".to_vec(), text(name)].concat())
    }

    pub fn describe_portal(self, name: &str) -> Self {
        self.raw(b'D', &[b"P".to_vec(), text(name)].concat())
    }

    /// 0 rows: all of them.
    pub fn execute(self, portal: &str, rows: u32) -> Self {
        self.raw(b'E', &[text(portal), rows.to_be_bytes().to_vec()].concat())
    }

    pub fn close_statement(self, name: &str) -> Self {
        self.raw(b'C', &[b"S".to_vec(), text(name)].concat())
    }

    pub fn close_portal(self, name: &str) -> Self {
        self.raw(b'C', &[b"P".to_vec(), text(name)].concat())
    }

    pub fn flush(self) -> Self {
        self.raw(b'H', &[])
    }

    pub fn sync(self) -> Self {
        self.raw(b'S', &[])
    }

    pub fn copy_data(self, data: &str) -> Self {
        self.raw(b'd', data.as_bytes())
    }

    pub fn copy_done(self) -> Self {
        self.raw(b'c', &[])
    }

    pub fn copy_fail(self, why: &str) -> Self {
        self.raw(b'f', &text(why))
    }

    pub fn terminate(self) -> Self {
        self.raw(b'X', &[])
    }

    /// A function by its oid, arguments and result as text.
    pub fn function(self, oid: u32, arguments: &[&str]) -> Self {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(u16::try_from(arguments.len()).unwrap().to_be_bytes());
        for argument in arguments {
            body.extend(u32::try_from(argument.len()).unwrap().to_be_bytes());
            body.extend(argument.as_bytes());
        }
        body.extend([0, 0]);
        self.raw(b'F', &body)
    }

    /// The parse, bind, describe, execute of a statement with parameters, without Sync.
    pub fn statement(self, sql: &str, parameters: &[&str]) -> Self {
        self.parse("", sql).bind("", "", parameters).describe_portal("").execute("", 0)
    }

    /// Any message.
    pub fn raw(mut self, tag: u8, body: &[u8]) -> Self {
        self.0.extend(tagged(tag, body));
        self
    }
}

// === impl Message ===

/// For people, and for comparing: everything but what must differ (keys and process ids) and where in
/// PostgreSQL's source an error arose.
impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = &self.body;
        match self.tag {
            b'Z' => write!(f, "ready {}", char::from(body[0])),
            b'C' => write!(f, "complete {}", texts(body)[0]),
            b'E' => write!(f, "error {}", fields(body)),
            b'N' => write!(f, "notice {}", fields(body)),
            b'T' => write!(f, "columns {}", columns(body)),
            b'D' => write!(f, "row {}", values(body)),
            b'S' => write!(f, "parameter {}", texts(body).join("=")),
            b'K' => write!(f, "key of {} bytes", body.len() - 4),
            b'A' => write!(f, "notification {}", texts(&body[4..]).join(" ")),
            b'1' => f.write_str("parsed"),
            b'2' => f.write_str("bound"),
            b'3' => f.write_str("closed it"),
            b'n' => f.write_str("no data"),
            b's' => f.write_str("suspended"),
            b'I' => f.write_str("empty"),
            b'G' => f.write_str("copy in"),
            b'H' => f.write_str("copy out"),
            b'W' => f.write_str("copy both"),
            b'd' => write!(f, "data {}", String::from_utf8_lossy(body).trim_end()),
            b'c' => f.write_str("copy done"),
            b't' => write!(f, "parameters {:?}", &body[2..]),
            b'V' => write!(f, "result {}", String::from_utf8_lossy(&body[4..])),
            b'v' => write!(f, "negotiate {:?} {:?}", &body[..8], texts(&body[8..])),
            tag => write!(f, "{} {body:?}", char::from(tag)),
        }
    }
}

// === helpers ===

/// A packet without a tag: startup, cancel, requests for encryption.
pub fn untagged(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

/// A startup packet.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parameters {
        body.extend(text(name));
        body.extend(text(value));
    }
    body.push(0);
    untagged(version, &body)
}

/// A message.
pub fn tagged(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

fn texts(body: &[u8]) -> Vec<String> {
    let body = body.strip_suffix(&[0]).unwrap_or(body);
    body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn fields(body: &[u8]) -> String {
    let shown = texts(body)
        .into_iter()
        .filter(|field| !field.is_empty() && !field.starts_with(['V', 'F', 'L', 'R']));
    shown.map(|field| field[1..].to_owned()).collect::<Vec<_>>().join(" ")
}

fn columns(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let kind = u32::from_be_bytes(rest[end + 7..end + 11].try_into().unwrap());
        names.push(format!("{}:{kind}", String::from_utf8_lossy(&rest[..end])));
        rest = &rest[end + 19..];
    }
    names.join("|")
}

fn values(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut shown = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            shown.push("NULL".to_owned());
            rest = after;
            continue;
        };
        shown.push(String::from_utf8_lossy(&after[..length]).into_owned());
        rest = &after[length..];
    }
    shown.join("|")
}
