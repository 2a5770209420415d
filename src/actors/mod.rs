//! The actors: who starts whom, who restarts whom, who tells whom. The only folder that knows actix.
//!
//! ```text
//! control thread
//! Root
//!  ├─ Coordinator          permanent     reads the topology out of what the nodes say
//!  │    └─ HealthChecker   permanent     one per node, its own timer and connection
//!  ├─ CertificateKeeper    permanent     reads certificate files again on SIGHUP
//!  ├─ ClientListener       permanent     accepts, hands sockets to the least loaded worker
//!  └─ Worker x cores       permanent     each on its own arbiter: sessions, pools, topology
//!       └─ Session         temporary     one per client, owns the future that relays its bytes
//! ```
//!
//! Messages are imperative downwards and facts upwards; nobody asks another and waits. No byte of a
//! client ever travels in a message.

pub mod certificates;
pub mod coordinator;
pub mod health;
pub mod listener;
pub mod message;
pub mod oversee;
pub mod root;
pub mod session;
pub mod worker;
