//! What comes back to a get, put together and checked frame by frame.
//!
//! The server is not believed: it may give other keys than were asked for, other bytes, more, fewer, or in another order. So
//! what is expected next is always known, and nothing else is taken:
//!
//! ```text
//! parcel   exactly the next parts of the call: item, path, generation, the window cut to what was asked, stable facts
//!   └ digests   all D against the content root, then the window's d against its D      (objects of several segments)
//!       └ data  the next bytes of the part, and no others ─► Piece: whole segments
//!                 └ worker: each segment's digest, and only then opened
//! ```
//!
//! A *part* is what one release covers of one item: a window, cut to the asked range. Parts are counted, so that a broken
//! stream is picked up where it broke: [`Assembly::resume`] says how many are complete. Segments that were handed on before the
//! break come again, since releases are by part, and are dropped.
//!
//! Invariants:
//! - Every deviation is an error and no plaintext; the pieces handed on are only those whose frames fit.
//! - What is held is bounded: [`MAX_WAITING`] parts' keys, the digests of their windows, and less than a piece of data.

mod part;

use std::collections::VecDeque;
use std::sync::Arc;

use strongroom_core::ids::Digest;
use strongroom_core::keys::parcel::{KeyParcel, ParcelObject};
use strongroom_core::reason::Reason;
use strongroom_core::sealed::HEADER_LEN;
use strongroom_core::sealed::content::parse_digests;
use strongroom_proto::{MAX_FRAME, v1};

use crate::error::{Error, Result};
use crate::piece::{Facts, Piece};

pub(crate) use part::{Ask, AskName};
use part::{Object, Part, Place};

/// The most parts whose keys are there and whose data is not: two full parcels.
const MAX_WAITING: usize = 2 * 1024;

/// The most bytes of window digests at a time: an object of 16 TiB has 8 MiB of them.
const MAX_HELD: usize = 32 * 1024 * 1024;

/// The state of a call's answer.
pub(crate) struct Assembly {
    asks: Vec<Ask>,
    items: Vec<Item>,
    /// The part that the next parcel must begin with.
    next: Place,
    /// Parts whose keys are there, in order; the front one is receiving.
    waiting: VecDeque<Part>,
    /// Parts that are complete.
    complete: u64,
    /// The first incomplete part at the last break, and how many of its segments had been handed on.
    handed_on: Option<(Place, u32)>,
    /// Whether the stream was picked up: the vault may have changed in between.
    resumed: bool,
    /// Bytes of window digests that are held, of all items.
    held: usize,
}

enum Item {
    Waiting,
    Known(Box<Object>),
    Failed,
}

impl Assembly {
    pub(crate) fn new(asks: Vec<Ask>) -> Self {
        Self {
            items: asks.iter().map(|_| Item::Waiting).collect(),
            asks,
            next: Place { item: 0, window: 0 },
            waiting: VecDeque::new(),
            complete: 0,
            handed_on: None,
            resumed: false,
            held: 0,
        }
    }

    /// What is known of an item.
    pub(crate) fn facts(&self, item: u32) -> Option<Facts> {
        match self.items.get(item as usize)? {
            Item::Known(object) => Some(object.facts),
            Item::Waiting | Item::Failed => None,
        }
    }

    /// The stream broke: how many parts need not be sent again.
    pub(crate) fn resume(&mut self) -> u64 {
        if let Some(front) = self.waiting.front() {
            self.handed_on = Some((front.place, front.segment.max(front.fresh_from)));
            self.next = front.place;
        }
        self.waiting.clear();
        self.resumed = true;
        // All digests come again.
        self.held = 0;
        for item in &mut self.items {
            if let Item::Known(object) = item {
                object.windows.clear();
            }
        }
        self.complete
    }

    /// How far it is: grows with each part and each segment.
    pub(crate) fn progress(&self) -> (u64, u32) {
        (self.complete, self.waiting.front().map_or(0, |part| part.segment))
    }

