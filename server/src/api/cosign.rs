//! Cosignatures: witnesses' words for a ledger, taken in and served.
//!
//! A vault need not know a witness, and vouches for none: whoever trusts one has its key, and checks. What is kept is what the
//! signatures cover, of a bounded number of witnesses, and only of checkpoints that this log signed and still has. One that it
//! signed and does not have any more is a history that was put back or rewritten, shown by somebody who remembers: it stops the
//! tenant, as a client's memory does.

use std::sync::Arc;

use strongroom_core::grant::Refusal;
use strongroom_core::ledger::checkpoint::MAX_NOTE;
use strongroom_core::ledger::cosign::WitnessKey;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use tonic::Request;

use super::log::known;
use super::{caller, tenant_name};
use crate::catalog::CosignatureRow;
use crate::error::Error;
use crate::vault::{Vault, standing};

/// The most witnesses of one ledger.
const MAX_WITNESSES: u64 = 16;

pub(super) async fn take(
    vault: &Arc<Vault>,
    request: &Request<v1::CosignRequest>,
) -> Result<v1::CosignResponse, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    if message.note.len() > MAX_NOTE {
        return Err(Error::TooLarge(format!("a checkpoint has at most {MAX_NOTE} bytes").into()));
    }
    let witness: WitnessKey =
        message.witness.parse().map_err(|_| Error::Invalid("not a witness's public key".into()))?;
    let invalid = |error| Error::Invalid(format!("the cosigned checkpoint: {error}").into());
    let (checkpoint, _) = vault.tenants.log_keys(&tenant).await?.open(&message.note).map_err(invalid)?;
    let note = witness.only(&message.note, &tenant.origin.to_string()).map_err(invalid)?.into_bytes();
    vault.recorder.check_shown(&tenant, &checkpoint).await?;
    let row = CosignatureRow { witness: witness.to_string(), size: checkpoint.size, note };
    match vault.catalog.keep_cosignature(&tenant.id, &row, MAX_WITNESSES).await? {
        true => Ok(v1::CosignResponse {}),
        false => {
            let detail = format!("the ledger has {MAX_WITNESSES} witnesses already");
            Err(Refusal::new(Reason::QuotaExceeded, detail).into())
        }
    }
}

pub(super) async fn list(
    vault: &Vault,
    request: &Request<v1::CosignaturesRequest>,
) -> Result<v1::CosignaturesResponse, Error> {
    let tenant = known(vault, request, &request.get_ref().tenant).await?;
    let rows = vault.catalog.cosignatures(&tenant.id).await?;
    let cosigned = rows.into_iter().take(MAX_WITNESSES as usize);
    let cosigned = cosigned.map(|row| v1::Cosigned { witness: row.witness, note: row.note.into() });
    Ok(v1::CosignaturesResponse { cosigned: cosigned.collect() })
}
