//! What is there: stat, list, datasets. Scope is decided first; none of it makes an entry but a refusal.

use std::sync::Arc;

use strongroom_core::grant::{Action, Place, Prefix, Refusal};
use strongroom_core::ids::{Generation, GrantId};
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::reason::Reason;

use crate::catalog::objects::{ListPage, Lookup, ObjectRow};
use crate::error::Error;
use crate::recorder::attempt::Caller;
use crate::tenants::Tenant;
use crate::vault::plan::{is_shredded, of_lookup};
use crate::vault::put::{dataset, denied};
use crate::vault::{Vault, standing};

/// The most rows of one page.
pub(crate) const MAX_PAGE: u32 = 1000;

/// One object's newest generation, or a named one.
pub(crate) async fn stat(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    caller: &Caller,
    grant: Option<GrantId>,
    name: &DatasetName,
    path: &ObjectPath,
    generation: Option<Generation>,
) -> Result<ObjectRow, Error> {
    let place = Place { action: Action::List, dataset: name, path };
    let decided = match grant {
        Some(_) => standing::check(vault, tenant, caller, grant, &[place]).await,
        None => standing::check_list(vault, tenant, caller, None, name, &Prefix::Exact(path.clone())).await,
    };
    if let Err(error) = decided {
        return Err(denied(vault, tenant, caller, error).await);
    }
    let dataset = dataset(vault, tenant, name).await?;
    let lookup = Lookup { dataset, dataset_name: name.clone(), path: path.clone(), generation };
    let (mut found, _) = vault.lookups.resolve(tenant, vec![lookup.clone()]).await?;
    let authority = vault.recorder.view(tenant).await?.authority;
    match found.pop().flatten() {
        Some(object) if is_shredded(&authority, &object) => Err(Refusal::object_shredded().into()),
        Some(object) => Ok(object),
        None if authority.has_shreds() && vault.catalog.were_shredded(&[of_lookup(&lookup)]).await? == [true] => {
            Err(Refusal::object_shredded().into())
        }
        None => Err(Refusal::new(Reason::NotFound, "no such object").into()),
    }
}

/// What to list.
pub(crate) struct Listing {
    pub(crate) dataset: DatasetName,
    pub(crate) prefix: Prefix,
    pub(crate) folders: bool,
    pub(crate) after: Option<String>,
    pub(crate) limit: u32,
}

/// A page of objects under a prefix, in byte order of their paths.
pub(crate) async fn list(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    caller: &Caller,
    grant: Option<GrantId>,
    listing: &Listing,
) -> Result<ListPage, Error> {
    let Listing { dataset: name, prefix, folders, after, limit } = listing;
    if let Err(error) = standing::check_list(vault, tenant, caller, grant, name, prefix).await {
        return Err(denied(vault, tenant, caller, error).await);
    }
    let dataset = dataset(vault, tenant, name).await?;
    let limit = if *limit == 0 { MAX_PAGE } else { (*limit).min(MAX_PAGE) };
    let listed =
        vault.catalog.list(&tenant.id, &tenant.ledger_key, &dataset, prefix, after.as_deref(), limit, *folders);
    let mut page = listed.await?;
    let authority = vault.recorder.view(tenant).await?.authority;
    // What was shredded a moment ago may still have its rows.
    page.objects.retain(|object| !is_shredded(&authority, object));
    Ok(page)
}
