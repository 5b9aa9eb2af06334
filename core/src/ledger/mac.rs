//! The ledger key: an HMAC key per tenant that marks what the vault itself wrote into its database.
//!
//! Whoever can write the database but has no keys can hide rows; with these marks they cannot make one that widens.

use ring::hmac;

use crate::ids::{Digest, Index, TenantId};
use crate::keys::secret::Key;
use crate::ledger::{Head, Seen};

/// A tenant's HMAC-SHA256 key. It is not rotated with the tenant key.
pub struct LedgerKey(hmac::Key);

/// An HMAC-SHA256.
pub type Mac = [u8; 32];

impl LedgerKey {
    /// The HMAC key with these bytes.
    pub fn new(key: &Key) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The mark of a row: over `strongroom/v1/row` ‖ table ‖ fields, each after its length (u32 BE).
    pub fn row(&self, table: &str, fields: &[&[u8]]) -> Mac {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"strongroom/v1/row");
        for field in std::iter::once(&table.as_bytes()).chain(fields) {
            context.update(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(field);
        }
        finish(context)
    }

    /// Whether a row carries its mark; compared in constant time.
    pub fn check_row(&self, table: &str, fields: &[&[u8]], mac: &[u8]) -> bool {
        equal(&self.row(table, fields), mac)
    }

    /// The mark of a head.
    pub fn head(&self, tenant: &TenantId, head: &Head) -> Mac {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"strongroom/v1/head");
        context.update(tenant.as_bytes());
        context.update(&head.canonical_bytes());
        finish(context)
    }

    /// Whether a head carries its mark.
    pub fn check_head(&self, tenant: &TenantId, head: &Head, mac: &[u8]) -> bool {
        equal(&self.head(tenant, head), mac)
    }

    /// The key that private parts lie sealed under where others may read them: HMAC over `strongroom/v1/private-parts`.
    pub fn private_parts(&self) -> Key {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"strongroom/v1/private-parts");
        Key::from_bytes(finish(context))
    }

    /// What a client is given to remember: proof that this vault once said so.
    pub fn seen(&self, tenant: &TenantId, size: Index, tip: Digest) -> Seen {
        Seen { size, tip, mac: Digest::from_bytes(self.seen_mac(tenant, size, &tip)) }
    }

    /// Whether a client's memory is one that this vault gave out.
    pub fn check_seen(&self, tenant: &TenantId, seen: &Seen) -> bool {
        equal(&self.seen_mac(tenant, seen.size, &seen.tip), seen.mac.as_bytes())
    }

    fn seen_mac(&self, tenant: &TenantId, size: Index, tip: &Digest) -> Mac {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"strongroom/v1/seen");
        context.update(tenant.as_bytes());
        context.update(&size.0.to_be_bytes());
        context.update(tip.as_bytes());
        finish(context)
    }
}

fn finish(context: hmac::Context) -> Mac {
    let mut mac = [0; 32];
    mac.copy_from_slice(context.sign().as_ref());
    mac
}

/// Compares in time that depends on the lengths only.
fn equal(ours: &Mac, theirs: &[u8]) -> bool {
    theirs.len() == ours.len() && ours.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
