//! Certificates, keys and authorities: reads the files that `[client_tls]` and `[server_tls]` name, and
//! says what is wrong with them.
//!
//! `understudy check`, the start and every reload read by these functions, so they agree about what is
//! good. What is done with a certificate is not known here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::conf::settings::{ClientTls, ClientTlsMode, KeyPair, ServerTls, TlsMode};

/// What one section's files hold.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// Our certificate, with what leads to its authority, and its key.
    pub identity: Option<Arc<CertifiedKey>>,
    /// Who may have signed the peer's certificate.
    pub authorities: Option<Arc<Authorities>>,
}

/// Whom we believe.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// By name and key, for verifying chains.
    pub store: Arc<RootCertStore>,
    /// The certificates as they are in the file.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {remedy}")]
pub struct Flaw {
    /// The key that names it: `client_tls.cert_file`.
    pub key: String,
    /// What is wrong. Nothing of the file is shown.
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// What towards clients is needed; nothing where TLS is off.
///
/// # Errors
/// Every file that will not do.
pub fn for_clients(section: &ClientTls) -> Result<Material, Vec<Flaw>> {
    if section.mode == ClientTlsMode::Disable {
        return Ok(Material::default());
    }
    read("client_tls", section.identity.as_ref(), section.ca_file.as_ref())
}

/// What towards nodes is needed; nothing where TLS is off.
///
/// # Errors
/// Every file that will not do.
pub fn for_nodes(section: &ServerTls) -> Result<Material, Vec<Flaw>> {
    if section.mode == TlsMode::Disable {
        return Ok(Material::default());
    }
    read("server_tls", section.identity.as_ref(), section.ca_file.as_ref())
}

// === helpers ===

fn read(
    section: &str,
    identity: Option<&KeyPair>,
    ca_file: Option<&PathBuf>,
) -> Result<Material, Vec<Flaw>> {
    let mut flaws = Vec::new();
    let mut note = |flaw: Flaw| {
        flaws.push(Flaw { key: format!("{section}.{}", flaw.key), ..flaw });
    };
    let identity = identity
        .and_then(|pair| pair_of(pair).map_err(|found| found.into_iter().for_each(&mut note)).ok());
    let authorities = ca_file.and_then(|path| authorities(path).map_err(&mut note).ok());
    if flaws.is_empty() { Ok(Material { identity, authorities }) } else { Err(flaws) }
}

fn pair_of(pair: &KeyPair) -> Result<Arc<CertifiedKey>, Vec<Flaw>> {
    let chain = chain(&pair.cert_file, "cert_file");
    let key = private_key(&pair.key_file);
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let shown = |path: &Path| absolute(path).display().to_string();
    let provider = ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(|error| {
        vec![match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Flaw::new(
                "key_file",
                format!(
                    "the key in {} does not belong to the first certificate in {}",
                    shown(&pair.key_file),
                    shown(&pair.cert_file)
                ),
                "name the key the certificate was made for; in a chain our own certificate comes first",
            ),
            rustls::Error::InvalidCertificate(_) => Flaw::new(
                "cert_file",
                format!("the first certificate in {} cannot be used", shown(&pair.cert_file)),
                "it must be an X.509 certificate of version 3",
            ),
            _ => Flaw::new(
                "key_file",
                format!("the key in {} cannot be used", shown(&pair.key_file)),
                "RSA keys from 2048 bits, ECDSA keys (P-256, P-384) and Ed25519 keys can",
            ),
        }]
    })
}

fn chain(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let text = text_of(path, key)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => {
            let problem = format!("there is no certificate in {}", absolute(path).display());
            Err(Flaw::new(key, problem, CERTIFICATE))
        }
        Err(_) => {
            let problem = format!("{} is not PEM", absolute(path).display());
            Err(Flaw::new(key, problem, CERTIFICATE))
        }
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Flaw> {
    let text = text_of(path, "key_file")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let shown = absolute(path);
        let problem = match error {
            pem::Error::NoItemsFound => format!("there is no key in {}", shown.display()),
            _ => format!("{} is not PEM", shown.display()),
        };
        Flaw::new("key_file", problem, KEY)
    })
}

fn authorities(path: &Path) -> Result<Arc<Authorities>, Flaw> {
    let certificates = chain(path, "ca_file")?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|_| {
            let problem = format!("a certificate in {} cannot be used", absolute(path).display());
            Flaw::new("ca_file", problem, "they must be X.509 certificates of version 3")
        })?;
    }
    Ok(Arc::new(Authorities { store: Arc::new(store), certificates }))
}

fn text_of(path: &Path, key: &str) -> Result<Zeroizing<Vec<u8>>, Flaw> {
    let is_file = fs::metadata(path).map(|about| about.is_file());
    match is_file.and_then(|is_file| if is_file { fs::read(path).map(Some) } else { Ok(None) }) {
        Ok(Some(text)) => Ok(Zeroizing::new(text)),
        Ok(None) => {
            let problem = format!("{} is not a file", absolute(path).display());
            Err(Flaw::new(key, problem, READABLE))
        }
        Err(error) => Err(Flaw::unreadable(key, path, &error)),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

// === impl Flaw ===

impl Flaw {
    fn new(key: &str, problem: String, remedy: &'static str) -> Self {
        Self { key: key.to_owned(), problem, remedy }
    }

    fn unreadable(key: &str, path: &Path, error: &io::Error) -> Self {
        let problem = format!("{} cannot be read: {error}", absolute(path).display());
        Self::new(key, problem, READABLE)
    }
}

// === constants ===

const READABLE: &str = "create it, or make it readable for the user understudy runs as";
const CERTIFICATE: &str = "it must hold \"-----BEGIN CERTIFICATE-----\" and so on";
const KEY: &str = "it must hold \"-----BEGIN PRIVATE KEY-----\" and so on; a key with a passphrase cannot be used";
