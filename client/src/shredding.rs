//! Shredding: keys are destroyed, so that nothing opens what they sealed. All of it is for the tenant's admins.

use strongroom_core::grant::Prefix;
use strongroom_core::ids::{Index, Millis};
use strongroom_core::names::{DatasetName, TenantName};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::keys_client::KeysClient;

use crate::admin::{OrderDone, optional, parse};
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::name::PrefixName;
use crate::retry::Safety;

/// What is shredded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shreddable {
    /// All that was put under a prefix of a dataset so far, every generation. What is put there afterwards is something else.
    Objects(PrefixName),
    /// All that is or was in a dataset, which is no more then.
    Dataset(TenantName, DatasetName),
    /// All of a tenant, its own keys too. Its ledger stays.
    Tenant(TenantName),
}

/// How far an order to shred is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shredding {
    /// The order's entry: nothing that it covers is released from there on.
    pub entry: Index,
    /// Which dataset; none for the whole tenant.
    pub dataset: Option<DatasetName>,
    /// Which part of it; [`Prefix::all`] is all of it.
    pub prefix: Prefix,
    /// Objects that were met so far, each generation by itself.
    pub done: u64,
    /// When it was ordered.
    pub started: Millis,
    /// When no key of it was left in the database, if that is so.
    pub finished: Option<Millis>,
    /// When no backup of the database holds the keys any more; none while it is not finished, or if the server was not told how
    /// long backups are kept.
    pub gone_from_backups: Option<Millis>,
    /// Whether the database's files are overwritten where the keys stood. PostgreSQL's are not: old rows go with `VACUUM`, and
    /// what its log holds with the log's segments.
    pub overwritten: bool,
}

impl Shreddable {
    /// Whose it is.
    pub fn tenant(&self) -> &TenantName {
        match self {
            Self::Objects(name) => &name.tenant,
            Self::Dataset(tenant, _) | Self::Tenant(tenant) => tenant,
        }
    }
}

/// `tenant`, `tenant/dataset/`, or a part of a dataset: `tenant/dataset/prefix`.
impl std::str::FromStr for Shreddable {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((tenant, rest)) = text.split_once('/') else {
            let name = text.parse().map_err(|why| Error::new(Reason::InvalidName, format!("{text:?}: {why}")))?;
            return Ok(Self::Tenant(name));
        };
        match rest.split_once('/') {
            // Without its slash it would look like the name of a vendor, or of a path that was cut short.
            None => {
                let words =
                    format!("{text:?} may be a dataset: {tenant}/{rest}/ is all of it, and shredding that ends it");
                Err(Error::new(Reason::InvalidName, words))
            }
            Some((_, "")) => {
                let name: PrefixName = text.parse()?;
                Ok(Self::Dataset(name.tenant, name.dataset))
            }
            Some(_) => text.parse().map(Self::Objects),
        }
    }
}

impl std::fmt::Display for Shreddable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Objects(name) => name.fmt(f),
            Self::Dataset(tenant, dataset) => write!(f, "{tenant}/{dataset}/"),
            Self::Tenant(tenant) => tenant.fmt(f),
        }
    }
}

impl Vault {
    /// Destroys the keys of something, for good. When this returns, nothing of it is released any more; that the keys are gone
    /// from the database follows: [`Vault::shredding`].
    ///
    /// # Errors
    /// `NOT_FOUND` if there is, and was, no such thing; `SHREDDED` if all of it is shredded already; `FROZEN` while the dataset or
    /// the tenant is frozen; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn shred(&self, what: &Shreddable, note: Option<String>) -> Result<OrderDone> {
        let instruction = match what {
            Shreddable::Objects(PrefixName { dataset, prefix, .. }) => {
                Instruction::ShredObjects { dataset: dataset.clone(), prefix: prefix.clone(), note }
            }
            Shreddable::Dataset(_, name) => Instruction::ShredDataset { name: name.clone(), note },
            Shreddable::Tenant(_) => Instruction::ShredTenant { note },
        };
        self.order(what.tenant(), instruction).await
    }

    /// How far the order to shred is that an entry records; none if that entry is another.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn shredding(&self, tenant: &TenantName, entry: Index) -> Result<Option<Shredding>> {
        Ok(self.look_at_shreds(tenant, Some(entry.0), 1).await?.pop())
    }

    /// The newest orders to shred, up to a thousand of them, newest first.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn shreds(&self, tenant: &TenantName) -> Result<Vec<Shredding>> {
        self.look_at_shreds(tenant, None, 0).await
    }

    async fn look_at_shreds(&self, tenant: &TenantName, entry: Option<u64>, limit: u32) -> Result<Vec<Shredding>> {
        let request = v1::ShredsRequest { tenant: tenant.to_string(), entry, limit };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { KeysClient::new(channel).shreds(request).await }
        });
        let v1::ShredsAnswer { shreds, overwritten } = answer.await?.into_inner();
        let shredding = |shred: v1::Shred| {
            Ok(Shredding {
                entry: Index(shred.entry),
                dataset: optional("dataset", &shred.dataset)?,
                prefix: parse("prefix", &shred.prefix)?,
                done: shred.done,
                started: Millis(shred.started),
                finished: shred.finished.map(Millis),
                gone_from_backups: shred.gone_from_backups.map(Millis),
                overwritten,
            })
        };
        shreds.into_iter().map(shredding).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shredded_is_named_whole() {
        for text in ["acme", "acme/rlhf/", "acme/rlhf/math/", "acme/rlhf/math/1", "acme/rlhf/math/0*", "acme/rlhf/*"] {
            assert_eq!(text.parse::<Shreddable>().unwrap().to_string(), text);
        }
        for bad in ["", "acme/", "acme/rlhf", "acme//", "acme/rlhf//", "/rlhf/", "Acme", "acme/rlhf/../a"] {
            assert_eq!(bad.parse::<Shreddable>().unwrap_err().reason(), Reason::InvalidName, "{bad}");
        }
    }
}
