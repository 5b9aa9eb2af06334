//! The vault's steps: what each request needs before it is decided, and what follows once it is recorded.
//!
//! | way | steps |
//! | --- | --- |
//! | put | [`put::begin`] → [`put::receive`] → [`put::publish`] |
//! | get | [`get::stream`] → per step [`release::release`] → digests and data |
//! | orders | [`authority::order`] |

pub(crate) mod accept;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod blocks;
pub(crate) mod delete;
pub(crate) mod escrow;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod listing;
pub(crate) mod log_keys;
pub(crate) mod log_rotation;
pub(crate) mod lookups;
pub(crate) mod own;
pub(crate) mod plan;
pub(crate) mod put;
pub(crate) mod put_batch;
pub(crate) mod release;
pub(crate) mod retention;
pub(crate) mod rewrap;
pub(crate) mod root;
pub(crate) mod schedule;
pub(crate) mod session;
pub(crate) mod shred;
pub(crate) mod standing;

use std::collections::BTreeSet;
use std::sync::Arc;

use strongroom_core::ed25519::SigningKey;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{NodeId, VaultId};

use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::config::Limits;
use crate::keys::KeyHolder;
use crate::keys::recipients::Recipients;
use crate::keys::root::RootKey;
use crate::recorder::Recorder;
use crate::tenants::Tenants;

/// All rooms of one node.
pub(crate) struct Vault {
    pub(crate) id: VaultId,
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) operators: BTreeSet<Fingerprint>,
    pub(crate) limits: Limits,
    pub(crate) catalog: Catalog,
    pub(crate) lookups: lookups::Lookups,
    pub(crate) recorder: Recorder,
    pub(crate) rewraps: rewrap::Rewraps,
    pub(crate) shreds: shred::Shreds,
    pub(crate) escrows: escrow::Escrows,
    pub(crate) recipients: Recipients,
    pub(crate) tenants: Tenants,
    pub(crate) blobs: Blobs,
    pub(crate) keys: Arc<dyn KeyHolder>,
    pub(crate) root: Arc<dyn RootKey>,
    pub(crate) rotations: root::Rotations,
    pub(crate) vault_key: SigningKey,
}

impl Vault {
    pub(crate) fn is_operator(&self, key: &Fingerprint) -> bool {
        self.operators.contains(key)
    }
}
