//! Objects, cut into lines and looked up.

use super::sample::{ItemNo, Likeness, Long, MAX_NORMAL, Sample, trimmed};

/// Lines are looked up in pieces of about so many bytes.
const PIECE: usize = 1 << 20;

/// An item that was found in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Find {
    /// Which.
    pub item: ItemNo,
    /// How.
    pub likeness: Likeness,
    /// Where it begins, in bytes of plaintext.
    pub start: u64,
    /// One past its last byte, without the end of the line.
    pub end: u64,
}

/// A piece of an object to be looked through: by any thread.
#[derive(Debug)]
pub struct Job {
    /// Where it begins in the object.
    base: u64,
    /// Whole lines.
    bytes: Vec<u8>,
    /// Whether it is all of the object.
    whole: bool,
}

impl Job {
    /// An object in one piece.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { base: 0, bytes, whole: true }
    }

    /// How many bytes it is.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Looks each line up, and the whole if it is one.
    pub fn look(&self, sample: &Sample, each: &mut impl FnMut(Find)) {
        let mut start = self.base;
        let mut lines = 0;
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some((item, likeness)) = sample.find(line) {
                each(Find { item, likeness, start, end: start + trimmed(line).len() as u64 });
            }
            start += line.len() as u64;
            lines += 1;
        }
        // One line alone was the whole.
        if self.whole
            && lines > 1
            && let Some((item, likeness)) = sample.find(&self.bytes)
        {
            each(Find { item, likeness, start: 0, end: trimmed(&self.bytes).len() as u64 });
        }
    }
}

/// Cuts an object that comes in pieces into jobs. Memory holds at most [`MAX_NORMAL`] bytes, and what came last.
#[derive(Debug)]
pub struct Cutter<'s> {
    sample: &'s Sample,
    /// Where what is held begins.
    base: u64,
    held: Vec<u8>,
    /// The whole, where it is too long to be held.
    whole: Option<Long>,
    /// A line that is too long to be held, and where it begins.
    line: Option<(Long, u64)>,
    /// How many bytes are held at most.
    most: usize,
}

impl<'s> Cutter<'s> {
    /// For an object of so many bytes.
    pub fn new(sample: &'s Sample, size: u64) -> Self {
        Self::holding(sample, size, MAX_NORMAL)
    }

    fn holding(sample: &'s Sample, size: u64, most: usize) -> Self {
        let whole = (size > most as u64).then(|| sample.long());
        Self { sample, base: 0, held: Vec::new(), whole, line: None, most }
    }

    /// The next bytes; gives the jobs that are ready, and long lines that were found.
    pub fn feed(&mut self, bytes: &[u8], mut job: impl FnMut(Job), mut each: impl FnMut(Find)) {
        let Some(whole) = &mut self.whole else {
            self.held.extend_from_slice(bytes);
            return;
        };
        whole.feed(bytes);
        let mut bytes = bytes;
        if let Some((long, start)) = &mut self.line {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            long.feed(line);
            self.base += line.len() as u64;
            bytes = rest;
            if end.is_none() {
                return;
            }
            let (found, start, end) = (self.sample.find_long(long), *start, *start + long.len());
            found.into_iter().for_each(|(item, likeness)| each(Find { item, likeness, start, end }));
            self.line = None;
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() < PIECE.min(self.most) {
            return;
        }
        if let Some(last) = self.held.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.held.split_off(last + 1);
            let lines = std::mem::replace(&mut self.held, rest);
            let base = self.base;
            self.base += lines.len() as u64;
            job(Job { base, bytes: lines, whole: false });
        }
        if self.held.len() > self.most {
            let mut long = self.sample.long();
            long.feed(&self.held);
            self.line = Some((long, self.base));
            self.base += self.held.len() as u64;
            self.held = Vec::new();
        }
    }

    /// The end of the object.
    pub fn finish(self, mut job: impl FnMut(Job), mut each: impl FnMut(Find)) {
        let found = |long: &Long, start| {
            let (item, likeness) = self.sample.find_long(long)?;
            Some(Find { item, likeness, start, end: start + long.len() })
        };
        self.line.iter().filter_map(|(long, start)| found(long, *start)).for_each(&mut each);
        self.whole.iter().filter_map(|long| found(long, 0)).for_each(&mut each);
        let whole = self.whole.is_none();
        if !self.held.is_empty() {
            job(Job { base: self.base, bytes: self.held, whole });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(items: &[&[u8]]) -> Sample {
        let mut sample = Sample::new([1; 32], 4);
        (1..).zip(items).for_each(|(line, item)| sample.add(line, item).unwrap());
        sample
    }

    /// What is found in an object that comes in pieces of so many bytes.
    fn found(sample: &Sample, object: &[u8], piece: usize, most: usize) -> Vec<(ItemNo, u64, u64)> {
        let (mut jobs, mut finds) = (Vec::new(), Vec::new());
        let mut cutter = Cutter::holding(sample, object.len() as u64, most);
        object.chunks(piece).for_each(|bytes| cutter.feed(bytes, |job| jobs.push(job), |find| finds.push(find)));
        cutter.finish(|job| jobs.push(job), |find| finds.push(find));
        jobs.iter().for_each(|job| job.look(sample, &mut |find| finds.push(find)));
        let mut finds: Vec<_> = finds.iter().map(|find| (find.item, find.start, find.end)).collect();
        finds.sort_unstable();
        finds
    }

    #[test]
    fn lines_and_the_whole_are_found_where_they_stand() {
        let object = b"first line\nsecond line\n\nlast one";
        let sample = sample(&[b"second line", b"last one", b"first line\nsecond line\n\nlast one\n", b"absent"]);
        let expected = [(0, 11, 22), (1, 24, 32), (2, 0, 32)];
        for piece in [1, 7, 1000] {
            assert_eq!(found(&sample, object, piece, MAX_NORMAL), expected);
        }
    }

    #[test]
    fn long_objects_and_long_lines_are_found_in_bounded_memory() {
        const MOST: usize = 10_000;
        let long = vec![b'x'; MOST + 5];
        let mut object = b"before\n".to_vec();
        object.extend_from_slice(&long);
        object.extend_from_slice(b"\nafterwards\n");
        let count = 2000_u64;
        let mut lines = Vec::new();
        (0..count).for_each(|at| lines.extend_from_slice(format!("line {at:>6}\n").as_bytes()));
        let start = object.len() as u64;
        object.extend_from_slice(&lines);
        object.extend_from_slice(&long);
        let sample = sample(&[b"before", &long, b"afterwards", b"line    777", b"line   1999", &object]);
        let end = object.len() as u64;
        let line = |at: u64| (start + at * 12, start + at * 12 + 11);
        let expected = [
            (0, 0, 6),
            (1, 7, 7 + long.len() as u64),
            (1, end - long.len() as u64, end),
            (2, start - 11, start - 1),
            (3, line(777).0, line(777).1),
            (4, line(1999).0, line(1999).1),
            (5, 0, end),
        ];
        for piece in [1, 999, 250_001] {
            assert_eq!(found(&sample, &object, piece, MOST), expected);
        }
    }
}
