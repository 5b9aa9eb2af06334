//! One entry: what happened, who did it under which grants, and the hash of what is private about it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::call::SignedCall;
use crate::exact::{self, ExactError};
use crate::grant::Principal;
use crate::identity::{Fingerprint, sha256};
use crate::ids::{
    CallDigest, Digest, Generation, GrantId, IncidentId, Index, Millis, NodeId, OrderId, RequestId, SessionId, VendorId,
};
use crate::ledger::batch::MAX_ENTRY;
use crate::ledger::log_keys::LogKeyChange;
use crate::order::{Instruction, SignedOrder};
use crate::reason::Reason;
use crate::session::{Claims, SignedOpening};

/// The most objects of one put entry; a longer list is split over several entries.
pub const MAX_PUTS: usize = 512;
/// The most objects of one release or delete entry.
pub const MAX_OBJECTS: usize = 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// Entry 0: the operator's order that names the first admins.
    #[serde(rename = "tenant.created")]
    TenantCreated,
    /// One more admin.
    #[serde(rename = "admin.added")]
    AdminAdded,
    /// One admin fewer.
    #[serde(rename = "admin.removed")]
    AdminRemoved,
    /// A vendor was registered.
    #[serde(rename = "vendor.added")]
    VendorAdded,
    /// A vendor was suspended.
    #[serde(rename = "vendor.suspended")]
    VendorSuspended,
    /// A vendor was resumed.
    #[serde(rename = "vendor.resumed")]
    VendorResumed,
    /// A vendor was removed.
    #[serde(rename = "vendor.removed")]
    VendorRemoved,
    /// A vendor got one more key.
    #[serde(rename = "key.added")]
    KeyAdded,
    /// A vendor's key was revoked.
    #[serde(rename = "key.revoked")]
    KeyRevoked,
    /// A grant was issued.
    #[serde(rename = "grant.issued")]
    GrantIssued,
    /// A grant's end was moved.
    #[serde(rename = "grant.renewed")]
    GrantRenewed,
    /// The tenant's policy for grants was set.
    #[serde(rename = "policy.set")]
    PolicySet,
    /// A grant was revoked.
    #[serde(rename = "grant.revoked")]
    GrantRevoked,
    /// A dataset was made.
    #[serde(rename = "dataset.created")]
    DatasetCreated,
    /// A dataset was deleted.
    #[serde(rename = "dataset.deleted")]
    DatasetDeleted,
    /// A dataset was frozen: nobody reads or writes in it.
    #[serde(rename = "dataset.frozen")]
    DatasetFrozen,
    /// A dataset was unfrozen.
    #[serde(rename = "dataset.unfrozen")]
    DatasetUnfrozen,
    /// The tenant was frozen: nobody reads or writes anything.
    #[serde(rename = "tenant.frozen")]
    TenantFrozen,
    /// The tenant was unfrozen.
    #[serde(rename = "tenant.unfrozen")]
    TenantUnfrozen,
    /// A key was blocked on the whole server. In the operators' ledger, and noted in those of tenants that know the key.
    #[serde(rename = "key.blocked")]
    KeyBlocked,
    /// A key is no longer blocked. In the operators' ledger, and where the block was noted.
    #[serde(rename = "key.unblocked")]
    KeyUnblocked,
    /// The tenant's key has a new version.
    #[serde(rename = "key.rotated")]
    KeyRotated,
    /// A version of the tenant's key was destroyed.
    #[serde(rename = "key.destroyed")]
    KeyDestroyed,
    /// An incident about a vendor was opened.
    #[serde(rename = "incident.opened")]
    IncidentOpened,
    /// An incident was closed.
    #[serde(rename = "incident.closed")]
    IncidentClosed,
    /// The key that signs the log's checkpoints was put in the place of another.
    #[serde(rename = "log_key.rotated")]
    LogKeyRotated,
    /// The keys of objects were destroyed: of all that was put under a prefix before.
    #[serde(rename = "object.shredded")]
    ObjectShredded,
    /// The keys of all objects of a dataset were destroyed, and the dataset is no more.
    #[serde(rename = "dataset.shredded")]
    DatasetShredded,
    /// All keys of the tenant were destroyed.
    #[serde(rename = "tenant.shredded")]
    TenantShredded,
    /// How often the vault rotates the tenant's key by itself.
    #[serde(rename = "rotation.set")]
    RotationSet,
    /// The tenant's key has a new version, made by the vault since it was due: the entry names the order that says so.
    #[serde(rename = "key.rotated.due")]
    KeyRotatedDue,
    /// To whom the versions of the tenant's key are sealed.
    #[serde(rename = "escrow.set")]
    EscrowSet,
    /// A session was opened: recorded with its first call.
    #[serde(rename = "session.open")]
    SessionOpen,
    /// Sealed objects became visible.
    #[serde(rename = "object.put")]
    ObjectPut,
    /// Visible objects got new keys: each generation replaced the one before it.
    #[serde(rename = "object.rekeyed")]
    ObjectRekeyed,
    /// Objects were hidden.
    #[serde(rename = "object.deleted")]
    ObjectDeleted,
    /// Keys were released.
    #[serde(rename = "release")]
    Release,
    /// Keys were released again for a request that had them already; not charged.
    #[serde(rename = "release.repeat")]
    ReleaseRepeat,
    /// A known principal was refused.
    #[serde(rename = "denied")]
    Denied,
}

