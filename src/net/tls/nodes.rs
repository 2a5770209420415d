//! TLS with nodes: we are the client.
//!
//! What a node says before the handshake is done, an attacker may have said. So of its answer to the
//! request no more than one letter is believed, and no other byte is looked at, let alone passed on.

use std::{io, net::IpAddr, sync::Arc};

use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, sign::SingleCertAndKey};
use tokio::io::AsyncWriteExt;
use tokio_rustls::{TlsConnector, TlsStream};

use super::{PROTOCOL, Tls, certificate, provider, secure::Secure, trust::Trust};
use crate::{
    conf::{
        certificates::{self, Flaw, Material},
        settings::{Node, ServerTls, TlsMode},
    },
    net::{self, Stream},
    protocol::write,
};

/// Asks nodes for TLS, and judges their certificates.
#[derive(Debug)]
pub struct NodeSide {
    connector: Arc<ClientConfig>,
    mode: TlsMode,
    /// Whether certificates are judged at all.
    verifies: bool,
}

/// Why there is no connection to a node, or none with TLS. Nothing of it is a text of the node's: before
/// TLS it could be anybody's (CVE-2024-10977).
#[derive(Debug, thiserror::Error)]
pub enum NodeTlsError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The node said no.
    #[error("it does not speak TLS, and server_tls.sslmode demands it")]
    Declined,
    /// An `ErrorResponse` instead of a letter.
    #[error("it answered the request for TLS with an error, which anybody could have sent")]
    ErrorBeforeTls,
    /// Another byte instead of a letter.
    #[error("it answered the request for TLS with byte {0}, which is no answer")]
    NoAnswer(u8),
    /// More than a letter.
    #[error(
        "it sent bytes in clear behind its answer to the request for TLS: somebody may be meddling"
    )]
    ClearBytes,
    /// The configured host cannot be the name in a certificate.
    #[error(
        "\"{0}\" cannot be the name in a certificate, as server_tls.sslmode \"verify-full\" demands"
    )]
    NoName(String),
    /// The handshake failed: rustls says why.
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// Enough to see that a node said more than one letter.
const ANSWER: usize = 16;

// === impl NodeSide ===

impl NodeSide {
    /// Reads the files of the section; nothing where TLS is off.
    pub(super) fn load(section: &ServerTls) -> Result<Option<Self>, Vec<Flaw>> {
        if section.mode == TlsMode::Disable {
            return Ok(None);
        }
        let Material { identity, authorities } = certificates::for_nodes(section)?;
        let provider = provider();
        // libpq's rule: "require" with authorities is "verify-ca".
        let authorities = authorities.filter(|_| section.mode != TlsMode::Prefer);
        let verifies = authorities.is_some();
        let trust = Trust {
            authorities,
            names_host: section.mode == TlsMode::VerifyFull,
            algorithms: provider.signature_verification_algorithms,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust));
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Some(Self { connector: Arc::new(config), mode: section.mode, verifies }))
    }

    /// Asks for TLS. True: the node will do the handshake now.
    async fn ask(&self, stream: &mut Stream) -> Result<bool, NodeTlsError> {
        let mut request = Vec::with_capacity(8);
        write::ssl_request(&mut request);
        stream.write_all(&request).await?;
        let mut answer = [0; ANSWER];
        let count = std::future::poll_fn(|cx| stream.poll_read_into(cx, &mut answer)).await?;
        match (answer[0], count) {
            (_, 0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            (b'E', _) => Err(NodeTlsError::ErrorBeforeTls),
            (b'S', 1) => Ok(true),
            (b'N', 1) => Ok(false),
            (b'S' | b'N', _) => Err(NodeTlsError::ClearBytes),
            (byte, _) => Err(NodeTlsError::NoAnswer(byte)),
        }
    }

    async fn handshake(&self, stream: Stream, node: &Node) -> Result<Stream, NodeTlsError> {
        let name = match ServerName::try_from(node.host.clone()) {
            Ok(name) => name,
            Err(_) if self.mode == TlsMode::VerifyFull => {
                return Err(NodeTlsError::NoName(node.host.clone()));
            }
            // Nobody looks at it, and an address is not sent to the node either.
            Err(_) => ServerName::from(IpAddr::from([0, 0, 0, 0])),
        };
        let stream = TlsConnector::from(Arc::clone(&self.connector))
            .connect(name, stream)
            .await
            .map_err(NodeTlsError::of_handshake)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let end_point = shown.and_then(|shown| certificate::server_end_point(shown));
        let name =
            shown.filter(|_| self.verifies).and_then(|shown| certificate::common_name(shown));
        let stream = TlsStream::Client(stream);
        Ok(Secure::new(stream, end_point.map(Arc::from), name, self.verifies).into())
    }
}

// === impl Tls ===

impl Tls {
    /// Connects to a node, with TLS as `[server_tls]` says. The caller sets the time limit.
    ///
    /// # Errors
    /// See [`NodeTlsError`].
    pub async fn connect(&self, node: &Node) -> Result<Stream, NodeTlsError> {
        let stream = net::connect(node).await?;
        self.secure(stream, node).await
    }

    /// Puts TLS on a new connection to a node, as `[server_tls]` says; a unix socket has none.
    ///
    /// # Errors
    /// See [`NodeTlsError`].
    pub async fn secure(&self, mut stream: Stream, node: &Node) -> Result<Stream, NodeTlsError> {
        let Some(side) = self.nodes().filter(|_| stream.is_tcp()) else { return Ok(stream) };
        match (side.ask(&mut stream).await?, side.mode) {
            (true, TlsMode::Prefer) => match side.handshake(stream, node).await {
                // As libpq does: where TLS does not come about, do without.
                Err(_) => Ok(net::connect(node).await?),
                secured => secured,
            },
            (true, _) => side.handshake(stream, node).await,
            (false, TlsMode::Prefer) => Ok(stream),
            (false, _) => Err(NodeTlsError::Declined),
        }
    }
}

// === impl NodeTlsError ===

impl NodeTlsError {
    /// What rustls objects to, told apart from a connection that was lost meanwhile: that is no reason
    /// to distrust the node.
    fn of_handshake(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Handshake(error),
            _ => Self::Io(error),
        }
    }
}

impl From<NodeTlsError> for io::Error {
    fn from(error: NodeTlsError) -> Self {
        match error {
            NodeTlsError::Io(error) => error,
            other => Self::other(other),
        }
    }
}
