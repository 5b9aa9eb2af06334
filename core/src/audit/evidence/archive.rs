//! What an archive holds, line by line, and what its lines prove.

use std::collections::{BTreeMap, HashMap};

use crate::audit::ranges::Ranges;
use crate::call::Work;
use crate::ed25519::VerifyingKey;
use crate::identity::Fingerprint;
use crate::ids::{CallDigest, Digest, Index, Millis, SegmentRange, SessionId};
use crate::ledger::proof::check_inclusion;
use crate::ledger::tree::leaf_hash;
use crate::ledger::{Entry, Event, Outcome, Private};
use crate::origin::Origin;
use crate::sealed::SEGMENT_SIZE;

/// An entry as an archive has it.
#[derive(Debug, Clone)]
pub struct Line {
    /// The exact bytes of its public part.
    pub public: Vec<u8>,
    /// The exact bytes of its private part; empty if they are not shown, or were erased.
    pub private: Vec<u8>,
    /// The proof that it is in the log: sibling hashes, from the leaf to the root.
    pub proof: Vec<Digest>,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// An entry does not hold.
    #[error("entry {0}: {1}")]
    Entry(Index, String),
    /// A line is no entry.
    #[error("line {0} holds no entry: {1}")]
    Line(usize, String),
    /// The report says other numbers than the entries.
    #[error("the report says {what}: {said}; its entries say {found}")]
    Report {
        /// Which number.
        what: &'static str,
        /// What the report says.
        said: String,
        /// What the entries come to.
        found: String,
    },
}

/// What entries come to that were proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proven {
    /// Entries in the archive.
    pub entries: u64,
    /// Releases in the time that the report is about, repeats among them.
    pub releases: u64,
    /// Of these, repeats.
    pub repeats: u64,
    /// Objects of which something was released.
    pub objects: u64,
    /// Plaintext bytes of these, each once.
    pub bytes: u64,
    /// Plaintext bytes released, each as often as it was.
    pub bytes_total: u64,
    /// Signatures of orders, openings and calls that hold.
    pub signatures: u64,
    /// Releases whose session or call is not there: it was erased.
    pub unasked: u64,
}

/// What was released of one object.
#[derive(Debug, Default)]
struct Had {
    read: Ranges,
    /// By how much its last segment is shorter than the others, if that one was released.
    short: Option<(u32, u64)>,
}

/// The fold over the lines of an archive.
#[derive(Debug)]
pub struct Archive {
    origin: Origin,
    size: Index,
    root: Digest,
    since: Option<Millis>,
    until: Option<Millis>,
    next: Index,
    sessions: HashMap<SessionId, (Fingerprint, VerifyingKey)>,
    calls: HashMap<CallDigest, Work>,
    had: BTreeMap<(Index, u32), Had>,
    proven: Proven,
}

impl Archive {
    /// Of a log of this size and root, as its signed checkpoint says, and of releases in this time.
    pub fn new(origin: Origin, size: Index, root: Digest, since: Option<Millis>, until: Option<Millis>) -> Self {
        Self {
            origin,
            size,
            root,
            since,
            until,
            next: Index(0),
            sessions: HashMap::new(),
            calls: HashMap::new(),
            had: BTreeMap::new(),
            proven: Proven::default(),
        }
    }

