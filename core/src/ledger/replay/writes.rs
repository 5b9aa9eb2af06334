//! Puts and deletes: what became visible is what was signed, and what was hidden is what was visible.

use super::calls::Part;
use super::objects::{Object, Path, PathId};
use super::rule::Check;
use super::{Proof, Replay, Rule, source_of};
use crate::call::{Condition, DeleteItem, PutItem, Work};
use crate::grant::{Action, Place};
use crate::ids::{Generation, Index};
use crate::ledger::{Entry, ObjectRef, Private, PutFact, charge};
use crate::names::{DatasetName, ObjectPath};
use crate::sealed::layout::Layout;

impl Replay {
    pub(super) fn put(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Proof> {
        let asked = self.call(entry, private)?;
        let call = asked.call.clone();
        let mut places = Vec::with_capacity(entry.puts.len());
        let mut proof = asked.proof;
        for fact in &entry.puts {
            Rule::PutFact.unless(Layout::new(fact.2).is_ok(), || format!("{} bytes are too many", fact.2))?;
            let Some(call) = &call else {
                self.objects.add(entry.index, Object { path: None, id: None, generation: fact.1, size: fact.2 });
                self.objects.has_gaps = true;
                continue;
            };
            let Work::Put(items) = &call.work else { return Err(Rule::CallEvent.broken("it does not ask to put")) };
            let item = usize::try_from(fact.0).ok().and_then(|item| items.get(item));
            let item = item.ok_or_else(|| Rule::ItemKnown.broken(format!("there is no item {}", fact.0)))?;
            let (overwrites, of_item) = self.put_item(entry.index, item, fact)?;
            proof = proof.and(of_item);
            let place = |action| Place { action, dataset: &item.dataset, path: &item.path };
            places.push(place(Action::Write));
            places.extend(overwrites.then(|| place(Action::Overwrite)));
        }
        let request = self.request(entry, &asked)?;
        let first = !std::mem::replace(&mut request.used, true);
        let cost = charge::of_put(entry.puts.iter().map(|fact| fact.2), first);
        Ok(self.decide(entry, &asked, &places, cost, source_of(private))?.and(proof))
    }

    /// Makes one object visible; returns whether it overwrites another.
    fn put_item(&mut self, index: Index, item: &PutItem, fact: &PutFact) -> Check<(bool, Proof)> {
        let PutFact(_, generation, size, root) = *fact;
        let same = size == item.size && root == item.content_root;
        Rule::PutFact.unless(same, || format!("{} bytes, {}", item.size, item.content_root))?;
        Rule::PutOnce.unless(self.objects.use_put(item.put), || format!("{} was used before", item.put))?;
        let id = item.header.object_id();
        Rule::ObjectIdOnce.unless(self.objects.use_id(id), || format!("{id} was used before"))?;
        let Some(dataset) = self.authority.dataset(&item.dataset).map(|dataset| dataset.id) else {
            Rule::DatasetThere.unless(self.blind, || format!("there is no {}", item.dataset))?;
            self.objects.has_gaps = true;
            self.objects.add(index, Object { path: None, id: Some(id), generation, size });
            return Ok((false, Proof::Erased));
        };
        let path_id = self.objects.enter_path(dataset, &item.dataset, &item.path);
        let path = self.objects.path(path_id);
        let (visible, place) = self.visible(path).unzip();
        let next = Generation(path.last.0 + 1);
        let has_gaps = self.objects.has_gaps;
        let holds = match item.condition {
            Condition::Any => true,
            Condition::Absent => visible.is_none(),
            Condition::Generation(wanted) | Condition::Rekey(wanted) => visible == Some(wanted),
        };
        Rule::Condition.unless(holds || has_gaps, || format!("{:?}, and {visible:?} is there", item.condition))?;
        if let (Condition::Rekey(_), Some((index, ordinal))) = (item.condition, place) {
            let was = self.objects.object(index, ordinal).map(|object| object.size);
            let same = was.is_none_or(|was| was == size);
            Rule::Rekey.unless(same, || format!("{} had {was:?} bytes, not {size}", item.path))?;
        }
        let fits = generation == next || (has_gaps && generation > next);
        Rule::NextGeneration.unless(fits, || format!("the next of {} is {next}", item.path))?;
        self.objects.add(index, Object { path: Some(path_id), id: Some(id), generation, size });
        Ok((visible.is_some(), Proof::whole_if(!has_gaps)))
    }

    /// The object that a read without a generation gets: neither hidden nor shredded.
    fn visible(&self, path: &Path) -> Option<(Generation, (Index, u32))> {
        let is_left = |(_, (put, _)): &_| self.authority.shredded_in(&path.dataset, path.path.as_str(), *put).is_none();
        path.visible().filter(is_left)
    }

    pub(super) fn delete(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Proof> {
        let asked = self.call(entry, private)?;
        let call = asked.call.clone();
        let mut places: Vec<(DatasetName, ObjectPath)> = Vec::with_capacity(entry.objects.len());
        let mut proof = asked.proof;
        for part in &entry.objects {
            let item = match &call {
                None => None,
                Some(call) => {
                    let Work::Delete(items) = &call.work else {
                        return Err(Rule::CallEvent.broken("it does not ask to delete"));
                    };
                    let item = usize::try_from(part.0).ok().and_then(|item| items.get(item));
                    Some(item.ok_or_else(|| Rule::ItemKnown.broken(format!("there is no item {}", part.0)))?)
                }
            };
            match self.delete_item(item, part)? {
                Some(path) => {
                    let path = self.objects.path(path);
                    places.push((path.dataset.clone(), path.path.clone()));
                }
                None => proof = Proof::Erased,
            }
        }
        let request = self.request(entry, &asked)?;
        for part in &entry.objects {
            let once = !request.has_item(part.0);
            Rule::DeleteOnce.unless(once, || format!("item {} was hidden before", part.0))?;
            request.insert(Part { place: (part.0, part.1.0, part.2, 0), segments: (part.3, part.4) });
        }
        let first = !std::mem::replace(&mut request.used, true);
        let cost = charge::of_delete(entry.objects.len() as u64, first);
        let places: Vec<Place<'_>> =
            places.iter().map(|(dataset, path)| Place { action: Action::Delete, dataset, path }).collect();
        Ok(self.decide(entry, &asked, &places, cost, source_of(private))?.and(proof))
    }

    /// Hides one object; returns its path, if that is known.
    fn delete_item(&mut self, item: Option<&DeleteItem>, part: &ObjectRef) -> Check<Option<PathId>> {
        let ObjectRef(_, index, ordinal, start, end, bytes) = *part;
        let unknown = || Rule::ObjectKnown.broken(format!("{index}.{ordinal} was not"));
        let object = self.objects.object(index, ordinal).ok_or_else(unknown)?;
        let layout = Layout::new(object.size).map_err(|error| Rule::PutFact.broken(error.to_string()))?;
        let whole = (start, end, bytes) == (0, layout.segments(), object.size);
        Rule::DeleteVisible
            .unless(whole, || format!("all of it is 0..{}, {} bytes", layout.segments(), object.size))?;
        let Some(path_id) = object.path else {
            // Its path was erased with its put: what else is hidden with it is not known.
            self.objects.has_gaps = true;
            return Ok(None);
        };
        let path = self.objects.path(path_id);
        if let Some(item) = item {
            let same = path.dataset == item.dataset && path.path == item.path;
            Rule::ObjectAsked.unless(same, || format!("it asks for {}/{}", item.dataset, item.path))?;
            let same = item.generation.is_none_or(|generation| generation == object.generation);
            Rule::ObjectAsked.unless(same, || format!("it asks for another generation than {}", object.generation))?;
        }
        let there = self.blind || self.authority.dataset(&path.dataset).is_some();
        let visible = self.visible(path).map(|(_, place)| place) == Some((index, ordinal));
        let visible = visible || (self.objects.has_gaps && object.generation > path.hidden_through);
        Rule::DeleteVisible.unless(there && visible, || format!("{} has another, or none", path.path))?;
        self.objects.hide(path_id);
        Ok(Some(path_id))
    }
}
