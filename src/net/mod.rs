//! Sockets: one stream type for both legs, TLS, listeners, and the way to a node.

pub mod connect;
pub mod inbox;
pub mod listen;
pub mod stream;
pub mod tcp;
pub mod tls;

pub use connect::connect;
pub use inbox::Inbox;
pub use stream::Stream;
pub use tls::Tls;