impl Event {
    /// Every event there is.
    pub const ALL: [Self; 39] = [
        Self::TenantCreated,
        Self::AdminAdded,
        Self::AdminRemoved,
        Self::VendorAdded,
        Self::VendorSuspended,
        Self::VendorResumed,
        Self::VendorRemoved,
        Self::KeyAdded,
        Self::KeyRevoked,
        Self::GrantIssued,
        Self::GrantRenewed,
        Self::PolicySet,
        Self::GrantRevoked,
        Self::DatasetCreated,
        Self::DatasetDeleted,
        Self::DatasetFrozen,
        Self::DatasetUnfrozen,
        Self::TenantFrozen,
        Self::TenantUnfrozen,
        Self::KeyBlocked,
        Self::KeyUnblocked,
        Self::KeyRotated,
        Self::KeyDestroyed,
        Self::IncidentOpened,
        Self::IncidentClosed,
        Self::LogKeyRotated,
        Self::ObjectShredded,
        Self::DatasetShredded,
        Self::TenantShredded,
        Self::RotationSet,
        Self::KeyRotatedDue,
        Self::EscrowSet,
        Self::SessionOpen,
        Self::ObjectPut,
        Self::ObjectRekeyed,
        Self::ObjectDeleted,
        Self::Release,
        Self::ReleaseRepeat,
        Self::Denied,
    ];

    /// What is recorded when an order with this instruction was carried out.
    pub fn of_instruction(instruction: &Instruction) -> Self {
        match instruction {
            Instruction::CreateTenant { .. } => Self::TenantCreated,
            Instruction::AddAdmin { .. } => Self::AdminAdded,
            Instruction::RemoveAdmin { .. } => Self::AdminRemoved,
            Instruction::AddVendor { .. } => Self::VendorAdded,
            Instruction::SuspendVendor { .. } => Self::VendorSuspended,
            Instruction::ResumeVendor { .. } => Self::VendorResumed,
            Instruction::RemoveVendor { .. } => Self::VendorRemoved,
            Instruction::AddKey { .. } => Self::KeyAdded,
            Instruction::RevokeKey { .. } => Self::KeyRevoked,
            Instruction::CreateDataset { .. } => Self::DatasetCreated,
            Instruction::DeleteDataset { .. } => Self::DatasetDeleted,
            Instruction::FreezeDataset { .. } => Self::DatasetFrozen,
            Instruction::UnfreezeDataset { .. } => Self::DatasetUnfrozen,
            Instruction::FreezeTenant { .. } => Self::TenantFrozen,
            Instruction::UnfreezeTenant { .. } => Self::TenantUnfrozen,
            Instruction::BlockKey { .. } => Self::KeyBlocked,
            Instruction::UnblockKey { .. } => Self::KeyUnblocked,
            Instruction::RotateKey { .. } => Self::KeyRotated,
            Instruction::DestroyKey { .. } => Self::KeyDestroyed,
            Instruction::OpenIncident { .. } => Self::IncidentOpened,
            Instruction::CloseIncident { .. } => Self::IncidentClosed,
            Instruction::RotateLogKey { .. } => Self::LogKeyRotated,
            Instruction::ShredObjects { .. } => Self::ObjectShredded,
            Instruction::ShredDataset { .. } => Self::DatasetShredded,
            Instruction::ShredTenant { .. } => Self::TenantShredded,
            Instruction::RotateEvery { .. } => Self::RotationSet,
            Instruction::SetEscrow { .. } => Self::EscrowSet,
            Instruction::IssueGrant(_) => Self::GrantIssued,
            Instruction::RenewGrant { .. } => Self::GrantRenewed,
            Instruction::SetPolicy(_) => Self::PolicySet,
            Instruction::RevokeGrant { .. } => Self::GrantRevoked,
        }
    }

