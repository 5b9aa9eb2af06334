//! Puts: each object of a call succeeds or fails by itself, the call as a whole is allowed or not.

use std::borrow::Cow;
use std::collections::HashSet;

use strongroom_core::call::Condition;
use strongroom_core::grant::{Action, Place, Refusal, Usage};
use strongroom_core::ids::{Generation, GrantId, Index, ObjectId, PutId};
use strongroom_core::ledger::entry::MAX_PUTS;
use strongroom_core::ledger::{Entry, Event, PutFact, charge};
use strongroom_core::reason::Reason;

use super::release::other_request;
use super::{Draft, Drafting, Verdict};
use crate::catalog::PathRow;
use crate::catalog::objects::Facts;
use crate::catalog::requests::RequestKey;
use crate::catalog::uploads::UploadState;
use crate::recorder::attempt::{NewObject, Put, PutOutcome, Visible};
use crate::recorder::gather::KnownPut;
use crate::recorder::private::Part;
use crate::recorder::request::Request;

/// What is to become of an object if the call is allowed.
enum Plan {
    /// It was put before by the same put.
    Was(Visible),
    /// It becomes this generation of its path.
    Becomes(Generation),
    /// It fails.
    Fails(Refusal),
}

impl Plan {
    /// That its upload is no more, if it fails for that.
    fn given_up(&self) -> Option<&Refusal> {
        match self {
            Self::Fails(refusal) => Some(refusal).filter(|refusal| refusal.reason == Reason::Unavailable),
            _ => None,
        }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn put(&mut self, put: &'a Put, key: RequestKey, part: &Part) -> Drafting<Verdict> {
        let call = &put.call;
        let request = self.known.requests.get(&key);
        let mismatch = request.is_some_and(|request| request.digest != call.request_digest);
        let is_first = request.is_none();
        let obstacle = put.obstacle.clone().or_else(|| mismatch.then(other_request));
        let places: Vec<Place<'_>> = put.objects.iter().map(|object| place(object, Action::Write)).collect();
        // The scope first: what stands at a path is nobody's business outside it.
        if let Err(refusal) = self.question(call, &places, Usage::default(), obstacle.as_ref())? {
            return self.refuse(call, refusal);
        }
        if put.objects.is_empty() {
            return self.refuse(call, Refusal::new(Reason::InvalidArgument, "the call puts nothing"));
        }
        let plans = self.plan(put)?;
        let given_up = plans.iter().find_map(Plan::given_up);
        if let Some(refusal) = given_up {
            // All of a call is one upload. Nothing was decided against anybody, so there is nothing to record.
            return Ok(Verdict::Refused { refusal: refusal.clone(), index: None });
        }
        let sizes = plans.iter().zip(&put.objects).filter(|(plan, _)| matches!(plan, Plan::Becomes(_)));
        let sizes: Vec<u64> = sizes.map(|(_, object)| object.size).collect();
        if sizes.is_empty() {
            return self.nothing_new(put, plans);
        }
        let cost = charge::of_put(sizes, is_first);
        let chain = match self.question(call, &places, cost, None)? {
            Ok(allowed) => allowed.chain,
            Err(refusal) => return self.refuse(call, refusal),
        };
        self.enter(call, None)?;
        let (index, outcomes) = self.write_puts(put, plans, &chain, part)?;
        self.charge(&chain, cost);
        let now = self.now;
        let request = self.known.requests.entry(key).or_insert_with(|| Request::new(now, call.request_digest));
        request.newest = now;
        self.requested.insert(key);
        Ok(Verdict::Put { index, outcomes })
    }

    /// What is to become of each object. One path may come twice, so the paths are changed on the way, and changed back.
    fn plan(&mut self, put: &'a Put) -> Drafting<Vec<Plan>> {
        let mut undo: Vec<(usize, PathRow)> = Vec::with_capacity(put.objects.len());
        let (mut puts, mut ids): (HashSet<PutId>, HashSet<ObjectId>) = Default::default();
        let mut plans = Vec::with_capacity(put.objects.len());
        let chain: Vec<GrantId> = self.chain(put.call.grant())?.iter().map(|held| held.grant.id).collect();
        for object in &put.objects {
            let plan = match self.known.puts.get(&object.put) {
                Some(known) => was_put(known, object, put),
                None => match self.check(object, &chain, &puts, &ids)? {
                    Err(refusal) => Plan::Fails(refusal),
                    Ok(slot) => {
                        puts.insert(object.put);
                        ids.insert(object.header.object_id());
                        let path = &mut self.known.slots.all[slot].is;
                        undo.push((slot, *path));
                        let generation = path.next();
                        // Where it will be named is known once its entry has a place.
                        path.visible = Some((generation, Index(0), 0));
                        Plan::Becomes(generation)
                    }
                },
            };
            plans.push(plan);
        }
        undo.into_iter().rev().for_each(|(slot, was)| self.known.slots.all[slot].is = was);
        Ok(plans)
    }

    /// Whether an object may become visible; returns its path's slot.
    fn check(
        &self,
        object: &NewObject,
        chain: &[GrantId],
        puts: &HashSet<PutId>,
        ids: &HashSet<ObjectId>,
    ) -> Drafting<Result<usize, Refusal>> {
        let precondition = |words: &'static str| Ok(Err(Refusal::new(Reason::PreconditionFailed, words)));
        let dataset = self.authority.dataset(&object.dataset_name);
        let slot = self.known.slots.find(object.dataset, object.path.as_str());
        let (Some(slot), true) = (slot, dataset.is_some_and(|dataset| dataset.id == object.dataset)) else {
            return Ok(Err(Refusal::new(Reason::NotFound, format!("no dataset {}", object.dataset_name))));
        };
        if !self.authority.has_key(object.key_version) {
            let words = "the version of the tenant's key that the object was wrapped with was destroyed meanwhile: send it again";
            return Ok(Err(Refusal::new(Reason::Unavailable, words)));
        }
        let visible = self.known.slots.all[slot].is.visible.map(|(generation, ..)| generation);
        match object.condition {
            Condition::Absent if visible.is_some() => return precondition("something is there already"),
            Condition::Generation(wanted) | Condition::Rekey(wanted) if visible != Some(wanted) => {
                return precondition("another generation is there, or none");
            }
            _ => {}
        }
        if let (Condition::Rekey(_), Some((_, index, ordinal))) =
            (object.condition, self.known.slots.all[slot].is.visible)
            && self.known.sizes.get(&(index, ordinal)) != Some(&object.size)
        {
            return precondition(
                "what is there has another size: an object gets a new key with the content that it has",
            );
        }
        if visible.is_some() {
            let may = |id: &GrantId| match self.known.grants.get(id) {
                Some(Ok(grant)) => grant.covers(Action::Overwrite, &object.dataset_name, &object.path),
                _ => false,
            };
            if !chain.iter().all(may) {
                return precondition("something is there already, and the grant does not allow to overwrite it");
            }
        }
        let id = object.header.object_id();
        if puts.contains(&object.put) {
            return precondition("the call has this put id twice");
        }
        if self.known.ids.contains(&id) || ids.contains(&id) {
            return precondition("this object id was used before: seal the object anew");
        }
        match self.known.uploads.get(&object.blob) {
            Some(UploadState::Open | UploadState::Committed) => Ok(Ok(slot)),
            // No fault of the caller's, who may send it again.
            _ => Ok(Err(Refusal::new(Reason::Unavailable, "the upload was idle for too long and was given up"))),
        }
    }

    /// All was there before, or failed: nothing becomes visible.
    fn nothing_new(&mut self, put: &'a Put, plans: Vec<Plan>) -> Drafting<Verdict> {
        let outcomes: Vec<PutOutcome> = plans
            .into_iter()
            .map(|plan| match plan {
                Plan::Was(visible) => Ok(visible),
                Plan::Fails(refusal) => Err(refusal),
                Plan::Becomes(_) => Err(Refusal::new(Reason::Internal, "it was not decided")),
            })
            .collect();
        let was = outcomes.iter().flatten().next().map(|visible| visible.index);
        let index = match (was, outcomes.iter().find_map(|outcome| outcome.as_ref().err())) {
            (Some(index), _) => index,
            (None, Some(refusal)) => match self.refuse(&put.call, refusal.clone())? {
                Verdict::Refused { index: Some(index), .. } => index,
                _ => newest(self.head.size()),
            },
            (None, None) => newest(self.head.size()),
        };
        Ok(Verdict::Put { index, outcomes })
    }

    /// Appends the entries and the objects' rows.
    fn write_puts(
        &mut self,
        put: &'a Put,
        plans: Vec<Plan>,
        chain: &[GrantId],
        part: &Part,
    ) -> Drafting<(Index, Vec<PutOutcome>)> {
        let call = &put.call;
        let mut outcomes: Vec<PutOutcome> = Vec::with_capacity(plans.len());
        let event = if call.signed.call.rekeys() { Event::ObjectRekeyed } else { Event::ObjectPut };
        let first = self.head.size();
        let mut facts: Vec<PutFact> = Vec::new();
        let names = put.objects.iter().map(|object| object.path.as_str().len() + object.dataset_name.as_str().len());
        self.writes.objects.reserve(put.objects.len(), names.sum());
        let mut fresh = plans.iter().filter(|plan| matches!(plan, Plan::Becomes(_))).count();
        let mut part = Some(part);
        for (plan, object) in plans.into_iter().zip(&put.objects) {
            let generation = match plan {
                Plan::Was(visible) => {
                    outcomes.push(Ok(visible));
                    continue;
                }
                Plan::Fails(refusal) => {
                    outcomes.push(Err(refusal));
                    continue;
                }
                Plan::Becomes(generation) => generation,
            };
            let visible = Visible { generation, index: self.head.size(), ordinal: facts.len() as u32 };
            facts.push(PutFact(object.item, generation, object.size, object.content_root));
            self.make_visible(put, object, visible);
            outcomes.push(Ok(visible));
            fresh -= 1;
            if facts.len() == MAX_PUTS || fresh == 0 {
                let puts = std::mem::take(&mut facts);
                let entry = Entry { puts, ..self.call_entry(event, call, chain.to_vec()) };
                match part.take() {
                    Some(part) => self.append(entry, part)?,
                    None => {
                        let later = self.later_part(call)?;
                        self.append(entry, &later)?
                    }
                };
            }
        }
        Ok((first, outcomes))
    }

    fn make_visible(&mut self, put: &'a Put, object: &'a NewObject, visible: Visible) {
        let facts = Facts {
            dataset: object.dataset,
            dataset_name: &object.dataset_name,
            path: &object.path,
            generation: visible.generation,
            header: object.header,
            size: object.size,
            content_root: object.content_root,
            put: object.put,
            holder: put.call.caller.key,
            index: visible.index,
            ordinal: visible.ordinal,
            created: self.now,
            canary: false,
        };
        let many = put.objects.len() > 1;
        let (wrapped, place) = ((object.key_version, &object.wrapped, many), (&object.blob[..], object.offset));
        self.writes.objects.push(&self.tenant.ledger_key, &facts, wrapped, place);
        self.writes.reopens_rewrap |= object.key_version < self.authority.key_version();
        if let Some(slot) = self.known.slots.find(object.dataset, object.path.as_str()) {
            let now = (visible.generation, visible.index, visible.ordinal);
            if let Some(old) = self.known.slots.all[slot].is.visible.replace(now) {
                let rekeyed = matches!(object.condition, Condition::Rekey(_));
                self.writes.paths.supersede(&object.dataset, object.path.as_str(), old, rekeyed);
            }
        }
        if self.known.keeps_sizes {
            self.known.sizes.insert((visible.index, visible.ordinal), object.size);
        }
        *self.blobs.entry(&object.blob).or_default() += 1;
        self.known.ids.insert(object.header.object_id());
        let known = KnownPut {
            holder: put.call.caller.key,
            dataset: object.dataset,
            path: Cow::Borrowed(&object.path),
            content_root: object.content_root,
            visible,
        };
        self.known.puts.insert(object.put, known);
    }
}

fn place(object: &NewObject, action: Action) -> Place<'_> {
    Place { action, dataset: &object.dataset_name, path: &object.path }
}

fn newest(size: Index) -> Index {
    Index(size.0.saturating_sub(1))
}

/// A put id that is known: the same put is answered as before.
fn was_put(known: &KnownPut<'_>, object: &NewObject, put: &Put) -> Plan {
    let same = known.holder == put.call.caller.key
        && known.dataset == object.dataset
        && *known.path == object.path
        && known.content_root == object.content_root;
    if same {
        Plan::Was(known.visible)
    } else {
        Plan::Fails(Refusal::new(Reason::PreconditionFailed, "this put id was used for something else"))
    }
}
