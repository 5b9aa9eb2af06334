//! What the vault asks the recorder to decide and record, and what it gets back: `Attempt → Recorded`.
//!
//! An attempt carries facts that its step has established (a signature that holds, a row whose MAC fits, a durable blob) and
//! leaves open only what must be decided under the lock that assigns the entry's index.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use strongroom_core::call::{Condition, SignedCall, Work};
use strongroom_core::grant::{Action, Place, Refusal};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{
    CallDigest, DatasetId, Digest, Generation, GrantId, Index, Millis, OrderId, PutId, RequestId, SegmentRange,
};
use strongroom_core::keys::wrap::Wrapped;
use strongroom_core::ledger::Seen;
use strongroom_core::ledger::log_keys::LogKeyChange;
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::order::VerifiedOrder;
use strongroom_core::sealed::header::Header;
use tokio::time::Instant;

use crate::catalog::objects::ObjectRow;
use crate::catalog::tenants::NewTenant;
use crate::sessions::Session;

/// Who asks, as the connection proves it: the TLS key alone.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key of the TLS certificate.
    pub key: Fingerprint,
    /// Where the connection comes from.
    pub source: SocketAddr,
}

/// A call whose signature holds, on a session of its connection.
pub struct AcceptedCall {
    /// The connection's key and address.
    pub caller: Caller,
    /// The session. Its `session.open` entry goes in with its first recorded call.
    pub session: Arc<Session>,
    /// SHA-256(session id ‖ SHA-256(origin) ‖ SHA-256(request bytes)).
    pub digest: CallDigest,
    /// SHA-256 of the request's bytes: what a repeated request id must agree with.
    pub request_digest: Digest,
    /// The call and its signature.
    pub signed: SignedCall,
    /// Set once an entry holds the signed call in its private part; the call's later entries leave it out.
    pub recorded: std::sync::atomic::AtomicBool,
    /// For items that name an object id: the path where that object stands, by item, once it was looked up. What has none is
    /// not there, or not for this caller to know of.
    pub found: OnceLock<HashMap<u32, ObjectPath>>,
}

impl AcceptedCall {
    /// The request id.
    pub fn request(&self) -> RequestId {
        self.signed.call.request
    }

    /// The grant that the call names.
    pub fn grant(&self) -> Option<GrantId> {
        self.signed.call.grant
    }

    /// What a call reads, as far as it is known where that is; and whether all of it is. An object id is judged by the path of
    /// its object; one that stands for nothing is in nobody's scope, so that nobody learns which ids there are.
    pub fn read_places(&self) -> (Vec<Place<'_>>, bool) {
        let (Work::Get(items) | Work::ReleaseKeys(items)) = &self.signed.call.work else { return (Vec::new(), true) };
        let found = self.found.get();
        let mut places = Vec::with_capacity(items.len());
        for (at, item) in (0..).zip(items) {
            let path = item.path.as_ref().or_else(|| found?.get(&at));
            places.extend(path.map(|path| Place { action: Action::Read, dataset: &item.dataset, path }));
        }
        let all = places.len() == items.len();
        (places, all)
    }
}

/// What is to be decided and recorded.
pub enum Attempt {
    /// To release keys.
    Release(Release),
    /// To make sealed objects visible.
    Put(Put),
    /// To hide objects.
    Delete(Delete),
    /// To carry out an order.
    Order(Box<Order>),
    /// To rotate the tenant's key, since that is due.
    RotateDue(Box<RotateDue>),
    /// To create a tenant: entry 0 of a new ledger. The server checked that its signer is an operator.
    CreateTenant(Box<Order>, Box<NewTenant>),
    /// Refused before it came to anything: recorded if the caller is known, within the bounds for denials.
    Denied(Denied),
}

impl Attempt {
    /// The call, where there is one.
    pub fn call(&self) -> Option<&Arc<AcceptedCall>> {
        match self {
            Self::Release(release) => Some(&release.call),
            Self::Put(put) => Some(&put.call),
            Self::Delete(delete) => Some(&delete.call),
            Self::Denied(denied) => denied.call.as_ref(),
            Self::Order(_) | Self::RotateDue(_) | Self::CreateTenant(..) => None,
        }
    }
}

/// One step of a read: at most one window of each object.
pub struct Release {
    /// The call.
    pub call: Arc<AcceptedCall>,
    /// What to release. Empty only where `obstacle` stands.
    pub parts: Vec<ReleasePart>,
    /// What the objects' state says against the whole call: told only to callers in scope.
    pub obstacle: Option<Refusal>,
    /// `Head::hides` as of the moment before the parts' rows were read.
    pub hides: u64,
}

/// Some segments of one object.
#[derive(Clone)]
pub struct ReleasePart {
    /// Which item of the call.
    pub item: u32,
    /// The object; its MAC was checked.
    pub object: Arc<ObjectRow>,
    /// The segments: within one window.
    pub range: SegmentRange,
    /// Plaintext bytes of these segments.
    pub bytes: u64,
}