    /// Its name, as it stands in entries and filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::TenantCreated => "tenant.created",
            Self::AdminAdded => "admin.added",
            Self::AdminRemoved => "admin.removed",
            Self::VendorAdded => "vendor.added",
            Self::VendorSuspended => "vendor.suspended",
            Self::VendorResumed => "vendor.resumed",
            Self::VendorRemoved => "vendor.removed",
            Self::KeyAdded => "key.added",
            Self::KeyRevoked => "key.revoked",
            Self::GrantIssued => "grant.issued",
            Self::GrantRenewed => "grant.renewed",
            Self::PolicySet => "policy.set",
            Self::GrantRevoked => "grant.revoked",
            Self::DatasetCreated => "dataset.created",
            Self::DatasetDeleted => "dataset.deleted",
            Self::DatasetFrozen => "dataset.frozen",
            Self::DatasetUnfrozen => "dataset.unfrozen",
            Self::TenantFrozen => "tenant.frozen",
            Self::TenantUnfrozen => "tenant.unfrozen",
            Self::KeyBlocked => "key.blocked",
            Self::KeyUnblocked => "key.unblocked",
            Self::KeyRotated => "key.rotated",
            Self::KeyDestroyed => "key.destroyed",
            Self::IncidentOpened => "incident.opened",
            Self::IncidentClosed => "incident.closed",
            Self::LogKeyRotated => "log_key.rotated",
            Self::ObjectShredded => "object.shredded",
            Self::DatasetShredded => "dataset.shredded",
            Self::TenantShredded => "tenant.shredded",
            Self::RotationSet => "rotation.set",
            Self::KeyRotatedDue => "key.rotated.due",
            Self::EscrowSet => "escrow.set",
            Self::SessionOpen => "session.open",
            Self::ObjectPut => "object.put",
            Self::ObjectRekeyed => "object.rekeyed",
            Self::ObjectDeleted => "object.deleted",
            Self::Release => "release",
            Self::ReleaseRepeat => "release.repeat",
            Self::Denied => "denied",
        }
    }
}

/// In which role somebody acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An operator of the server.
    Operator,
    /// An admin of the tenant.
    Admin,
    /// A key of this vendor.
    Vendor(VendorId),
    /// A key that holds a grant of its own.
    Key,
}

impl From<Principal> for Role {
    fn from(principal: Principal) -> Self {
        match principal {
            Principal::Admin => Self::Admin,
            Principal::Vendor(id) => Self::Vendor(id),
            Principal::Key => Self::Key,
        }
    }
}

/// Who did it: from the TLS key, or the first signature of the order, alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The role.
    pub role: Role,
    /// The key.
    pub key: Fingerprint,
}

/// Whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, for [`Entry::reason`].
    Denied,
}

/// An object that became visible: item of the call, generation, plaintext size in bytes, content root (BLAKE3).
///
/// Its place in [`Entry::puts`] is its ordinal: (index of the entry, ordinal) names the object from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutFact(pub u32, pub Generation, pub u64, pub Digest);

/// An object, or some of its segments: item of the call, index of its put entry, its ordinal there, first segment, one past the
/// last segment, plaintext bytes of these segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef(pub u32, pub Index, pub u32, pub u32, pub u32, pub u64);

/// The public part of an entry. Its exact JSON is a leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place, from 0, without gaps.
    pub index: Index,
    /// When; never before the entry before it.
    pub time: Millis,
    /// What happened.
    pub event: Event,
    /// Who did it.
    pub actor: Actor,
    /// The session it came in, for calls.
    pub session: Option<SessionId>,
    /// The call it belongs to; the first entry of a call has the signed call in its private part.
    pub call: Option<CallDigest>,
    /// The order it carries out; the signed order is in the private part.
    pub order: Option<OrderId>,
    /// The grants it was charged to, or for `grant.*` the one concerned: the named one first, then its ancestors.
    pub grants: Vec<GrantId>,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why not.
    pub reason: Option<Reason>,
    /// How many it stands for: 1, or for a summary of denials their number.
    pub count: u64,
    /// What became visible, for `object.put` and `object.rekeyed`.
    pub puts: Vec<PutFact>,
    /// What was released or hidden.
    pub objects: Vec<ObjectRef>,
    /// The caller's request id.
    pub request: Option<RequestId>,
    /// The node that recorded it.
    pub node: NodeId,
    /// SHA-256 of the private part's bytes.
    pub private: Digest,
    /// For `log_key.rotated`: which key comes in which one's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_key: Option<LogKeyChange>,
}

