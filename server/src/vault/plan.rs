//! What a read comes to: which segments of which objects, in which steps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use strongroom_core::call::{GetItem, Work};
use strongroom_core::grant::{Authority, Refusal};
use strongroom_core::ids::{DatasetId, ObjectId};
use strongroom_core::reason::Reason;
use strongroom_core::sealed::WINDOW_SEGMENTS;
use strongroom_core::sealed::layout::Layout;

use crate::catalog::by_id::ById;
use crate::catalog::objects::{Lookup, ObjectRow};
use crate::error::Error;
use crate::recorder::attempt::{AcceptedCall, ReleasePart};
use crate::vault::Vault;

/// What a read comes to.
pub(crate) struct Plan {
    /// The steps, in the order of the call: each one release, each at most one window of an object.
    pub(crate) steps: Vec<Vec<ReleasePart>>,
    /// Items that have nothing to release, and why.
    pub(crate) errors: Vec<(u32, Refusal)>,
    /// `Head::hides` from before the rows were read.
    pub(crate) hides: u64,
}

/// Plans a call, leaving out its first `skip` parts, which a resumed stream has already.
pub(crate) async fn plan(vault: &Vault, call: &AcceptedCall, skip: u64) -> Result<Plan, Error> {
    let (Work::Get(items) | Work::ReleaseKeys(items)) = &call.signed.call.work else {
        return Err(Error::Invalid("the call is not one to read".into()));
    };
    let tenant = &call.session.tenant;
    let authority = vault.recorder.view(tenant).await?.authority;
    let lookups: Vec<Option<Lookup>> = items.iter().map(|item| lookup(&authority, item)).collect();
    let wanted: Vec<Lookup> = lookups.iter().flatten().cloned().collect();
    let (found, mut hides) = vault.lookups.resolve(tenant, wanted).await?;
    let mut found = found.into_iter();
    let (mut by_id, by_id_shredded) = by_id(vault, call, items, &authority, &mut hides).await?;
    let mut parts = Vec::with_capacity(items.len());
    let mut errors = Vec::new();
    let mut missing = Vec::new();
    for ((at, item), lookup) in (0_u32..).zip(items).zip(&lookups) {
        match lookup.as_ref().and_then(|_| found.next().flatten()).or_else(|| by_id.remove(&at)) {
            None if authority.has_shreds() => missing.push((at, lookup.as_ref())),
            None => errors.push((at, not_found())),
            Some(row) if is_shredded(&authority, &row) => errors.push((at, Refusal::object_shredded())),
            Some(row) => match parts_of(at, item, Arc::new(row))? {
                Some(of_item) => parts.extend(of_item),
                None => {
                    errors.push((at, Refusal::new(Reason::InvalidArgument, "the range lies past the object's end")))
                }
            },
        }
    }
    errors.extend(told_apart(vault, &missing, &by_id_shredded).await?);
    errors.sort_unstable_by_key(|(at, _)| *at);
    let skipped = usize::try_from(skip).map_or(parts.len(), |skip| skip.min(parts.len()));
    let parts = parts.split_off(skipped);
    let rate = match call.grant() {
        // One part is not cut further: a window is released once to a request.
        Some(grant) if parts.len() > 1 => vault.recorder.rate(tenant, grant).await?,
        _ => None,
    };
    Ok(Plan { steps: steps(parts, rate.unwrap_or(u64::MAX)), errors, hides })
}

fn lookup(authority: &Authority, item: &GetItem) -> Option<Lookup> {
    let path = item.path.clone()?;
    let dataset = authority.dataset(&item.dataset)?.id;
    Some(Lookup { dataset, dataset_name: item.dataset.clone(), path, generation: item.generation })
}

