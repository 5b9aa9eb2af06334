//! Keys that are blocked on the whole server: ordered by operators, in a ledger of their own.
//!
//! The ledger is kept as a tenant's is, under an id and a name that are made from the vault's id. It is created by the first
//! operator who blocks a key.

use std::sync::Arc;

use strongroom_core::grant::Refusal;
use strongroom_core::ids::{OrderId, TenantId};
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::recorder::attempt::{Attempt, Caller, Order, Recorded};
use crate::recorder::operators::LOOK_EVERY;
use crate::vault::Vault;
use crate::vault::authority::{accept, carried_out};

/// Blocks a key, or lets it go on: an order of operators.
pub(crate) async fn order(
    vault: &Vault,
    caller: Caller,
    bytes: &[u8],
    fits: fn(&Instruction) -> bool,
) -> Result<(Recorded, OrderId), Error> {
    let verified = accept(bytes, fits)?;
    check_operators(vault, verified.signers())?;
    if let Instruction::BlockKey { key, .. } = &verified.order().instruction
        && verified.signers().contains(key)
    {
        return Err(Refusal::new(Reason::InvalidArgument, "an operator does not block the own key: ask another").into());
    }
    let tenant = vault.tenants.find(&TenantName::of_operators(&vault.id)).await.map_err(|error| match error {
        Error::UnknownTenant => Error::NotFound("the operators have no ledger yet".into()),
        other => other,
    })?;
    vault.recorder.take_operators(tenant.clone()).await?;
    let id = verified.id();
    let attempt = Attempt::Order(Box::new(Order::new(caller, verified)));
    carried_out(vault.recorder.record(&tenant, attempt).await?, id)
}

/// Whether all of these are operators of this vault, and none of them blocked.
pub(crate) fn check_operators(vault: &Vault, keys: &[strongroom_core::identity::Fingerprint]) -> Result<(), Error> {
    if !keys.iter().all(|key| vault.is_operator(key)) {
        return Err(Refusal::new(Reason::OutOfScope, "only an operator of this vault may do this").into());
    }
    Ok(vault.recorder.operators().blocked().admit_order(keys, &[])?)
}

/// Takes in the operators' ledger if there is one.
///
/// # Errors
/// [`Error::Integrity`] if this node has seen one, and it is gone.
pub(crate) async fn find(vault: &Vault) -> Result<bool, Error> {
    if vault.recorder.knows_operators() {
        return Ok(true);
    }
    match vault.tenants.find(&TenantName::of_operators(&vault.id)).await {
        Ok(tenant) => vault.recorder.take_operators(tenant).await.map(|()| true).map_err(Error::from),
        Err(Error::UnknownTenant) if vault.recorder.remembers(&TenantId::of_operators(&vault.id)) => {
            Err(Error::Integrity("this node knows of blocked keys, and the operators' ledger is gone".into()))
        }
        Err(Error::UnknownTenant) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Looks for the operators' ledger until there is one: another node may make it.
pub(crate) async fn watch(vault: Arc<Vault>, stop: CancellationToken) {
    // Where no other node can make it, it is taken in when it is made.
    if !vault.catalog.is_shared() {
        return;
    }
    loop {
        match find(&vault).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::warn!(detail = %error, "whether keys are blocked could not be looked at"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
