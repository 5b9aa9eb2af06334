//! What a monitor does when the ledger does not hold: it says so, and keeps what shows it.

use serde::Serialize;
use strongroom_client::Vault;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use super::hook::Hook;
use super::state::State;
use crate::exit::{Exit, Failure};
use crate::output::note;

#[derive(Serialize)]
struct Alarm<'a> {
    alarm: &'a str,
    tenant: &'a TenantName,
    detail: &'a str,
}

/// Whether a failure says that the ledger does not hold.
pub(super) fn is_alarm(failure: &Failure) -> bool {
    failure.exit == Exit::Integrity
}

/// Tells the command, and keeps the signed checkpoint that contradicts what this monitor saw: two signatures under two histories
/// are all the evidence that it takes.
pub(super) async fn shout(tenant: &TenantName, failure: &Failure, vault: &Vault, state: &State, hook: Option<&Hook>) {
    let evidence = match failure.code == Reason::LedgerDiverged.code() {
        true => "together with the checkpoint beside it, it is evidence".to_owned(),
        false => {
            format!(
                "together with the entries under it, it is evidence: strongroom audit export {tenant} -o {tenant}-evidence/"
            )
        }
    };
    if let Ok(claimed) = vault.claimed_checkpoint(tenant).await {
        match state.keep_claimed(&claimed.note) {
            Ok(Some(path)) => note(&format!("note: what the vault signed is kept as {}; {evidence}", path.display())),
            Ok(None) => {}
            Err(failure) => note(&format!("note: {failure}")),
        }
    }
    if let Some(hook) = hook {
        hook.run(&Alarm { alarm: &failure.code, tenant, detail: &failure.detail }).await;
    }
}