/// Looks up the items that name an object id: those that can be read. Where each stands, hidden or not, the call is told, so
/// that its scope is decided by the path.
async fn by_id(
    vault: &Vault,
    call: &AcceptedCall,
    items: &[GetItem],
    authority: &Authority,
    hides: &mut u64,
) -> Result<(HashMap<u32, ObjectRow>, HashSet<u32>), Error> {
    let wanted: Vec<(u32, ObjectId)> = (0..).zip(items).filter_map(|(at, item)| Some((at, item.id?))).collect();
    if wanted.is_empty() {
        return Ok(Default::default());
    }
    let tenant = &call.session.tenant;
    let ids: Vec<ObjectId> = wanted.iter().map(|(_, id)| *id).collect();
    let (found, as_of) = vault.catalog.objects_by_id(&tenant.id, &tenant.ledger_key, &ids).await?;
    // The older of two looks: whatever was hidden after it is looked for again under the lock.
    *hides = as_of.min(*hides);
    let mut places = HashMap::with_capacity(wanted.len());
    let mut readable = HashMap::with_capacity(wanted.len());
    let mut shredded = HashSet::new();
    for ((at, _), found) in wanted.into_iter().zip(found) {
        let Some(item) = items.get(at as usize) else { continue };
        let Some(ById { object, visible }) = found.filter(|found| found.object.dataset_name == item.dataset) else {
            continue;
        };
        places.insert(at, object.path.clone());
        let there = authority.dataset(&item.dataset).is_some_and(|dataset| dataset.id == object.dataset);
        let same = item.generation.is_none_or(|generation| generation == object.generation);
        if is_shredded(authority, &object) {
            shredded.insert(at);
        } else if visible && there && same {
            readable.insert(at, object);
        }
    }
    // A call is planned once.
    let _ = call.found.set(places);
    Ok((readable, shredded))
}

fn not_found() -> Refusal {
    Refusal::new(Reason::NotFound, "no such object")
}

/// Whether an object was shredded, be it that its row does not say so yet.
pub(crate) fn is_shredded(authority: &Authority, object: &ObjectRow) -> bool {
    authority.has_shreds() && authority.shredded(&object.dataset, object.path.as_str(), object.index).is_some()
}

/// What was not found is told apart: it was shredded, or it is not there.
async fn told_apart(
    vault: &Vault,
    missing: &[(u32, Option<&Lookup>)],
    by_id: &HashSet<u32>,
) -> Result<Vec<(u32, Refusal)>, Error> {
    let named: Vec<(u32, &Lookup)> = missing.iter().filter_map(|(at, lookup)| Some((*at, (*lookup)?))).collect();
    let mut shredded = by_id.clone();
    if !named.is_empty() {
        let wanted: Vec<_> = named.iter().map(|(_, lookup)| of_lookup(lookup)).collect();
        let were = vault.catalog.were_shredded(&wanted).await?;
        shredded.extend(named.iter().zip(were).filter(|(_, was)| *was).map(|((at, _), _)| *at));
    }
    let refusal = |at| if shredded.contains(&at) { Refusal::object_shredded() } else { not_found() };
    Ok(missing.iter().map(|(at, _)| (*at, refusal(*at))).collect())
}

/// A look-up as [`crate::catalog::Catalog::were_shredded`] asks.
pub(crate) fn of_lookup(lookup: &Lookup) -> (DatasetId, &str, Option<u64>) {
    (lookup.dataset, lookup.path.as_str(), lookup.generation.map(|generation| generation.0))
}

/// The windows of one object that its range touches, each cut to the range; `None` if the range lies past its end.
fn parts_of(item: u32, asked: &GetItem, object: Arc<ObjectRow>) -> Result<Option<Vec<ReleasePart>>, Error> {
    let layout = Layout::new(object.size).map_err(|_| Error::Integrity("an object's size is out of bounds".into()))?;
    let range = asked.segments(&layout);
    let Some(range) = range else { return Ok(None) };
    let windows = layout.window_of(range.start())..=layout.window_of(range.end() - 1);
    let parts = windows.filter_map(|window| {
        let range = layout.window(window).intersect(range)?;
        let bytes = layout.plain_bytes(range);
        Some(ReleasePart { item, object: object.clone(), range, bytes })
    });
    Ok(Some(parts.collect()))
}

/// Groups parts into steps of at most one window's worth of segments, and of no more bytes than a minute allows: many small
/// objects are one entry and one parcel.
fn steps(parts: Vec<ReleasePart>, rate: u64) -> Vec<Vec<ReleasePart>> {
    let mut steps: Vec<Vec<ReleasePart>> = Vec::new();
    let (mut segments, mut bytes) = (0, 0_u64);
    for part in parts {
        let count = part.range.count();
        let joins = steps.last().and_then(|step| step.last()).is_some_and(|last| last.item != part.item)
            && segments + count <= WINDOW_SEGMENTS
            && bytes.saturating_add(part.bytes) <= rate;
        match steps.last_mut() {
            Some(step) if joins => {
                segments += count;
                bytes += part.bytes;
                step.push(part);
            }
            _ => {
                (segments, bytes) = (count, part.bytes);
                steps.push(vec![part]);
            }
        }
    }
    steps
}
