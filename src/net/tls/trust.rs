//! Whose certificates we believe, as libpq's `sslmode` grades it. `verify-full` and below differ from
//! rustls's own verifier in what they leave out, and in one thing more: a certificate that stands in
//! the file of authorities itself is believed, even if it says that it is an authority. That is what
//! `openssl req -x509` makes, PostgreSQL's manual recommends, and libpq takes.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::certificate;
use crate::conf::certificates::Authorities;

/// What a node's certificate has to be.
#[derive(Debug)]
pub(super) struct Trust {
    /// Who must have signed it; anybody where there are none.
    pub(super) authorities: Option<Arc<Authorities>>,
    /// Whether it must name the host.
    pub(super) names_host: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

// === impl Trust ===

impl Trust {
    fn verify_origin(
        &self,
        authorities: &Authorities,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let is_listed = authorities.certificates.iter().any(|listed| listed == shown);
        if is_listed && certificate::is_valid_at(shown, now.as_secs()) {
            return Ok(());
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(shown)?,
            &authorities.store,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            self.verify_origin(authorities, shown, intermediates, now)?;
        }
        if self.names_host {
            verify_server_name(&ParsedCertificate::try_from(shown)?, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