    /// Whether everything came.
    pub(crate) fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.next.item as usize >= self.items.len()
    }

    /// The stream ended in order.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.is_complete() { Ok(()) } else { Err(Error::integrity("the answer ends before all of it was sent")) }
    }

    /// Takes in that an item has nothing to release; says whether that is news.
    pub(crate) fn item_error(&mut self, item: u32) -> Result<bool> {
        match self.items.get_mut(item as usize) {
            Some(state @ Item::Waiting) if item >= self.next.item => *state = Item::Failed,
            // Told again by a stream that was picked up.
            Some(Item::Failed) if self.resumed => return Ok(false),
            Some(Item::Known(_)) if self.resumed => return Err(changed()),
            _ => return Err(Error::integrity("an error is told about an item that it cannot concern")),
        }
        self.skip_failed();
        Ok(true)
    }

    /// Takes in released keys that cover the next `parts` parts.
    pub(crate) fn parcel(&mut self, parcel: KeyParcel, parts: u32) -> Result<()> {
        if parcel.objects.len() != parts as usize {
            return Err(Error::integrity("a parcel covers another number of parts than it says"));
        }
        if self.waiting.len() + parcel.objects.len() > MAX_WAITING {
            return Err(Error::integrity("keys come faster than data"));
        }
        parcel.objects.into_iter().try_for_each(|object| self.release(object))
    }

    fn release(&mut self, object: ParcelObject) -> Result<()> {
        let place = self.next;
        let wrong = |what: &str| {
            if self.resumed { changed() } else { Error::integrity(format!("a parcel holds keys of {what}")) }
        };
        let ask = self.asks.get(place.item as usize).ok_or_else(|| wrong("more than was asked for"))?;
        if object.item != place.item {
            return Err(wrong("another item than comes next"));
        }
        if !ask.name.is(&object) {
            return Err(wrong("another object than was asked for"));
        }
        if ask.generation.is_some_and(|asked| asked != object.generation) {
            return Err(wrong("another generation than was asked for"));
        }
        let known = match &self.items[place.item as usize] {
            Item::Known(known) => known,
            Item::Waiting | Item::Failed => {
                let fresh = Box::new(Object::new(ask, &object)?);
                self.items[place.item as usize] = Item::Known(fresh);
                let Item::Known(known) = &self.items[place.item as usize] else {
                    return Err(Error::internal("an item was forgotten"));
                };
                known
            }
        };
        if !known.is(&object) {
            return Err(wrong("an object that has changed"));
        }
        let first = known.layout.window_of(known.segments.start());
        let window = place.window.max(first);
        let last = known.layout.window_of(known.segments.end() - 1);
        let range = known.layout.window(window).intersect(known.segments);
        if range != Some(object.keys.range()) {
            return Err(wrong("another range than comes next"));
        }
        let range = object.keys.range();
        let place = Place { item: place.item, window };
        let blob = known.layout.blob_bytes(range);
        let (before, from) = self.handed_on.unwrap_or((place, range.start()));
        let fresh_from = if before == place { from } else { range.start() };
        self.waiting.push_back(Part {
            place,
            range,
            keys: Arc::new(object.keys),
            digests: Vec::new(),
            checked: None,
            buffer: Vec::new(),
            at: blob.start,
            end: blob.end,
            segment: range.start(),
            fresh_from,
        });
        self.next = if window == last {
            Place { item: place.item + 1, window: 0 }
        } else {
            Place { item: place.item, window: window + 1 }
        };
        self.skip_failed();
        Ok(())
    }

    fn skip_failed(&mut self) {
        while matches!(self.items.get(self.next.item as usize), Some(Item::Failed)) {
            self.next = Place { item: self.next.item + 1, window: 0 };
        }
    }

    /// Takes in digests of a part whose keys are there.
    pub(crate) fn digests(&mut self, digests: &v1::Digests) -> Result<()> {
        let wrong = || Error::integrity("digests come that fit to nothing that is expected");
        let place = Place { item: digests.item, window: digests.window };
        let part = self.waiting.iter_mut().find(|part| part.place == place).ok_or_else(wrong)?;
        let Some(Item::Known(object)) = self.items.get_mut(place.item as usize) else { return Err(wrong()) };
        if !object.layout.has_trailer() || part.checked.is_some() {
            return Err(wrong());
        }
        if !digests.windows.is_empty() {
            self.held += digests.windows.len();
            if self.held > MAX_HELD {
                return Err(Error::integrity("more digests come than objects have"));
            }
            object.take_windows(&digests.windows)?;
        }
        if !digests.segments.is_empty() {
            let verifier = object.verifier.as_ref().ok_or_else(wrong)?;
            let expected = object.layout.window(place.window).count() as usize * Digest::LEN;
            if part.digests.len() + digests.segments.len() > expected {
                return Err(wrong());
            }
            part.digests.extend_from_slice(&digests.segments);
            if part.digests.len() == expected {
                let digests = parse_digests(&std::mem::take(&mut part.digests)).ok_or_else(wrong)?;
                let checked = verifier.check_window(place.window, &digests);
                part.checked = Some(Arc::new(checked.map_err(|error| Error::integrity(error.to_string()))?));
            }
        }
        Ok(())
    }

    /// Which bytes of which item's blob come next, where their keys and digests are there: what a caller that holds the
    /// ciphertext feeds to [`Assembly::data`] by itself.
    pub(crate) fn wants(&self) -> Option<(u32, std::ops::Range<u64>)> {
        let part = self.waiting.front()?;
        let Item::Known(object) = self.items.get(part.place.item as usize)? else { return None };
        object.check(part).ok()?;
        Some((part.place.item, part.at..part.end))
    }

    /// Takes in data; gives the pieces that are whole with it.
    pub(crate) fn data(&mut self, data: &v1::Data) -> Result<Vec<Piece>> {
        if data.data.is_empty() || data.data.len() > MAX_FRAME {
            return Err(Error::integrity("a frame of data is empty or over 256 KiB"));
        }
        if data.items > 1 { self.packed(data) } else { self.plain(data) }
    }

    /// The next bytes of the front part.
    fn plain(&mut self, data: &v1::Data) -> Result<Vec<Piece>> {
        let wrong = || Error::integrity("data comes that is not what comes next");
        let part = self.waiting.front_mut().ok_or_else(wrong)?;
        let Some(Item::Known(object)) = self.items.get(part.place.item as usize) else { return Err(wrong()) };
        let len = data.data.len() as u64;
        if data.item != part.place.item || data.offset != part.at || len > part.end - part.at {
            return Err(wrong());
        }
        let check = object.check(part)?;
        part.at += len;
        let mut pieces = Vec::new();
        let mut rest = &data.data[..];
        while !rest.is_empty() {
            // The buffer holds up to a piece, so that nothing is moved but once.
            let wanted = part.piece_len(&object.layout);
            if part.buffer.capacity() == 0 {
                part.buffer.reserve_exact(wanted);
            }
            let (now, later) = rest.split_at(rest.len().min(wanted - part.buffer.len()));
            part.buffer.extend_from_slice(now);
            rest = later;
            if part.buffer.len() == wanted {
                pieces.extend(part.take_piece(object, &check));
            }
        }
        if part.at == part.end {
            if part.segment != part.range.end() {
                return Err(Error::internal("a part ends within a segment"));
            }
            self.end_part();
        }
        Ok(pieces)
    }

    /// Whole segments of several objects of one segment each.
    fn packed(&mut self, data: &v1::Data) -> Result<Vec<Piece>> {
        let wrong = || Error::integrity("small objects come that are not what comes next");
        if data.items as usize > self.waiting.len() || data.offset != HEADER_LEN as u64 {
            return Err(wrong());
        }
        let mut pieces = Vec::with_capacity(data.items as usize);
        let mut rest = &data.data[..];
        for item in data.item..data.item.checked_add(data.items).ok_or_else(wrong)? {
            let part = self.waiting.front_mut().ok_or_else(wrong)?;
            let Some(Item::Known(object)) = self.items.get(item as usize) else { return Err(wrong()) };
            let whole = part.place.item == item && object.layout.segments() == 1 && part.buffer.is_empty();
            let (segment, after) = rest.split_at_checked(object.layout.segment_len(0)).ok_or_else(wrong)?;
            if !whole {
                return Err(wrong());
            }
            rest = after;
            let check = object.check(part)?;
            part.buffer = segment.to_vec();
            pieces.extend(part.take_piece(object, &check));
            self.end_part();
        }
        if rest.is_empty() { Ok(pieces) } else { Err(wrong()) }
    }

    fn end_part(&mut self) {
        self.complete += 1;
        let Some(part) = self.waiting.pop_front() else { return };
        if let Some(Item::Known(object)) = self.items.get_mut(part.place.item as usize)
            && part.range.end() == object.segments.end()
            && object.layout.has_trailer()
            && object.verifier.take().is_some()
        {
            self.held = self.held.saturating_sub(object.layout.windows() as usize * Digest::LEN);
        }
    }
}

/// An object that is another one than before the break.
fn changed() -> Error {
    Error::new(
        Reason::PreconditionFailed,
        "an object was changed while it was read, and the connection broke meanwhile",
    )
}

#[cfg(test)]
mod tests;
