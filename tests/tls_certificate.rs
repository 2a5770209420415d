//! What is read out of certificates, held against what OpenSSL reads there.
//!
//! The files in `data/certificates` were made by `openssl req -x509`; the expected hashes are what
//! `openssl x509 -fingerprint` prints for them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use understudy::net::tls::certificate::{common_name, is_valid_at, server_end_point};

/// File, and the hash of RFC 5929: by the signature's own function, but SHA-256 for SHA-1.
const HASHES: [(&str, &str); 6] = [
    ("rsa_sha256", "b353cc510ad86fb95e621c69d67be16e630e2e9e12fa8370a74f891cca75f567"),
    ("rsa_sha1", "0642835b7b685254e9e3c3b30923e8a65079ac838c7f05ee899e749726b344ae"),
    (
        "rsa_sha512",
        "96ff8eb11980f15b24418a3cff5145b6a6670e9723ddbf56e77d58c20eef7b2614f4cfac7bfec0150a94e8b9be9c2581d360f6454925b5c13e0f0626abe5f70e",
    ),
    (
        "rsa_pss_sha384",
        "15b48f6b40ed0d556fa37d010c87722355fbb47c2d5d85a0bfed236c475c85ce579dbf64e9be2c5c1a272f6035b949bd",
    ),
    ("ecdsa_sha256", "51bb0ed4a6c7fbc9c046c775e12b2a045aeff607adad11a1f4fba8a7a6de79c0"),
    (
        "ecdsa_sha384",
        "7498f63a000075499d2f1d2c58bc11e9696be36496c1816fe0d872be2b7c1bbfa200654efbfbde57fcc14727afc4562a",
    ),
];

fn certificate(name: &str) -> CertificateDer<'static> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
    CertificateDer::from_pem_file(data.join(format!("{name}.crt"))).unwrap()
}

fn named(names: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in names {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

#[test]
fn channel_binding_hashes_as_the_signature_does() {
    for (name, expected) in HASHES {
        let hash = server_end_point(&certificate(name)).unwrap();
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, expected, "{name}");
    }
    assert_eq!(
        server_end_point(&certificate("ed25519")),
        None,
        "it has no hash function of its own"
    );
}

#[test]
fn the_common_name_is_the_whole_of_it() {
    assert_eq!(common_name(&certificate("rsa_sha256")).as_deref(), Some("rsa_sha256"));
    assert_eq!(common_name(&named(&["Jo Ünderstudy"])).as_deref(), Some("Jo Ünderstudy"));
    assert_eq!(common_name(&named(&["admin\0.example.com"])), None);
    assert_eq!(common_name(&named(&[""])), None);
    assert_eq!(common_name(&named(&[])), None);
}

#[test]
fn a_certificate_is_valid_from_one_moment_to_another() {
    let certificate = certificate("ecdsa_sha256");
    assert!(!is_valid_at(&certificate, 0));
    assert!(is_valid_at(&certificate, 2_000_000_000));
    assert!(!is_valid_at(&certificate, 9_000_000_000));
}

#[test]
fn garbage_is_no_certificate() {
    let whole = certificate("rsa_pss_sha384");
    for end in 0..whole.len() {
        let cut = &whole[..end];
        assert_eq!((server_end_point(cut), common_name(cut)), (None, None));
        assert!(!is_valid_at(cut, 2_000_000_000));
    }
    for at in 0..whole.len() {
        let mut bent = whole.to_vec();
        bent[at] ^= 0x55;
        // Whatever comes out, nothing breaks.
        let _ = (server_end_point(&bent), common_name(&bent), is_valid_at(&bent, 2_000_000_000));
    }
}
