//! Deletes: a path is hidden, its generations stay for a while.

use std::sync::Arc;

use strongroom_core::call::Work;

use crate::error::Error;
use crate::recorder::attempt::{AcceptedCall, Attempt, Delete, Recorded};
use crate::vault::Vault;

/// Decides and records the call.
pub(crate) async fn delete(vault: &Vault, call: Arc<AcceptedCall>) -> Result<Recorded, Error> {
    if !matches!(call.signed.call.work, Work::Delete(_)) {
        return Err(Error::Invalid("the call is not one to delete".into()));
    }
    let tenant = call.session.tenant.clone();
    Ok(vault.recorder.record(&tenant, Attempt::Delete(Delete { call, obstacle: None })).await?)
}