/// The private part of an entry: what is personal or secret about it, and a salt so that its hash tells nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Private {
    /// 16 random bytes, 32 hex digits.
    pub salt: String,
    /// Address and port the caller came from.
    pub source: Option<String>,
    /// What the caller says about itself.
    pub claims: Option<Claims>,
    /// The signed opening, for `session.open`.
    pub opening: Option<SignedOpening>,
    /// The signed order.
    pub order: Option<SignedOrder>,
    /// The signed call, in the first entry of a call.
    pub call: Option<SignedCall>,
    /// Why it was refused, in words.
    pub detail: Option<String>,
    /// The incident that its call names, in every entry of that call. Left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// Why bytes are not an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not the exact JSON of it.
    #[error("the entry is {0}")]
    Exact(#[from] ExactError),
    /// Over 60 KiB.
    #[error("an entry has at most 60 KiB")]
    Length,
}

impl Entry {
    /// The exact bytes: a leaf of the log.
    ///
    /// # Errors
    /// [`EntryError`] if it has a number over 2⁵³−1, or more than 60 KiB.
    pub fn bytes(&self) -> Result<Vec<u8>, EntryError> {
        let size = 1024 + 110 * self.puts.len() + 32 * self.objects.len();
        let bytes = exact::to_vec_of(self, size)?;
        if bytes.len() > MAX_ENTRY { Err(EntryError::Length) } else { Ok(bytes) }
    }

    /// Reads exact bytes.
    ///
    /// # Errors
    /// [`EntryError`] if they are not exactly an entry's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::Length);
        }
        Ok(exact::from_slice(bytes)?)
    }

    /// As [`Entry::from_bytes`], of bytes that are known to be an entry's, as those under a checkpoint are: that there is no other
    /// way to write the same is not looked at, which takes a fraction of the time.
    ///
    /// # Errors
    /// [`EntryError`] if they are no entry's.
    pub fn read(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::Length);
        }
        Ok(serde_json::from_slice(bytes).map_err(ExactError::from)?)
    }
}

/// The name of the event of an entry, of its exact bytes, which are not read further; `None` if they do not begin as an entry's.
pub fn peek_event(public: &[u8]) -> Option<&str> {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = public.strip_prefix(b"{\"index\":")?;
    let rest = rest[digits(rest)..].strip_prefix(b",\"time\":")?;
    let rest = rest[digits(rest)..].strip_prefix(b",\"event\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

impl Private {
    /// The exact bytes.
    ///
    /// # Errors
    /// [`EntryError`] if it has a number over 2⁵³−1.
    pub fn bytes(&self) -> Result<Vec<u8>, EntryError> {
        Ok(exact::to_vec(self)?)
    }

    /// Reads exact bytes.
    ///
    /// # Errors
    /// [`EntryError`] if they are not exactly a private part's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        Ok(exact::from_slice(bytes)?)
    }

    /// The address and port alone, of bytes that are known to be a private part's.
    ///
    /// # Errors
    /// [`EntryError`] if they are no private part's.
    pub fn source_in(bytes: &[u8]) -> Result<Option<Cow<'_, str>>, EntryError> {
        #[derive(Deserialize)]
        struct Source<'a> {
            #[serde(borrow)]
            source: Option<Cow<'a, str>>,
        }
        let found: Source<'_> = serde_json::from_slice(bytes).map_err(ExactError::from)?;
        Ok(found.source)
    }

    /// What [`Entry::private`] holds for these bytes.
    pub fn hash(bytes: &[u8]) -> Digest {
        Digest::from_bytes(sha256(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_are_their_json() {
        for event in Event::ALL {
            assert_eq!(serde_json::to_string(&event).unwrap(), format!("\"{}\"", event.name()));
        }
    }
}
