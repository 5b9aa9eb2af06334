//! A vault that is breached whole, root key and all: it enters into a ledger what it likes.
//!
//! What is written here carries the marks that the vault's own entries carry, so the vault takes it for its own, signs it and serves
//! it. Only those who decide again what is recorded can tell.

use std::path::Path;

use strongroom_core::ids::Index;
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::ledger::{Entry, Private, batch};

use crate::oracle::{self, Ledger};
use crate::tamper::{bytes, edit, hex};

/// Enters this as the newest entry of a tenant's ledger, at the time of the one before it; its index comes back. The server is to
/// stand still.
pub async fn enter(folder: &Path, tenant: &str, entry: Entry, private: &Private) -> Index {
    let Ledger { origin, mut head, .. } = Ledger::read(folder, tenant).await;
    let (id, private) = (origin.tenant(), private.bytes().unwrap());
    let wrapped = bytes(folder, &format!("SELECT ledger_key FROM tenants WHERE name = '{tenant}'")).await;
    let key = oracle::ledger_key(folder, (id, tenant), &wrapped).await;

    let first = head.size();
    let entry = Entry { index: first, time: head.time, private: Private::hash(&private), ..entry };
    let public = entry.bytes().unwrap();
    head.range.append(leaf_hash(&public));
    let (mut entries, mut parts) = (Vec::new(), Vec::new());
    batch::push(&mut entries, &public);
    batch::push(&mut parts, &private);

    let (size, tip) = (head.size(), hex(head.tip().as_bytes()));
    let (row, mac) = (hex(&head.canonical_bytes()), hex(&key.head(&id, &head)));
    let (id, entries, parts) = (hex(id.as_bytes()), hex(&entries), hex(&parts));
    let statements = [
        format!(
            "INSERT INTO batches (tenant, size, first, tip, entries) VALUES ({id}, {size}, {first}, {tip}, {entries})"
        ),
        format!("INSERT INTO privates (tenant, size, parts) VALUES ({id}, {size}, {parts})"),
        format!("UPDATE heads SET size = {size}, head = {row}, mac = {mac} WHERE tenant = {id}"),
    ];
    edit(folder, &statements).await;
    first
}
