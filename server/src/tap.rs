//! For tests alone (feature `tap`): what a server hears and says inside TLS.
//!
//! That neither plaintext nor keys pass here can be shown only by somebody who listens inside TLS, and nobody else can: clients pin
//! the vault key and bind sessions to their connection, so no relay survives. A server that is built without the feature has
//! no such place.

use std::net::SocketAddr;

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    In,
    /// From the server.
    Out,
}

/// Somebody who listens.
pub trait Tap: Send + Sync {
    /// The next bytes of one direction of the connection from this address.
    fn heard(&self, connection: SocketAddr, direction: Direction, bytes: &[u8]);
}
