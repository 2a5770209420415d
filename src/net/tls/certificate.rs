//! What is read out of a certificate: what channel binding binds to, and whom it names.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::{
    asn1_rs::Oid,
    certificate::X509Certificate,
    oid_registry::{
        OID_HASH_SHA1, OID_MD5_WITH_RSA, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384,
        OID_NIST_HASH_SHA512, OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA,
        OID_PKCS1_SHA224WITHRSA, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA, OID_SHA1_WITH_RSA, OID_SIG_ECDSA_WITH_SHA224,
        OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
    },
    prelude::FromDer,
    signature_algorithm::SignatureAlgorithm,
};

/// `tls-server-end-point` (RFC 5929 section 4.1): the hash of a server's certificate, by the hash
/// function of its signature, and by SHA-256 where that is MD5 or SHA-1. None where the signature has
/// no hash function of its own (Ed25519): such a certificate cannot be bound to, in libpq neither.
#[must_use]
pub fn server_end_point(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let algorithm = &certificate.signature_algorithm;
    let oid = &algorithm.algorithm;
    if *oid == OID_PKCS1_RSASSAPSS {
        let SignatureAlgorithm::RSASSA_PSS(parameters) = algorithm.try_into().ok()? else {
            return None;
        };
        return hash_by(parameters.hash_algorithm_oid(), &HASHES, der);
    }
    hash_by(oid, &SIGNATURES, der)
}

/// The common name of a certificate's subject, the first where there are several, as PostgreSQL takes
/// it. None where there is none, or where it has a NUL in it, by which names have been faked.
#[must_use]
pub fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty() && !name.contains('\0')).then(|| name.to_owned())
}

/// Whether a certificate is valid at a time, in seconds since 1970.
#[must_use]
pub fn is_valid_at(der: &[u8], seconds: u64) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let Ok(seconds) = i64::try_from(seconds) else { return false };
    let validity = certificate.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds)
}

// === helpers ===

type Hash = fn(&[u8]) -> Vec<u8>;

fn hash_by(oid: &Oid<'_>, table: &[(Oid<'static>, Hash)], der: &[u8]) -> Option<Vec<u8>> {
    table.iter().find(|(known, _)| known == oid).map(|(_, hash)| hash(der))
}

fn hash<D: Digest>(der: &[u8]) -> Vec<u8> {
    D::digest(der).to_vec()
}

// === constants ===

/// Signature algorithms and the hash to use with each.
const SIGNATURES: [(Oid<'static>, Hash); 12] = [
    (OID_PKCS1_SHA256WITHRSA, hash::<Sha256>),
    (OID_PKCS1_SHA384WITHRSA, hash::<Sha384>),
    (OID_PKCS1_SHA512WITHRSA, hash::<Sha512>),
    (OID_PKCS1_SHA224WITHRSA, hash::<Sha224>),
    (OID_SIG_ECDSA_WITH_SHA256, hash::<Sha256>),
    (OID_SIG_ECDSA_WITH_SHA384, hash::<Sha384>),
    (OID_SIG_ECDSA_WITH_SHA512, hash::<Sha512>),
    (OID_SIG_ECDSA_WITH_SHA224, hash::<Sha224>),
    (OID_PKCS1_SHA1WITHRSA, hash::<Sha256>),
    (OID_SHA1_WITH_RSA, hash::<Sha256>),
    (OID_PKCS1_MD5WITHRSAENC, hash::<Sha256>),
    (OID_MD5_WITH_RSA, hash::<Sha256>),
];

/// Hash functions that RSASSA-PSS names, and the hash to use with each.
const HASHES: [(Oid<'static>, Hash); 4] = [
    (OID_NIST_HASH_SHA256, hash::<Sha256>),
    (OID_NIST_HASH_SHA384, hash::<Sha384>),
    (OID_NIST_HASH_SHA512, hash::<Sha512>),
    (OID_HASH_SHA1, hash::<Sha256>),
];
