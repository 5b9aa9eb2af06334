//! Deletes: what is visible at a path is hidden, with all generations before it.

use strongroom_core::call::{DeleteItem, Work};
use strongroom_core::grant::{Action, Place, Refusal, Usage};
use strongroom_core::ids::{Generation, Index};
use strongroom_core::ledger::{Entry, Event, ObjectRef, charge};
use strongroom_core::reason::Reason;
use strongroom_core::sealed::layout::Layout;

use super::release::other_request;
use super::{Draft, Drafting, Verdict};
use crate::catalog::PathRow;
use crate::catalog::requests::RequestKey;
use crate::recorder::RecordError;
use crate::recorder::attempt::{Delete, Hidden};
use crate::recorder::private::Part;
use crate::recorder::request::Request;

/// An item that can be hidden: its path's slot, its generation, and how it stands in the entry.
type Target = (usize, Generation, ObjectRef);

impl<'a> Draft<'a> {
    pub(super) fn delete(&mut self, delete: &'a Delete, key: RequestKey, part: &Part) -> Drafting<Verdict> {
        let call = &delete.call;
        let Work::Delete(items) = &call.signed.call.work else {
            return self.refuse(call, Refusal::new(Reason::InvalidArgument, "the call is not one to delete"));
        };
        let request = self.known.requests.get(&key);
        let before = request.map(|request| (request.digest == call.request_digest, request.hidden.clone()));
        let mismatch = before.as_ref().is_some_and(|(same, _)| !same);
        let obstacle = delete.obstacle.clone().or_else(|| mismatch.then(other_request));
        let places: Vec<Place<'_>> = items
            .iter()
            .map(|item| Place { action: Action::Delete, dataset: &item.dataset, path: &item.path })
            .collect();
        if let Err(refusal) = self.question(call, &places, Usage::default(), obstacle.as_ref())? {
            return self.refuse(call, refusal);
        }
        if let Some((_, outcomes)) = before {
            // The same request: what it came to, it came to.
            let hidden = outcomes.iter().flatten().next().map(|hidden| hidden.index);
            let index = hidden.unwrap_or(Index(self.head.size().0.saturating_sub(1)));
            return Ok(Verdict::Deleted { index, outcomes });
        }
        let targets = match self.targets(items) {
            Ok(targets) => targets,
            Err(error) => return Ok(Verdict::Failed(error)),
        };
        let count = targets.iter().flatten().count();
        let cost = charge::of_delete(count as u64, true);
        let first = targets.iter().find_map(|target| target.as_ref().err()).filter(|_| count == 0).cloned();
        let allowed = match self.question(call, &places, if count == 0 { Usage::default() } else { cost }, None)? {
            Ok(allowed) => allowed,
            Err(refusal) => return self.refuse(call, refusal),
        };
        if let Some(refusal) = first {
            let index = match self.refuse(call, refusal)? {
                Verdict::Refused { index: Some(index), .. } => index,
                _ => Index(self.head.size().0.saturating_sub(1)),
            };
            let outcomes = targets.into_iter().filter_map(Result::err).map(Err).collect();
            return Ok(Verdict::Deleted { index, outcomes });
        }
        self.enter(call, None)?;
        let objects = targets.iter().flatten().map(|(_, _, object)| *object).collect();
        let entry = Entry { objects, ..self.call_entry(Event::ObjectDeleted, call, allowed.chain.clone()) };
        let index = self.append(entry, part)?;
        let mut outcomes = Vec::with_capacity(targets.len());
        for target in targets {
            outcomes.push(target.map(|(slot, generation, _)| {
                self.hide(slot);
                Hidden { generation, index }
            }));
        }
        self.charge(&allowed.chain, cost);
        let mut request = Request::new(self.now, call.request_digest);
        request.hidden.clone_from(&outcomes);
        self.known.requests.insert(key, request);
        self.requested.insert(key);
        Ok(Verdict::Deleted { index, outcomes })
    }

    /// What each item would hide. One path may come twice: the second time nothing is there.
    fn targets(&self, items: &[DeleteItem]) -> Result<Vec<Result<Target, Refusal>>, RecordError> {
        let mut taken = std::collections::HashSet::new();
        let missing = || Ok(Err(Refusal::new(Reason::NotFound, "no such object")));
        let target = |(at, item): (u32, &DeleteItem)| {
            let Some(dataset) = self.authority.dataset(&item.dataset) else { return missing() };
            let Some(slot) = self.known.slots.find(dataset.id, item.path.as_str()) else { return missing() };
            let is = &self.known.slots.all[slot].is;
            let Some((generation, index, ordinal)) = is.visible else {
                let shredded = is.shredded.0 > 0 && is.shredded == is.through;
                return if shredded { Ok(Err(Refusal::object_shredded())) } else { missing() };
            };
            if taken.contains(&slot) {
                return missing();
            }
            if item.generation.is_some_and(|wanted| wanted != generation) {
                return Ok(Err(Refusal::new(Reason::PreconditionFailed, "another generation is there")));
            }
            let astray =
                || RecordError::Integrity(format!("the object put as entry {index}, ordinal {ordinal}, is astray"));
            let size = *self.known.sizes.get(&(index, ordinal)).ok_or_else(astray)?;
            let layout = Layout::new(size).map_err(|_| astray())?;
            taken.insert(slot);
            let object = ObjectRef(at, index, ordinal, 0, layout.segments(), size);
            Ok(Ok((slot, generation, object)))
        };
        (0..).zip(items).map(target).collect()
    }

    fn hide(&mut self, slot: usize) {
        let path = &mut self.known.slots.all[slot].is;
        if let Some((_, index, ordinal)) = path.visible {
            self.writes.paths.retire(index, ordinal, false);
        }
        *path = PathRow { visible: None, through: path.next(), ..*path };
    }
}
