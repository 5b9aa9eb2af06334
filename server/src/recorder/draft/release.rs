//! Releases: what is new is charged, what the same request had already is a repeat.

use strongroom_core::grant::{Action, Place, Refusal};
use strongroom_core::ids::{DatasetId, Index};
use strongroom_core::ledger::{Entry, Event, ObjectRef, charge};
use strongroom_core::reason::Reason;

use super::{Draft, Drafting, Verdict};
use crate::catalog::requests::RequestKey;
use crate::recorder::attempt::{Release, ReleasePart};
use crate::recorder::private::Part;
use crate::recorder::request::{Had, Request};

impl<'a> Draft<'a> {
    pub(super) fn release(&mut self, release: &'a Release, key: RequestKey, part: &Part) -> Drafting<Verdict> {
        let call = &release.call;
        let (repeated, fresh, obstacle) = self.sort_parts(release, &key);
        let known = self.known.requests.get(&key);
        let costs = fresh.iter().map(|part| (part.bytes, known.is_none_or(|request| !request.has_item(part.item))));
        let cost = charge::of_release(costs, known.is_none());
        // All that the call names is decided before its first entry, so that nobody learns what lies outside their scope from
        // how the call goes on; after that, what is released.
        let is_first = !call.recorded.load(std::sync::atomic::Ordering::Acquire);
        let (places, all) = match is_first || release.parts.is_empty() {
            true => call.read_places(),
            false => (named(&release.parts), true),
        };
        let charge = if fresh.is_empty() { Default::default() } else { cost };
        // An object id that stands for nothing reads to a grantee like one that is out of scope; an admin may know.
        let hides = !all && call.grant().is_some();
        let obstacle = if hides { Some(Refusal::out_of_scope()) } else { obstacle };
        let allowed = match self.question(call, &places, charge, obstacle.as_ref())? {
            Err(ended) if hides && matches!(ended.reason, Reason::GrantExpired | Reason::GrantRevoked) => {
                return self.refuse(call, Refusal::out_of_scope());
            }
            Ok(allowed) if !release.parts.is_empty() => allowed,
            Ok(_) => return self.refuse(call, Refusal::new(Reason::InvalidArgument, "the call asks for nothing")),
            Err(refusal) => return self.refuse(call, refusal),
        };
        self.enter(call, None)?;
        let mut index = None;
        let mut part = Some(part);
        for (event, parts) in [(Event::ReleaseRepeat, &repeated), (Event::Release, &fresh)] {
            if parts.is_empty() {
                continue;
            }
            let objects = parts.iter().map(|part| object_ref(part)).collect();
            let entry = Entry { objects, ..self.call_entry(event, call, allowed.chain.clone()) };
            index = Some(match part.take() {
                Some(part) => self.append(entry, part)?,
                None => {
                    let later = self.later_part(call)?;
                    self.append(entry, &later)?
                }
            });
        }
        self.charge(&allowed.chain, charge);
        let now = self.now;
        let request = self.known.requests.entry(key).or_insert_with(|| Request::new(now, call.request_digest));
        request.newest = now;
        request.release(fresh.iter().copied());
        self.requested.insert(key);
        // Of two entries the later one: both stand below any revocation that comes after.
        Ok(Verdict::Released { index: index.unwrap_or(Index(0)), repeat: fresh.is_empty() })
    }

    /// Which parts the request had, which are new, and what the objects' state says against the step.
    fn sort_parts(
        &self,
        release: &'a Release,
        key: &RequestKey,
    ) -> (Vec<&'a ReleasePart>, Vec<&'a ReleasePart>, Option<Refusal>) {
        let request = self.known.requests.get(key);
        let mut obstacle = release.obstacle.clone();
        if obstacle.is_none() && self.authority.has_shreds() && release.parts.iter().any(|part| self.is_shredded(part))
        {
            obstacle = Some(Refusal::object_shredded());
        }
        if obstacle.is_none() && self.any_hidden(release) {
            obstacle = Some(Refusal::new(Reason::NotFound, "an object was deleted meanwhile"));
        }
        let (mut repeated, mut fresh) = (Vec::new(), Vec::with_capacity(release.parts.len()));
        match request {
            Some(request) if request.digest != release.call.request_digest => {
                obstacle = obstacle.or_else(|| Some(other_request()));
            }
            Some(request) => {
                for part in &release.parts {
                    match request.had(part) {
                        Had::All => repeated.push(part),
                        Had::Nothing => fresh.push(part),
                        Had::Some => {
                            let words = "the request had another part of this window";
                            obstacle = obstacle.or_else(|| Some(Refusal::new(Reason::PreconditionFailed, words)));
                        }
                    }
                }
            }
            None => fresh.extend(&release.parts),
        }
        (repeated, fresh, obstacle)
    }

    fn is_shredded(&self, part: &ReleasePart) -> bool {
        let object = &part.object;
        self.authority.shredded(&object.dataset, object.path.as_str(), object.index).is_some()
    }

    fn any_hidden(&self, release: &Release) -> bool {
        let look = release.hides != self.base.hides || self.head.hides != self.base.hides;
        let mut last: Option<(DatasetId, bool)> = None;
        release.parts.iter().any(|part| {
            let object = &part.object;
            let there = match last {
                Some((dataset, there)) if dataset == object.dataset => there,
                _ => {
                    let dataset = self.authority.dataset(&object.dataset_name);
                    dataset.is_some_and(|dataset| dataset.id == object.dataset)
                }
            };
            last = Some((object.dataset, there));
            let slot = || self.known.slots.find(object.dataset, object.path.as_str());
            let hidden = |slot: usize| object.generation <= self.known.slots.all[slot].is.through;
            !there || (look && slot().is_some_and(hidden))
        })
    }
}

pub(super) fn other_request() -> Refusal {
    Refusal::new(Reason::PreconditionFailed, "the request id was used for another request within 15 minutes")
}

fn named(parts: &[ReleasePart]) -> Vec<Place<'_>> {
    parts
        .iter()
        .map(|part| Place { action: Action::Read, dataset: &part.object.dataset_name, path: &part.object.path })
        .collect()
}

fn object_ref(part: &ReleasePart) -> ObjectRef {
    ObjectRef(part.item, part.object.index, part.object.ordinal, part.range.start(), part.range.end(), part.bytes)
}
