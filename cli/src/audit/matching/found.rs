//! What was found so far.

use std::collections::HashMap;

use strongroom_client::{Failed, ObjectInfo};
use strongroom_core::audit::matching::{Find, ItemNo, Likeness};
use strongroom_core::ids::Index;
use strongroom_core::reason::Reason;

use crate::exit::{Failure, Outcome};
use crate::tally::Tally;

/// The most finds that are kept: 24 bytes each.
const MAX_FINDS: usize = 16 << 20;

/// Finds, and the objects they are in.
#[derive(Debug)]
pub(super) struct Found {
    objects: Vec<(Index, u32, u64)>,
    numbers: HashMap<(Index, u32), u32>,
    finds: Vec<(u32, ItemNo, u64, u64)>,
    items: Vec<Option<Likeness>>,
    tally: Tally,
}

impl Found {
    /// Nothing yet, of so many items.
    pub(super) fn new(items: usize) -> Self {
        let (objects, numbers) = (Vec::new(), HashMap::new());
        Self { objects, numbers, finds: Vec::new(), items: vec![None; items], tally: Tally::default() }
    }

    /// What was found in an object.
    ///
    /// # Errors
    /// There are more finds than are kept.
    pub(super) fn add(&mut self, object: &ObjectInfo, finds: &[Find]) -> Outcome {
        if finds.is_empty() {
            return Ok(());
        }
        if self.finds.len() + finds.len() > MAX_FINDS {
            let detail = format!("more than {MAX_FINDS} places hold items of the sample");
            return Err(Failure::new(Reason::TooLarge, detail, "raise --shortest, or ask about fewer datasets"));
        }
        // As many as there are finds, at most.
        let new = self.objects.len() as u32;
        let no = *self.numbers.entry((object.index, object.ordinal)).or_insert(new);
        if no == new {
            self.objects.push((object.index, object.ordinal, object.size));
        }
        for find in finds {
            let item = &mut self.items[find.item as usize];
            *item = Some(item.map_or(find.likeness, |known| known.min(find.likeness)));
            self.finds.push((no, find.item, find.start, find.end));
        }
        Ok(())
    }

    /// An object was looked through.
    pub(super) fn done(&mut self, bytes: u64) {
        self.tally.add(bytes);
    }

    /// One could not be read: the others go on, unless nothing would come of it.
    ///
    /// # Errors
    /// It is no use to go on.
    pub(super) fn fail(&mut self, failed: Failed) -> Outcome {
        self.tally.fail(failed)
    }

    /// Objects in which something was found.
    pub(super) fn objects(&self) -> &[(Index, u32, u64)] {
        &self.objects
    }

    /// The finds, sorted.
    pub(super) fn finds(&self) -> Vec<(u32, ItemNo, u64, u64)> {
        let mut finds = self.finds.clone();
        finds.sort_unstable();
        finds.dedup();
        finds
    }

    /// How each item was found.
    pub(super) fn items(&self) -> impl Iterator<Item = Option<Likeness>> {
        self.items.iter().copied()
    }

    /// The end.
    ///
    /// # Errors
    /// An object could not be read: what stands in it is not known.
    pub(super) fn complete(mut self) -> Outcome {
        self.tally.finish()
    }

    /// How many objects were looked through.
    pub(super) fn read(&self) -> u64 {
        self.tally.done
    }

    /// Bytes of those.
    pub(super) fn bytes(&self) -> u64 {
        self.tally.bytes
    }
}