    /// Checks the next line.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&mut self, line: &Line) -> Result<(), EvidenceError> {
        let at = usize::try_from(self.proven.entries).unwrap_or(usize::MAX).saturating_add(1);
        let entry = Entry::from_bytes(&line.public).map_err(|error| EvidenceError::Line(at, error.to_string()))?;
        let wrong = |what: &str| EvidenceError::Entry(entry.index, what.to_owned());
        if entry.index < self.next {
            return Err(wrong("it does not come after the one before it"));
        }
        self.next = Index(entry.index.0 + 1);
        check_inclusion(leaf_hash(&line.public), entry.index.0, self.size.0, &self.root, &line.proof)
            .map_err(|_| wrong("its proof does not lead to the checkpoint's root"))?;
        self.proven.entries += 1;
        let private = match &line.private[..] {
            [] => None,
            bytes if Private::hash(bytes) != entry.private => {
                return Err(wrong("its private part is not the one whose hash it holds"));
            }
            bytes => Some(Private::from_bytes(bytes).map_err(|error| wrong(&format!("its private part is {error}")))?),
        };
        if let Some(private) = &private {
            self.signatures(&entry, private).map_err(|why| wrong(&why))?;
        }
        if matches!(entry.event, Event::Release | Event::ReleaseRepeat) {
            self.release(&entry).map_err(|why| wrong(&why))?;
        }
        Ok(())
    }

    fn signatures(&mut self, entry: &Entry, private: &Private) -> Result<(), String> {
        if let Some(order) = &private.order {
            let verified = order.clone().verify().map_err(|error| error.to_string())?;
            let is_own = entry.order == Some(verified.id()) && verified.order().ledger == self.origin;
            let is_actors = entry.outcome == Outcome::Denied || entry.actor.key == verified.issuer();
            if !is_own || !is_actors {
                return Err("the order beside it is another one's".to_owned());
            }
            self.proven.signatures += verified.signers().len() as u64;
        }
        if let Some(opening) = &private.opening {
            let session = opening.verify().map_err(|error| error.to_string())?;
            if entry.session != Some(session) || opening.key.fingerprint() != entry.actor.key {
                return Err("the opening beside it is another one's".to_owned());
            }
            self.sessions.insert(session, (entry.actor.key, opening.opening.call_key));
            self.proven.signatures += 1;
        }
        if let (Some(call), Some(session)) = (&private.call, entry.session) {
            let Some((key, call_key)) = self.sessions.get(&session) else {
                // Of a session whose opening is not shown, nothing can be said.
                return Ok(());
            };
            let digest = call.verify(&session, &self.origin, call_key).map_err(|error| error.to_string())?;
            if entry.call != Some(digest) || *key != entry.actor.key {
                return Err("the call beside it is another one's".to_owned());
            }
            self.calls.insert(digest, call.call.work.clone());
            self.proven.signatures += 1;
        }
        Ok(())
    }

    /// A release was asked for by its actor; what it released counts if it lies in the time of the report.
    fn release(&mut self, entry: &Entry) -> Result<(), String> {
        let session = entry.session.and_then(|session| self.sessions.get(&session));
        if session.is_some_and(|(key, _)| *key != entry.actor.key) {
            return Err("its session is another key's".to_owned());
        }
        match entry.call.and_then(|call| self.calls.get(&call)) {
            Some(Work::Get(items) | Work::ReleaseKeys(items)) => {
                if entry.objects.iter().any(|object| usize::try_from(object.0).map_or(true, |at| at >= items.len())) {
                    return Err("it released what its call does not ask for".to_owned());
                }
            }
            Some(_) => return Err("its call asks for no release".to_owned()),
            None => self.proven.unasked += 1,
        }
        if self.since.is_some_and(|since| entry.time < since) || self.until.is_some_and(|until| entry.time >= until) {
            return Ok(());
        }
        self.proven.releases += 1;
        self.proven.repeats += u64::from(entry.event == Event::ReleaseRepeat);
        for part in &entry.objects {
            let range = SegmentRange::new(part.3, part.4).ok_or("a range of it is empty")?;
            let had = self.had.entry((part.1, part.2)).or_default();
            had.read.add(range);
            let whole = u64::from(part.4 - part.3) * SEGMENT_SIZE as u64;
            let short = whole.checked_sub(part.5).ok_or("a part of it has more bytes than its segments")?;
            if short > 0 {
                had.short = Some((part.4 - 1, short));
            }
            self.proven.bytes_total += part.5;
        }
        Ok(())
    }

    /// What the lines came to, once all were checked; held against what the report says of each object: put index, ordinal, ranges
    /// and bytes.
    ///
    /// # Errors
    /// [`EvidenceError::Report`].
    pub fn finish(mut self, report: &Told) -> Result<Proven, EvidenceError> {
        let mut found = BTreeMap::new();
        for (object, had) in &self.had {
            let short = had.short.map_or(0, |(_, short)| short);
            let bytes = had.read.segments() * SEGMENT_SIZE as u64 - short;
            found.insert(*object, (had.read.as_slice().to_vec(), bytes));
        }
        self.proven.objects = found.len() as u64;
        self.proven.bytes = found.values().map(|(_, bytes)| bytes).sum();
        let proven = &self.proven;
        for (what, said, found) in [
            ("releases", report.releases, proven.releases),
            ("repeats", report.repeats, proven.repeats),
            ("objects", report.objects, proven.objects),
            ("bytes", report.bytes, proven.bytes),
            ("bytes_total", report.bytes_total, proven.bytes_total),
        ] {
            if said != found {
                return Err(EvidenceError::Report { what, said: said.to_string(), found: found.to_string() });
            }
        }
        if report.read != found {
            let differs = report.read.iter().find(|(object, had)| found.get(object) != Some(had));
            let (object, had) = differs.map_or((None, None), |(object, had)| (Some(object), Some(had)));
            let said = format!("{object:?}: {had:?}");
            let of_entries = object.and_then(|object| found.get(object));
            return Err(EvidenceError::Report { what: "an object", said, found: format!("{of_entries:?}") });
        }
        Ok(self.proven)
    }
}

/// What a report says that its entries must come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// [`Proven::releases`].
    pub releases: u64,
    /// [`Proven::repeats`].
    pub repeats: u64,
    /// [`Proven::objects`].
    pub objects: u64,
    /// [`Proven::bytes`].
    pub bytes: u64,
    /// [`Proven::bytes_total`].
    pub bytes_total: u64,
    /// By put index and ordinal: the segments that were released, and their plaintext bytes.
    pub read: BTreeMap<(Index, u32), Released>,
}

/// The segments of an object that were released: each range's first, and one past its last; and their plaintext bytes.
pub type Released = (Vec<(u32, u32)>, u64);
