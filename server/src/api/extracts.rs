//! `Audit.Extract`: what a fold over the ledger takes. The fold itself is the caller's: it holds what it asks about in its own memory.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::Index;
use strongroom_core::ledger::Event;
use strongroom_core::ledger::extract::{Doers, MAX_GRANTS, MAX_KEYS, MAX_VENDORS, Needs};
use strongroom_proto::v1;
use tonic::Request;

use super::streams::{QUEUE, Stop, end};
use super::{bytes_id, caller, tenant_name};
use crate::answer::seen_message;
use crate::cuts;
use crate::error::Error;
use crate::recorder::{Extracted, Extracts};
use crate::tenants::Tenant;
use crate::vault::{Vault, standing};

/// A frame is sent when it has about this many bytes.
const FRAME: usize = 512 * 1024;

pub(super) async fn extract(
    vault: &Arc<Vault>,
    request: &Request<v1::ExtractRequest>,
) -> Result<cuts::Receiver<v1::ExtractFrame>, Error> {
    let (_, caller) = caller(request)?;
    let message = request.get_ref();
    let tenant = vault.tenants.find(&tenant_name(&message.tenant)?).await?;
    standing::check_admin(vault, &tenant, &caller.key).await?;
    let needs = Needs {
        events: events(&message.events)?,
        own: events(&message.own_events)?,
        doers: message.doers.as_ref().map(doers).transpose()?,
    };
    let size = vault.recorder.view(&tenant).await?.head.size();
    let to = if message.to == 0 { size } else { Index(message.to).min(size) };
    let extracts = Extracts::new(vault.recorder.clone(), tenant.clone(), needs, Index(message.from).min(to), to);
    let (sender, receiver) = cuts::channel(QUEUE);
    let vault = vault.clone();
    tokio::spawn(async move {
        let worked = run(&vault, &tenant, extracts, &caller.key, &sender).await;
        end(sender, worked).await;
    });
    Ok(receiver)
}

async fn run(
    vault: &Vault,
    tenant: &Arc<Tenant>,
    mut extracts: Extracts,
    key: &Fingerprint,
    sender: &cuts::Sender<v1::ExtractFrame>,
) -> Result<(), Stop> {
    let mut frame = Frame::default();
    while let Some(some) = extracts.next().await? {
        // A key that is blocked meanwhile reads no further.
        vault.recorder.operators().blocked().admit_key(key)?;
        for Extracted { facts, entries, end } in some {
            if facts.is_none() && entries.is_empty() {
                continue;
            }
            frame.begin(facts);
            for (public, private) in entries {
                // Entries can be long, and there can be 256 of them: they may go on in the next frame.
                if frame.bytes >= FRAME {
                    sender.send(frame.take()).await?;
                    frame.begin(None);
                }
                frame.entry(public, private);
            }
            frame.end(end);
            if frame.bytes >= FRAME {
                sender.send(frame.take()).await?;
            }
        }
    }
    let view = vault.recorder.view(tenant).await?;
    let mut last = frame.take();
    last.seen = Some(seen_message(view.seen));
    sender.send(last).await?;
    Ok(())
}

/// A frame as it fills.
#[derive(Default)]
struct Frame {
    extracts: Vec<v1::Extracted>,
    bytes: usize,
}

impl Frame {
    fn begin(&mut self, facts: Option<Bytes>) {
        let facts = facts.unwrap_or_default();
        self.bytes += facts.len();
        self.extracts.push(v1::Extracted { facts, entries: Vec::new(), end: 0 });
    }

    fn entry(&mut self, public: Bytes, private: Bytes) {
        self.bytes += public.len() + private.len();
        if let Some(last) = self.extracts.last_mut() {
            last.entries.push(v1::LedgerEntry { public, private, names: Vec::new() });
        }
    }

    fn end(&mut self, end: Index) {
        if let Some(last) = self.extracts.last_mut() {
            last.end = end.0;
        }
    }

    fn take(&mut self) -> v1::ExtractFrame {
        self.bytes = 0;
        v1::ExtractFrame { extracts: std::mem::take(&mut self.extracts), seen: None }
    }
}

/// Events by their names.
pub(super) fn events(names: &[String]) -> Result<BTreeSet<Event>, Error> {
    let event = |name: &String| {
        let found = Event::ALL.into_iter().find(|event| event.name() == name);
        found.ok_or_else(|| Error::Invalid(format!("there is no event {name}").into()))
    };
    names.iter().map(event).collect()
}

fn doers(message: &v1::Doers) -> Result<Doers, Error> {
    Ok(Doers {
        keys: ids("a key", &message.keys, MAX_KEYS, |bytes| {
            let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| Error::Invalid("a key has the wrong length".into()))?;
            Ok(Fingerprint::from_bytes(bytes))
        })?,
        vendors: ids("a vendor", &message.vendors, MAX_VENDORS, |bytes| bytes_id("a vendor", bytes))?,
        grants: ids("a grant", &message.grants, MAX_GRANTS, |bytes| bytes_id("a grant", bytes))?,
    })
}

fn ids<T: Eq + Hash>(
    what: &str,
    all: &[Bytes],
    most: usize,
    read: impl Fn(&[u8]) -> Result<T, Error>,
) -> Result<HashSet<T>, Error> {
    if all.len() > most {
        return Err(Error::TooLarge(format!("{what} is named more than {most} times").into()));
    }
    all.iter().map(|bytes| read(bytes)).collect()
}
