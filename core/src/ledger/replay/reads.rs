//! Releases: each part against the object that was put and against what was asked for, then the decision.

use super::calls::{Asked, Part};
use super::objects::Object;
use super::rule::Check;
use super::{Proof, Replay, Rule, source_of};
use crate::call::{GetItem, Work};
use crate::grant::{Action, Place};
use crate::ids::{Index, SegmentRange};
use crate::ledger::{Entry, ObjectRef, Private, charge};
use crate::names::{DatasetName, ObjectPath};
use crate::sealed::layout::Layout;

/// One object of a release, checked.
struct Checked {
    part: Part,
    bytes: u64,
    /// Where it lies; none if that was erased.
    place: Option<(DatasetName, ObjectPath)>,
}

impl Replay {
    pub(super) fn release(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Proof> {
        let asked = self.call(entry, private)?;
        let checked = self.check_parts(entry, &asked)?;
        let request = self.request(entry, &asked)?;
        let mut charged = Vec::with_capacity(checked.len());
        for Checked { part, bytes, .. } in &checked {
            charged.push((*bytes, !request.has_item(part.place.0)));
            let once = request.insert(*part);
            Rule::WindowOnce.unless(once, || format!("item {} had window {}", part.place.0, part.place.3))?;
        }
        let cost = charge::of_release(charged, !std::mem::replace(&mut request.used, true));
        self.decide_read(entry, &asked, &checked, cost, source_of(private))
    }

    /// Keys that a request had already: authorised again, and not charged.
    pub(super) fn repeat(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Proof> {
        let asked = self.call(entry, private)?;
        let checked = self.check_parts(entry, &asked)?;
        let request = self.request(entry, &asked)?;
        for Checked { part, .. } in &checked {
            let had = request.part(part.place).is_some_and(|had| contains(had.segments, part.segments));
            Rule::RepeatOfRelease.unless(had, || format!("item {} had no window {}", part.place.0, part.place.3))?;
        }
        self.decide_read(entry, &asked, &checked, crate::grant::Usage::default(), source_of(private))
    }

    fn decide_read(
        &mut self,
        entry: &Entry,
        asked: &Asked,
        checked: &[Checked],
        cost: crate::grant::Usage,
        source: crate::grant::Source,
    ) -> Check<Proof> {
        let known = |checked: &Checked| checked.place.clone();
        let places: Vec<(DatasetName, ObjectPath)> = checked.iter().filter_map(known).collect();
        let all_known = places.len() == checked.len();
        let places: Vec<Place<'_>> =
            places.iter().map(|(dataset, path)| Place { action: Action::Read, dataset, path }).collect();
        let proof = self.decide(entry, asked, &places, cost, source)?;
        Ok(proof.and(asked.proof).and(Proof::whole_if(all_known)))
    }

    fn check_parts(&self, entry: &Entry, asked: &Asked) -> Check<Vec<Checked>> {
        let mut items = std::collections::HashSet::with_capacity(entry.objects.len());
        let check = |part: &ObjectRef| {
            Rule::WindowOnce.unless(items.insert(part.0), || format!("item {} is there twice", part.0))?;
            self.check_part(asked, part)
        };
        entry.objects.iter().map(check).collect()
    }

    fn check_part(&self, asked: &Asked, part: &ObjectRef) -> Check<Checked> {
        let ObjectRef(item, index, ordinal, start, end, bytes) = *part;
        let unknown = || Rule::ObjectKnown.broken(format!("{index}.{ordinal} was not"));
        let object = self.objects.object(index, ordinal).ok_or_else(unknown)?;
        let layout = Layout::new(object.size).map_err(|error| Rule::PutFact.broken(error.to_string()))?;
        let range = SegmentRange::new(start, end).filter(|range| layout.is_within_window(*range));
        let range = range.ok_or_else(|| Rule::Segments.broken(format!("{start}..{end} are not")))?;
        let plain = layout.plain_bytes(range);
        Rule::Bytes.unless(plain == bytes, || format!("they are {plain}"))?;
        if let Some(call) = &asked.call {
            let (Work::Get(items) | Work::ReleaseKeys(items)) = &call.work else {
                return Err(Rule::CallEvent.broken("it does not ask to read"));
            };
            let asked = usize::try_from(item).ok().and_then(|item| items.get(item));
            let asked = asked.ok_or_else(|| Rule::ItemKnown.broken(format!("there is no item {item}")))?;
            self.check_asked(asked, object, &layout, range)?;
        }
        self.check_visible(object, index)?;
        let place = object.path.map(|id| self.objects.path(id)).map(|path| (path.dataset.clone(), path.path.clone()));
        let place_in_request = (item, index.0, ordinal, layout.window_of(start));
        Ok(Checked { part: Part { place: place_in_request, segments: (start, end) }, bytes, place })
    }

    /// Whether an item asks for these segments of this object.
    fn check_asked(&self, item: &GetItem, object: Object, layout: &Layout, range: SegmentRange) -> Check {
        if let Some(path) = object.path.map(|id| self.objects.path(id)) {
            let same = path.dataset == item.dataset && item.path.as_ref().is_none_or(|asked| path.path == *asked);
            Rule::ObjectAsked.unless(same, || format!("it asks for another object of {}", item.dataset))?;
        }
        // The id goes with the path: where a put's call was erased, neither is known.
        if let (Some(asked), Some(id)) = (item.id, object.id) {
            Rule::ObjectAsked.unless(asked == id, || format!("it asks for object {asked}"))?;
        }
        let same = item.generation.is_none_or(|generation| generation == object.generation);
        Rule::ObjectAsked.unless(same, || format!("it asks for another generation than {}", object.generation))?;
        let asked = item.segments(layout);
        let inside = asked.is_some_and(|asked| asked.intersect(range) == Some(range));
        Rule::SegmentsAsked.unless(inside, || format!("it asks for {asked:?}"))
    }

    pub(super) fn check_visible(&self, object: Object, put: Index) -> Check {
        let Some(path) = object.path.map(|id| self.objects.path(id)) else { return Ok(()) };
        let there = self.blind || self.authority.dataset(&path.dataset).is_some();
        Rule::Visible.unless(there, || format!("dataset {} is", path.dataset))?;
        let visible = object.generation > path.hidden_through;
        Rule::Visible.unless(visible, || format!("generation {} of {} is", object.generation, path.path))?;
        let shredded = self.authority.shredded_in(&path.dataset, path.path.as_str(), put);
        Rule::Shredded.unless(shredded.is_none(), || format!("generation {} of {} is", object.generation, path.path))
    }
}

fn contains(outer: (u32, u32), inner: (u32, u32)) -> bool {
    outer.0 <= inner.0 && inner.1 <= outer.1
}
