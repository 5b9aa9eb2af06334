//! Which entries of ledgers record what was done through a vault.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::ids::Index;
use strongroom_core::names::TenantName;

use crate::connect::Vault;

/// The entries of what was released, put or deleted: what a receipt can be asked for. Clones are the same.
///
/// ```no_run
/// # async fn example(vault: strongroom_client::Vault) -> strongroom_client::Result<()> {
/// use strongroom_client::{Entries, GetOptions};
/// let entries = Entries::default();
/// vault.noting(&entries).get_bytes(&"acme/rlhf/math/000007.json".parse()?, GetOptions::default()).await?;
/// for (tenant, index) in entries.noted() {
///     let (receipt, _) = vault.receipt(&tenant, index).await?;
///     println!("{} bytes prove entry {index}", receipt.to_bytes().len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Entries(Arc<Mutex<BTreeSet<(TenantName, Index)>>>);

impl Entries {
    /// Those so far, in the order of tenants and indices.
    pub fn noted(&self) -> Vec<(TenantName, Index)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn note(&self, tenant: &TenantName, index: Index) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((tenant.clone(), index));
    }
}

impl Vault {
    /// The same vault on the same connection; what is read and written through it is noted here, by its entries.
    #[must_use]
    pub fn noting(&self, entries: &Entries) -> Self {
        self.with_entries(entries.clone())
    }
}
