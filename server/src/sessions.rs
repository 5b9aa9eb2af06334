//! The sessions of a connection: who opened which, for which tenant.
//!
//! A session lives on its connection only. Its secret is the key holder's; here is what calls are checked against.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::SessionId;
use strongroom_core::session::{Claims, SignedOpening};

use crate::tenants::Tenant;

/// The most sessions of one connection: one a tenant is usual.
pub const MAX_SESSIONS: usize = 64;

/// An open session.
pub struct Session {
    /// SHA-256 of its opening.
    pub id: SessionId,
    /// The tenant whose ledger its calls are recorded in.
    pub tenant: Arc<Tenant>,
    /// The key that opened it: the connection's.
    pub key: Fingerprint,
    /// The opening with its signature.
    pub opening: SignedOpening,
    /// What the caller says about itself.
    pub claims: Claims,
    /// Set once its `session.open` entry is durable.
    pub recorded: AtomicBool,
}

/// The sessions of one connection.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<SessionId, Arc<Session>>>);

impl Sessions {
    /// Keeps a session; `false` if the connection has [`MAX_SESSIONS`] already.
    pub fn insert(&self, session: Arc<Session>) -> bool {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = sessions.len() < MAX_SESSIONS;
        if room {
            sessions.insert(session.id, session);
        }
        room
    }

    /// The session of this id on this connection.
    pub fn find(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Ends all sessions; their ids, for the key holder to forget.
    pub fn end(&self) -> Vec<SessionId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(id, _)| id).collect()
    }

    /// The ids of all sessions, for the key holder to forget when the connection ends.
    pub fn ids(&self) -> Vec<SessionId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}
