//! Sessions in: an opening becomes a session of its connection.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strongroom_core::exact;
use strongroom_core::grant::{Authority, Holder, Principal};
use strongroom_core::identity::{Fingerprint, PublicKey, Purpose, Signature, sha256};
use strongroom_core::ids::Digest;
use strongroom_core::ledger::Seen;
use strongroom_core::session::{Claims, SessionStatement, SignedOpening};

use crate::error::Error;
use crate::listen::Connection;
use crate::sessions::Session;
use crate::tenants::Tenant;
use crate::vault::Vault;

/// What the caller is answered.
pub(crate) struct Opened {
    /// Exact JSON of the statement, and the vault key's signature under it.
    pub(crate) statement: Vec<u8>,
    pub(crate) signature: [u8; 64],
    /// The age message with the session secret.
    pub(crate) message: Vec<u8>,
    /// What to remember of the ledger.
    pub(crate) seen: Seen,
}

/// What a caller shows to open a session.
pub(crate) struct Shown<'a> {
    /// The opening's exact bytes, the key that signed them, and its signature.
    pub(crate) opening: &'a [u8],
    pub(crate) key: PublicKey,
    pub(crate) signature: Signature,
    /// What the caller says about itself.
    pub(crate) claims: Claims,
    /// What it remembers of the ledger.
    pub(crate) seen: Option<Seen>,
}

/// Opens a session: the opening must be signed by the connection's key and name this connection and this vault.
pub(crate) async fn open(
    vault: &Vault,
    connection: &Connection,
    caller: &Fingerprint,
    shown: Shown<'_>,
) -> Result<Opened, Error> {
    let Shown { opening, key, signature, claims, seen } = shown;
    if key.fingerprint() != *caller {
        return Err(Error::Unauthenticated("the opening is signed by another key than the connection's"));
    }
    let (id, signed) = SignedOpening::accept(opening, key, signature)?;
    if signed.opening.exporter.as_bytes() != &connection.exporter {
        return Err(Error::Unauthenticated("the opening was made for another connection: something stands in between"));
    }
    if signed.opening.vault_key != vault.vault_key.public_key().fingerprint() {
        return Err(Error::Unauthenticated("the opening was made for another vault key"));
    }
    let tenant = vault.tenants.find(&signed.opening.tenant).await?;
    let authority = vault.recorder.view(&tenant).await?.authority;
    if !is_known(vault, &tenant, &authority, caller).await? {
        return Err(Error::UnknownTenant);
    }
    let seen = vault.recorder.check_seen(&tenant, seen).await?;
    let message = vault.keys.open_session(id, &signed.opening.recipient).await?;
    let statement = SessionStatement {
        session: id,
        ledger: tenant.origin.clone(),
        size: seen.size,
        tip: seen.tip,
        message: Digest::from_bytes(sha256(&message)),
    };
    let statement = exact::to_vec(&statement).map_err(|error| Error::Integrity(error.to_string().into()))?;
    let recorded = AtomicBool::new(false);
    let session = Session { id, tenant, key: *caller, opening: signed, claims, recorded };
    let kept = connection.sessions.insert(Arc::new(session));
    if !kept || connection.has_ended() {
        vault.keys.close_sessions(&[id]);
        return Err(Error::TooLarge("this connection has too many sessions".into()));
    }
    Ok(Opened { signature: vault.vault_key.sign(Purpose::Session, &statement), statement, message, seen })
}

/// Whether a tenant knows a key: as an admin's, a vendor's, or the holder of a grant of its own.
pub(crate) async fn is_known(
    vault: &Vault,
    tenant: &Tenant,
    authority: &Authority,
    key: &Fingerprint,
) -> Result<bool, Error> {
    if authority.principal(key) != Principal::Key {
        return Ok(true);
    }
    let own = vault.catalog.grants_of(&tenant.id, &tenant.ledger_key, &Holder::Key(*key), None, 1).await?;
    Ok(!own.is_empty())
}
