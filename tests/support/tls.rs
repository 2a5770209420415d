//! Certificates for tests, made when they are needed, and a client that speaks TLS by hand.

use std::{
    fs, io,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use understudy::lab::Owner;

/// An authority, and a directory in which the nodes and psql, too, can read what it has signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// A client's end of a TLS connection.
pub type TlsWire<S = TcpStream> = StreamOwned<ClientConnection, S>;

/// A socket that takes one byte at a time, with a pause behind each of the first.
#[derive(Debug)]
pub struct Dripping {
    socket: TcpStream,
    pauses: u32,
}

// === impl Authority ===

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        let number = getrandom::u32().unwrap();
        let name = format!("authority {number} of the tests");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a file there, as a text.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Writes `NAME.crt` and `NAME.key` for a server with these names and addresses.
    pub fn server(&self, name: &str, hosts: &[&str]) {
        let mut params = params(hosts, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        self.write(name, &params.signed_by(&key, &self.issuer).unwrap().pem(), &key);
    }

    /// Writes `NAME.crt` and `NAME.key` for a client with this common name.
    pub fn client(&self, name: &str, common_name: &str) {
        let mut params = params(&[], common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        self.write(name, &params.signed_by(&key, &self.issuer).unwrap().pem(), &key);
    }

    /// Writes `NAME.crt` and `NAME.key` as `openssl req -x509` makes them: its own authority.
    pub fn self_signed(&self, name: &str, hosts: &[&str]) {
        let mut params = params(hosts, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        self.write(name, &params.self_signed(&key).unwrap().pem(), &key);
    }

    /// The settings that make a node speak TLS with this certificate.
    pub fn node_settings(&self, name: &str) -> Vec<(String, String)> {
        [
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", self.file(&format!("{name}.crt"))),
            ("ssl_key_file", self.file(&format!("{name}.key"))),
            ("ssl_ca_file", self.file("ca.crt")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) {
        fs::write(self.dir().join(format!("{name}.crt")), certificate).unwrap();
        private(&self.dir().join(format!("{name}.key")), &key.serialize_pem());
    }
}

/// Does the handshake as a client that believes `ca_file` alone.
///
/// # Errors
/// As the handshake ends.
pub fn tls_over(socket: TcpStream, ca_file: &str, alpn: &[&str]) -> io::Result<TlsWire> {
    handshake(socket, ca_file, alpn)
}

/// The same, its bytes arriving one by one.
pub fn slowly(socket: TcpStream, ca_file: &str, alpn: &[&str]) -> TlsWire<Dripping> {
    handshake(Dripping { socket, pauses: 400 }, ca_file, alpn).unwrap()
}

fn handshake<S: Read + Write>(socket: S, ca_file: &str, alpn: &[&str]) -> io::Result<TlsWire<S>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        if stream.conn.complete_io(&mut stream.sock)? == (0, 0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(stream)
}

/// A socket that nothing has been said on.
pub fn socket(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

/// All that comes until the peer closes.
pub fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return all,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
        }
    }
}

/// One whole message: its tag and its body.
pub fn message(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head[0], body)
}

/// Sends everything at once.
pub fn say(stream: &mut impl Write, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    stream.flush().unwrap();
}

// === impl Dripping ===

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Dripping {
    #[allow(clippy::disallowed_methods, reason = "a slow client is one that sleeps")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pauses > 0 {
            self.pauses -= 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.socket.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

// === helpers ===

fn params(hosts: &[&str], common_name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// A file that its owner alone may read; the owner is whom the nodes run as, and root reads it anyway.
fn private(path: &PathBuf, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    if Owner::detect().unwrap().steps_down() {
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}
