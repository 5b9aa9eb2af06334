//! What entries name by number, by its name: objects, which entries tell by the entry that put them, and vendors, by the order that
//! added them.

use std::collections::HashMap;

use crate::call::Work;
use crate::ids::{CallDigest, Index, Millis, VendorId};
use crate::ledger::{Entry, Event, Outcome, Private};
use crate::names::{DatasetName, ObjectPath, VendorName};
use crate::order::Instruction;

/// How long a call is remembered after its last entry, in milliseconds: after that it is over for good.
const CALL_LIFE: u64 = 15 * 60 * 1000;

/// Where an object lies.
pub type ObjectPlace = (DatasetName, ObjectPath);

/// Calls to put: the first entry of one holds its words, those after it only its digest.
#[derive(Debug)]
pub(super) struct PutCalls {
    calls: HashMap<CallDigest, PutCall>,
    /// Calls are forgotten when there are so many.
    sweep_at: usize,
}

/// Places that a put's call names, by item.
#[derive(Debug)]
struct PutCall {
    items: Vec<ObjectPlace>,
    last: Millis,
}

impl Default for PutCalls {
    fn default() -> Self {
        Self { calls: HashMap::new(), sweep_at: 1024 }
    }
}

impl PutCalls {
    /// The places that the call of a put names: from its first entry, or as remembered from there. None if that was erased.
    pub(super) fn places(&mut self, entry: &Entry, private: Option<&Private>) -> Vec<ObjectPlace> {
        let Some(digest) = entry.call else { return Vec::new() };
        if let Some(Work::Put(items)) = private.and_then(|private| private.call.as_ref()).map(|call| &call.call.work) {
            let items = items.iter().map(|item| (item.dataset.clone(), item.path.clone())).collect();
            self.calls.insert(digest, PutCall { items, last: entry.time });
        }
        if self.calls.len() > self.sweep_at {
            self.calls.retain(|_, call| call.last.0.saturating_add(CALL_LIFE) >= entry.time.0);
            self.sweep_at = 1024.max(2 * self.calls.len());
        }
        self.calls.get_mut(&digest).map_or_else(Vec::new, |call| {
            call.last = entry.time;
            call.items.clone()
        })
    }
}

/// The fold of a ledger's names. It has to see every entry, in order: what it did not see has no name.
///
/// Memory holds the names of all objects that were ever put.
#[derive(Debug, Default)]
pub struct Naming {
    calls: PutCalls,
    objects: HashMap<Index, Box<[Option<ObjectPlace>]>>,
    vendors: HashMap<VendorId, VendorName>,
}

impl Naming {
    /// Takes in the next entry, with its private part unless that was erased; says where the objects lie that it names, those it
    /// put or those it released or hid, in its order. `None` for one whose name was erased.
    ///
    /// Of what was denied, the caller's own words are all there is: the paths that it asked for.
    pub fn feed(&mut self, entry: &Entry, private: Option<&Private>) -> Vec<Option<ObjectPlace>> {
        if entry.outcome == Outcome::Denied {
            // Its words count for what of it is done later.
            self.calls.places(entry, private);
            let work = private.and_then(|private| private.call.as_ref()).map(|call| &call.call.work);
            return work.map(asked).unwrap_or_default();
        }
        match entry.event {
            Event::ObjectPut | Event::ObjectRekeyed => {
                let places = self.calls.places(entry, private);
                let place = |item: u32| usize::try_from(item).ok().and_then(|item| places.get(item)).cloned();
                let put: Box<[_]> = entry.puts.iter().map(|put| place(put.0)).collect();
                self.objects.insert(entry.index, put.clone());
                put.into()
            }
            Event::VendorAdded => {
                let order = private.and_then(|private| private.order.as_ref()).map(|signed| &signed.order.instruction);
                if let (Some(id), Some(Instruction::AddVendor { name, .. })) = (entry.order, order) {
                    self.vendors.insert(id.into(), name.clone());
                }
                Vec::new()
            }
            _ => entry.objects.iter().map(|part| self.place(part.1, part.2)).collect(),
        }
    }

    fn place(&self, put: Index, ordinal: u32) -> Option<ObjectPlace> {
        self.objects.get(&put)?.get(usize::try_from(ordinal).ok()?)?.clone()
    }

    /// The name of a vendor that there is or was.
    pub fn vendor(&self, id: &VendorId) -> Option<&VendorName> {
        self.vendors.get(id)
    }
}

fn asked(work: &Work) -> Vec<Option<ObjectPlace>> {
    match work {
        Work::Get(items) | Work::ReleaseKeys(items) => {
            // An object that was asked for by its id has no name that is sure to be there.
            items.iter().filter_map(|item| Some(Some((item.dataset.clone(), item.path.clone()?)))).collect()
        }
        Work::Put(items) => items.iter().map(|item| Some((item.dataset.clone(), item.path.clone()))).collect(),
        Work::Delete(items) => items.iter().map(|item| Some((item.dataset.clone(), item.path.clone()))).collect(),
    }
}
