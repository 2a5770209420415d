//! `[client_tls]` and `[server_tls]`: from what was written to what is meant.

use std::path::PathBuf;

use crate::conf::{
    certificates::{self, Flaw},
    convert::Reader,
    kinds::FilePath,
    raw,
    settings::{ClientTls, ClientTlsMode, KeyPair, ServerTls, TlsMode},
    written::Kind,
};

pub(super) fn client_tls(
    reader: &mut Reader<'_>,
    raw: raw::Tls<ClientTlsMode>,
) -> Option<ClientTls> {
    let (mode, files) = parts(reader, "client_tls", raw);
    let (mode, files) = (mode?, files?);
    let wants = files.wants(
        mode != ClientTlsMode::Disable,
        matches!(mode, ClientTlsMode::VerifyCa | ClientTlsMode::VerifyFull),
    );
    if !agreed(reader, "client_tls", mode != ClientTlsMode::Disable, &wants) {
        return None;
    }
    let section = ClientTls { mode, identity: files.identity(), ca_file: files.ca };
    usable(reader, certificates::for_clients(&section).map(drop)).then_some(section)
}

pub(super) fn server_tls(reader: &mut Reader<'_>, raw: raw::Tls<TlsMode>) -> Option<ServerTls> {
    let (mode, files) = parts(reader, "server_tls", raw);
    let (mode, files) = (mode?, files?);
    let wants = files.wants(false, matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyFull));
    if !agreed(reader, "server_tls", mode != TlsMode::Disable, &wants) {
        return None;
    }
    let section = ServerTls { mode, identity: files.identity(), ca_file: files.ca };
    usable(reader, certificates::for_nodes(&section).map(drop)).then_some(section)
}

/// What is allowed, and probably not meant.
pub(super) fn doubts(section: &ServerTls) -> Option<String> {
    (section.mode == TlsMode::Prefer && section.ca_file.is_some()).then(|| {
        "server_tls.ca_file is not looked at while server_tls.sslmode is \"prefer\": no node has to \
         prove who it is"
            .to_owned()
    })
}

/// The files a section names.
struct Files {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

/// Keys a section lacks, and what to write.
type Wants = Vec<(&'static str, &'static str)>;

// === impl Files ===

impl Files {
    /// Which keys have to be there and are not.
    fn wants(&self, identity: bool, authorities: bool) -> Wants {
        let mut wants = Vec::new();
        if self.cert.is_none() && (identity || self.key.is_some()) {
            wants.push((
                "cert_file",
                "name the certificate's file, in PEM: \"/etc/understudy/server.crt\"",
            ));
        }
        if self.key.is_none() && (identity || self.cert.is_some()) {
            wants.push((
                "key_file",
                "name the file of the certificate's key, in PEM: \"/etc/understudy/server.key\"",
            ));
        }
        if self.ca.is_none() && authorities {
            wants.push(("ca_file", "name the file of the authorities' certificates, in PEM: \"/etc/understudy/ca.crt\""));
        }
        wants
    }

    fn identity(&self) -> Option<KeyPair> {
        let (cert_file, key_file) = (self.cert.clone()?, self.key.clone()?);
        Some(KeyPair { cert_file, key_file })
    }
}

// === helpers ===

fn parts<M: Kind>(
    reader: &mut Reader<'_>,
    section: &str,
    raw: raw::Tls<M>,
) -> (Option<M>, Option<Files>) {
    let mode = reader.take(&format!("{section}.sslmode"), raw.sslmode);
    let mut file =
        |key, given| reader.take(&format!("{section}.{key}"), given).map(|FilePath(path)| path);
    let cert = file("cert_file", raw.cert_file);
    let key = file("key_file", raw.key_file);
    let ca = file("ca_file", raw.ca_file);
    let files = match (cert, key, ca) {
        (Some(cert), Some(key), Some(ca)) => Some(Files { cert, key, ca }),
        _ => None,
    };
    (mode, files)
}

/// Notes what is missing, where the section is in use at all.
fn agreed(reader: &mut Reader<'_>, section: &str, is_on: bool, wants: &Wants) -> bool {
    if !is_on {
        return true;
    }
    for (key, remedy) in wants {
        reader.refuse(&format!("{section}.{key}"), "is missing", *remedy);
    }
    wants.is_empty()
}

fn usable(reader: &mut Reader<'_>, read: Result<(), Vec<Flaw>>) -> bool {
    let flaws = read.err().unwrap_or_default();
    for flaw in &flaws {
        reader.refuse(&flaw.key, flaw.problem.clone(), flaw.remedy);
    }
    flaws.is_empty()
}
