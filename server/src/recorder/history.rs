//! The ledger, read back: entries in their order, public and private parts.

use std::sync::Arc;

use strongroom_core::ids::Index;
use strongroom_core::ledger::batch::{BrokenBatch, split};

use super::{RecordError, Recorder};
use crate::tenants::Tenant;

impl Recorder {
    /// Entries from `from` on and before `to`: the exact bytes of the public part, and those of the private part, none if it was
    /// erased. As many as one commit appended, so that a caller goes on where the answer ends; none where the ledger does.
    ///
    /// # Errors
    /// [`RecordError::Integrity`] if a batch does not hold what it says; [`RecordError::Unavailable`] if it cannot be read.
    pub async fn history(
        &self,
        tenant: &Arc<Tenant>,
        from: Index,
        to: Index,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, RecordError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let found = self.catalog().batch_of(&tenant.id, from).await.map_err(RecordError::of_catalog)?;
        let Some(batch) = found else { return Ok(Vec::new()) };
        let broken = |BrokenBatch| RecordError::Integrity(format!("the batch of entry {from} is cut"));
        let (public, private) = (split(&batch.entries).map_err(broken)?, split(&batch.parts).map_err(broken)?);
        if public.len() != private.len() || batch.first > from {
            return Err(RecordError::Integrity(format!("the batch of entry {from} does not hold it")));
        }
        let skip = usize::try_from(from.0 - batch.first.0).unwrap_or(usize::MAX);
        let most = usize::try_from(to.0 - from.0).unwrap_or(usize::MAX);
        let entries = public.into_iter().zip(private).skip(skip).take(most);
        Ok(entries.map(|(public, private)| (public.to_vec(), private.to_vec())).collect())
    }
}