/// Sealed objects whose blobs are durable and whose keys are wrapped.
pub struct Put {
    /// The call.
    pub call: Arc<AcceptedCall>,
    /// The objects, in the order of the call's items.
    pub objects: Vec<NewObject>,
    /// What stands against the whole call.
    pub obstacle: Option<Refusal>,
}

/// One sealed object to make visible.
#[derive(Debug, Clone)]
pub struct NewObject {
    /// Which item of the call.
    pub item: u32,
    /// The put attempt.
    pub put: PutId,
    /// Its dataset.
    pub dataset: DatasetId,
    /// The dataset's name.
    pub dataset_name: DatasetName,
    /// Its path.
    pub path: ObjectPath,
    /// What must hold.
    pub condition: Condition,
    /// Its header.
    pub header: Header,
    /// Plaintext bytes.
    pub size: u64,
    /// The content root.
    pub content_root: Digest,
    /// The version of the tenant key that wraps its root.
    pub key_version: u32,
    /// The wrapped root of its key tree.
    pub wrapped: Wrapped,
    /// The blob's name, and where in it the object begins.
    pub blob: String,
    /// Where in the blob the object begins, in bytes.
    pub offset: u64,
}

/// Objects to hide.
pub struct Delete {
    /// The call; its items are what to hide.
    pub call: Arc<AcceptedCall>,
    /// What stands against the whole call.
    pub obstacle: Option<Refusal>,
}

/// An order whose signatures hold.
pub struct Order {
    /// The connection it came on.
    pub caller: Caller,
    /// The order.
    pub verified: VerifiedOrder,
    /// For an order to rotate the tenant's key: the new version, wrapped by the root key.
    pub new_key: Option<Vec<u8>>,
    /// For an order to rotate the key that signs checkpoints: the new one.
    pub new_log_key: Option<NewLogKey>,
    /// What the server has to say of it, in words, kept beside it.
    pub detail: Option<String>,
}

/// A key that is to sign checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogKey {
    /// In which one's place it comes.
    pub change: LogKeyChange,
    /// The key, wrapped by the root key.
    pub wrapped: Vec<u8>,
}

impl Order {
    /// An order that comes with no key, and with nothing to say of it.
    pub fn new(caller: Caller, verified: VerifiedOrder) -> Self {
        Self { caller, verified, new_key: None, new_log_key: None, detail: None }
    }
}

/// A rotation that is due by an order of an admin.
pub struct RotateDue {
    /// The order.
    pub order: OrderId,
    /// The version to be.
    pub version: u32,
    /// The new version, wrapped by the root key.
    pub new_key: Vec<u8>,
}

/// A refusal to record.
pub struct Denied {
    /// Who was refused.
    pub caller: Caller,
    /// The call, where there is one.
    pub call: Option<Arc<AcceptedCall>>,
    /// Why.
    pub refusal: Refusal,
}

/// Proof that what was asked stands in the ledger, durably. Only the commit builds one.
pub struct Recorded {
    index: Index,
    time: Millis,
    since: Instant,
    seen: Seen,
    what: What,
}

/// What was recorded.
pub enum What {
    /// Keys may be released: these parts and no others, to this call.
    Release {
        /// The call.
        call: Arc<AcceptedCall>,
        /// The parts.
        parts: Vec<ReleasePart>,
        /// Whether it was a repeat, and not charged.
        repeat: bool,
    },
    /// What became of each object of a put, in order.
    Put(Vec<PutOutcome>),
    /// What became of each item of a delete, in order.
    Delete(Vec<Result<Hidden, Refusal>>),
    /// The order was accepted.
    Order(OrderId),
}

/// What became of one object of a put.
pub type PutOutcome = Result<Visible, Refusal>;

/// An object that is visible: now, or since the same put was committed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visible {
    /// Its generation.
    pub generation: Generation,
    /// Its put entry.
    pub index: Index,
    /// Its ordinal there.
    pub ordinal: u32,
}

/// An object that was hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden {
    /// The generation that was visible.
    pub generation: Generation,
    /// The entry that hid it.
    pub index: Index,
}

impl Recorded {
    /// Made by the commit alone, once it is durable.
    pub(super) fn new(index: Index, time: Millis, since: Instant, seen: Seen, what: What) -> Self {
        Self { index, time, since, seen, what }
    }

    /// The entry. For a put of many objects, the first one.
    pub fn index(&self) -> Index {
        self.index
    }

    /// The entry's time.
    pub fn time(&self) -> Millis {
        self.time
    }

    /// When it was committed, by this process's count of time. Where other nodes commit too, when that was asked for: one that
    /// stood still meanwhile does not know what they took away.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What the caller is to remember of the ledger.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// What was recorded.
    pub fn what(&self) -> &What {
        &self.what
    }
}
