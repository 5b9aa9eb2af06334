//! A ledger's origin: the name under which its checkpoints, orders and calls are signed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::sha256;
use crate::ids::{TenantId, VaultId};

/// `<vault name>/<vault id>/<tenant id>`: ids only, so that publishing a checkpoint tells no tenant's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    name: String,
    vault: VaultId,
    tenant: TenantId,
}

/// A text that is not an origin, or a vault name outside `[a-z0-9.-]+`, at most 253 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin is NAME/VAULT-ID/TENANT-ID, with a name of a-z, 0-9, '.' and '-'")]
pub struct OriginError;

impl Origin {
    /// The origin of a tenant's ledger.
    ///
    /// # Errors
    /// [`OriginError`] if the vault's name breaks the grammar.
    pub fn new(name: &str, vault: VaultId, tenant: TenantId) -> Result<Self, OriginError> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        if name.is_empty() || name.len() > 253 || !name.bytes().all(valid) {
            return Err(OriginError);
        }
        Ok(Self { name: name.to_owned(), vault, tenant })
    }

    /// The vault's id.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The tenant's id.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Whether it is the origin of the operators' own ledger: that of the tenant whose id is made from the vault's.
    pub fn is_operators(&self) -> bool {
        self.tenant == TenantId::of_operators(&self.vault)
    }

    /// The origin of the ledger of this vault's operators.
    #[must_use]
    pub fn operators(&self) -> Self {
        Self { tenant: TenantId::of_operators(&self.vault), ..self.clone() }
    }

    /// SHA-256 of its text: its part of a call digest.
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.to_string().as_bytes())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.name, self.vault, self.tenant)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or(OriginError);
        let (name, vault, tenant) = (next()?, next()?, next()?);
        let id = |_| OriginError;
        Self::new(name, vault.parse().map_err(id)?, tenant.parse().map_err(id)?)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
