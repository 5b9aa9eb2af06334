//! An order: a signed instruction that changes authority.
//!
//! The operator can carry an order out or not, but cannot make one: it is signed by keys that it does not hold, over the origin
//! of one ledger, accepted once per ledger, ever. Signatures stand outside the signed bytes, so a signature spelled otherwise
//! (ECDSA's s flipped) does not make another order.

use serde::{Deserialize, Serialize};

use crate::exact::{self, ExactError};
use crate::grant::{Policy, Prefix, Terms};
use crate::identity::{BadSignature, Fingerprint, Identity, IdentityError, PublicKey, Purpose, Signature, sha256};
use crate::ids::{GrantId, IncidentId, Millis, OrderId, RequestId, VendorId};
use crate::names::{DatasetName, TenantName, VendorName};
use crate::origin::Origin;

/// The most signatures of one order.
pub const MAX_SIGNATURES: usize = 8;
/// What a tenant's key may be rotated every so often by itself: an hour to ten years, in milliseconds.
pub const EVERY: std::ops::RangeInclusive<u64> = 3_600_000..=10 * 366 * 24 * 3_600_000;
/// The most bytes of one order's exact JSON.
pub const MAX_BYTES: usize = 32 * 1024;

/// What is signed. Its exact JSON is what is hashed into the order's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The ledger it is for.
    pub ledger: Origin,
    /// Drawn by the signer, so that two equal instructions are two orders.
    pub request: RequestId,
    /// The last moment, by the entry's time, at which it may be accepted.
    pub not_after: Millis,
    /// What to do.
    pub instruction: Instruction,
    /// The incident that it belongs to; only admins name one. Left out where there is none, so that such an order has the bytes
    /// that it always had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// What an order changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Instruction {
    /// By an operator: entry 0 of a tenant's ledger. Names its first admins.
    CreateTenant {
        /// Its name.
        name: TenantName,
        /// Its first admins, sorted, at least one.
        admins: Vec<Fingerprint>,
    },
    /// By an admin: one more admin.
    AddAdmin {
        /// Its key.
        key: Fingerprint,
    },
    /// By an admin: one admin fewer; the last cannot be removed.
    RemoveAdmin {
        /// Its key.
        key: Fingerprint,
    },
    /// By an admin: registers a vendor. Its id comes from this order's.
    AddVendor {
        /// Its name.
        name: VendorName,
        /// Its keys, sorted.
        keys: Vec<Fingerprint>,
    },
    /// By an admin, or by a live key of the vendor itself: stops every grant and key of a vendor.
    SuspendVendor {
        /// The vendor.
        vendor: VendorId,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: gives back what has not expired.
    ResumeVendor {
        /// The vendor.
        vendor: VendorId,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: ends a vendor for good. Its name and keys stay taken.
    RemoveVendor {
        /// The vendor.
        vendor: VendorId,
    },
    /// By an admin: one more key of a vendor.
    AddKey {
        /// The vendor.
        vendor: VendorId,
        /// The key.
        key: Fingerprint,
    },
    /// By an admin: one key of a vendor fewer, for good.
    RevokeKey {
        /// The vendor.
        vendor: VendorId,
        /// The key.
        key: Fingerprint,
    },
    /// By an admin: makes a dataset. Its id comes from this order's.
    CreateDataset {
        /// Its name.
        name: DatasetName,
    },
    /// By an admin: hides a dataset with all that is in it, for good.
    DeleteDataset {
        /// Its name.
        name: DatasetName,
    },
    /// By an admin: nobody reads or writes in a dataset until it is unfrozen.
    FreezeDataset {
        /// Its name.
        name: DatasetName,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: gives a frozen dataset back.
    UnfreezeDataset {
        /// Its name.
        name: DatasetName,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: nobody reads or writes anywhere in the tenant, or delegates, until it is unfrozen.
    FreezeTenant {
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: gives a frozen tenant back.
    UnfreezeTenant {
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an operator, in the operators' own ledger: stops a key on the whole server.
    BlockKey {
        /// The key.
        key: Fingerprint,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an operator, in the operators' own ledger: lets a blocked key be what it was.
    UnblockKey {
        /// The key.
        key: Fingerprint,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: the next version of the tenant's key, which new objects are wrapped with from here on. What is under older
    /// ones is wrapped anew.
    RotateKey {
        /// The version to be: one more than the active one.
        version: u32,
    },
    /// By an admin: destroys a version of the tenant's key that nothing uses any more, for good.
    DestroyKey {
        /// The version.
        version: u32,
    },
    /// By an admin: another key signs the ledger's checkpoints from here on. The vault makes it, and the one before signs it.
    RotateLogKey {
        /// The version to be: one more than the active one; a ledger begins with 1.
        version: u32,
    },
    /// By an admin: destroys the keys of all that was put under a prefix of a dataset, every generation, for good. What is put
    /// there afterwards is something else.
    ShredObjects {
        /// The dataset.
        dataset: DatasetName,
        /// Which part of it.
        prefix: Prefix,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: destroys the keys of all that is or was in a dataset, and ends it, if it was not deleted before.
    ShredDataset {
        /// Its name.
        name: DatasetName,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: destroys all keys of the tenant, those of its objects and its own. Its ledger stays, to be read.
    ShredTenant {
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: the vault makes a new version of the tenant's key by itself, whenever one is due.
    RotateEvery {
        /// The time from one to the next, in milliseconds: an hour to ten years; none ends it.
        every: Option<u64>,
        /// When the first is due.
        first: Millis,
    },
    /// By an admin: every version of the tenant's key, present and future, is sealed to exactly these age recipients.
    SetEscrow {
        /// The recipients, sorted, each once, at most 16; none ends the escrow.
        recipients: Vec<String>,
    },
    /// By an admin, or by the holder of a grant that may be delegated. The grant's id comes from this order's.
    IssueGrant(Terms),
    /// By an admin, or by the holder of the grant that it was delegated from: moves a grant's end later.
    RenewGrant {
        /// The grant.
        grant: GrantId,
        /// When it ends from now on, exclusive.
        expires: Millis,
    },
    /// By an admin: what the tenant asks of its grants from now on.
    SetPolicy(Policy),
    /// By an admin: opens an incident about a vendor. Its id comes from this order's.
    OpenIncident {
        /// The vendor.
        vendor: VendorId,
        /// From when on the vendor may have been in somebody else's hands; all of time if none.
        since: Option<Millis>,
        /// What is known, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin: closes an incident. It gives nothing back.
    CloseIncident {
        /// The incident.
        incident: IncidentId,
        /// What it came to, in words; at most 512 bytes.
        note: Option<String>,
    },
    /// By an admin, or by the issuer: ends a grant and its descendants.
    RevokeGrant {
        /// The grant.
        grant: GrantId,
        /// Why, in words; at most 512 bytes.
        note: Option<String>,
    },
}

impl Instruction {
    /// Whether it is for operators to order, who stand in the server's configuration and not in a ledger.
    pub fn is_operators(&self) -> bool {
        matches!(self, Self::CreateTenant { .. } | Self::BlockKey { .. } | Self::UnblockKey { .. })
    }

    /// Whether the ledger of this origin holds such orders: the operators' own ones about keys and about its log key, which is for
    /// operators to order too; a tenant's all that is not for operators.
    pub fn belongs_in(&self, origin: &Origin) -> bool {
        match origin.is_operators() {
            true => self.is_operators() || matches!(self, Self::RotateLogKey { .. }),
            false => !self.is_operators(),
        }
    }
}

/// A key and its signature of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderSignature {
    /// Who signed.
    pub key: PublicKey,
    /// The signature of the order's exact bytes.
    pub signature: Signature,
}

/// An order with its signatures, as it travels and as it is kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedOrder {
    /// What was signed.
    pub order: Order,
    /// By whom; 1 to [`MAX_SIGNATURES`], of distinct keys.
    pub signatures: Vec<OrderSignature>,
}

/// An order whose signatures hold: who signed what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOrder {
    signed: SignedOrder,
    id: OrderId,
    signers: Vec<Fingerprint>,
}

/// Why an order was refused before anything in it was looked at.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Not the exact JSON of an order with signatures.
    #[error("the order is {0}")]
    Exact(#[from] ExactError),
    /// Over [`MAX_BYTES`].
    #[error("an order has at most 32 KiB")]
    Length,
    /// No signature, too many, or two of one key.
    #[error("an order has 1 to 8 signatures of distinct keys")]
    Signatures,
    /// A signature does not hold.
    #[error("a signature of the order does not hold")]
    Signature(#[from] BadSignature),
    /// A text or a list in it is too long.
    #[error("the order's {0} is too long or empty")]
    Field(&'static str),
}

impl Order {
    /// Signs the order with one identity.
    ///
    /// # Errors
    /// [`IdentityError`] if the key gives no signature.
    pub fn sign(self, identity: &Identity) -> Result<SignedOrder, SignError> {
        let signature = Signature(identity.sign(Purpose::Order, &exact::to_vec(&self)?)?);
        let signatures = vec![OrderSignature { key: identity.public_key(), signature }];
        Ok(SignedOrder { order: self, signatures })
    }
}

/// Why an order could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A number in it is too large.
    #[error("the order is {0}")]
    Exact(#[from] ExactError),
    /// The key gave no signature.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl SignedOrder {
    /// The exact JSON of order and signatures: how it travels.
    ///
    /// # Errors
    /// [`ExactError::Integer`] if a number in it is over 2⁵³−1.
    pub fn bytes(&self) -> Result<Vec<u8>, ExactError> {
        exact::to_vec(self)
    }

    /// Reads an order's exact bytes and checks its signatures.
    ///
    /// # Errors
    /// Each kind of [`OrderError`].
    pub fn accept(bytes: &[u8]) -> Result<VerifiedOrder, OrderError> {
        // Each signature is under 400 bytes of JSON.
        if bytes.len() > MAX_BYTES + MAX_SIGNATURES * 400 {
            return Err(OrderError::Length);
        }
        exact::from_slice::<Self>(bytes)?.verify()
    }

    /// Checks the signatures, and the bounds of what is signed.
    ///
    /// # Errors
    /// Each kind of [`OrderError`].
    pub fn verify(self) -> Result<VerifiedOrder, OrderError> {
        let bytes = exact::to_vec(&self.order)?;
        if bytes.len() > MAX_BYTES {
            return Err(OrderError::Length);
        }
        if !(1..=MAX_SIGNATURES).contains(&self.signatures.len()) {
            return Err(OrderError::Signatures);
        }
        let mut signers = Vec::with_capacity(self.signatures.len());
        for OrderSignature { key, signature } in &self.signatures {
            let signer = key.fingerprint();
            if signers.contains(&signer) {
                return Err(OrderError::Signatures);
            }
            key.verify(Purpose::Order, &bytes, &signature.0)?;
            signers.push(signer);
        }
        check_fields(&self.order.instruction)?;
        Ok(VerifiedOrder { id: OrderId::from_bytes(sha256(&bytes)), signed: self, signers })
    }
}

fn check_fields(instruction: &Instruction) -> Result<(), OrderError> {
    let sorted = |keys: &[Fingerprint]| keys.len() <= 64 && keys.windows(2).all(|pair| pair[0] < pair[1]);
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= 512);
    let check = |holds: bool, field| if holds { Ok(()) } else { Err(OrderError::Field(field)) };
    match instruction {
        Instruction::CreateTenant { admins, .. } => check(sorted(admins) && !admins.is_empty(), "list of admins"),
        Instruction::AddVendor { keys, .. } => check(sorted(keys), "list of keys"),
        Instruction::SuspendVendor { note, .. }
        | Instruction::ResumeVendor { note, .. }
        | Instruction::FreezeDataset { note, .. }
        | Instruction::UnfreezeDataset { note, .. }
        | Instruction::FreezeTenant { note }
        | Instruction::UnfreezeTenant { note }
        | Instruction::BlockKey { note, .. }
        | Instruction::UnblockKey { note, .. }
        | Instruction::OpenIncident { note, .. }
        | Instruction::CloseIncident { note, .. }
        | Instruction::ShredObjects { note, .. }
        | Instruction::ShredDataset { note, .. }
        | Instruction::ShredTenant { note }
        | Instruction::RevokeGrant { note, .. } => check(short(note), "note"),
        Instruction::IssueGrant(terms) => {
            check(short(&terms.purpose), "purpose")?;
            check(terms.limits.sources.len() <= 64, "list of sources")?;
            let count = (1..=Terms::MAX_SCOPES).contains(&terms.scopes.len());
            check(count && terms.scopes.iter().all(crate::grant::Scope::is_well_formed), "list of scopes")
        }
        Instruction::RotateEvery { every, .. } => {
            check(every.is_none_or(|every| EVERY.contains(&every)), "time between rotations")
        }
        Instruction::SetEscrow { recipients } => check(crate::escrow::are_recipients(recipients), "list of recipients"),
        Instruction::SetPolicy(policy) => check(policy.limits.sources.len() <= 64, "list of sources"),
        Instruction::RenewGrant { .. }
        | Instruction::AddAdmin { .. }
        | Instruction::RemoveAdmin { .. }
        | Instruction::RemoveVendor { .. }
        | Instruction::AddKey { .. }
        | Instruction::RevokeKey { .. }
        | Instruction::CreateDataset { .. }
        | Instruction::DeleteDataset { .. }
        | Instruction::RotateKey { .. }
        | Instruction::DestroyKey { .. }
        | Instruction::RotateLogKey { .. } => Ok(()),
    }
}

impl VerifiedOrder {
    /// SHA-256 of the signed bytes: accepted once per ledger, ever.
    pub fn id(&self) -> OrderId {
        self.id
    }

    /// What was signed.
    pub fn order(&self) -> &Order {
        &self.signed.order
    }

    /// The signers, in the order of their signatures; at least one.
    pub fn signers(&self) -> &[Fingerprint] {
        &self.signers
    }

    /// Whose order it is first.
    pub fn issuer(&self) -> Fingerprint {
        self.signers[0]
    }

    /// Order and signatures, to be kept.
    pub fn into_signed(self) -> SignedOrder {
        self.signed
    }
}
