//! Release facts as bytes: written column by column, read with nothing believed.

use super::{Facts, NotFacts, ObjectFact, Row};
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, Millis, RequestId, SessionId, VendorId};
use crate::ledger::entry::{Actor, MAX_OBJECTS, Role};
use crate::ledger::tile::WIDTH;

const MAGIC: &[u8; 4] = b"SRF2";
/// The longest chain of grants that is read, and the longest address.
const MAX_CHAIN: u64 = 64;
const MAX_SOURCE: u64 = 256;

impl Facts {
    /// As they are kept.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + 32 * self.rows.len());
        out.extend_from_slice(MAGIC);
        put(&mut out, self.first.0);
        put(&mut out, self.actors.len() as u64);
        for actor in &self.actors {
            out.extend_from_slice(actor.key.as_bytes());
            match actor.role {
                Role::Operator => out.push(0),
                Role::Admin => out.push(1),
                Role::Key => out.push(2),
                Role::Vendor(vendor) => {
                    out.push(3);
                    out.extend_from_slice(vendor.as_bytes());
                }
            }
        }
        put(&mut out, self.sessions.len() as u64);
        self.sessions.iter().for_each(|session| out.extend_from_slice(session.as_bytes()));
        put(&mut out, self.chains.len() as u64);
        for chain in &self.chains {
            put(&mut out, chain.len() as u64);
            chain.iter().for_each(|grant| out.extend_from_slice(grant.as_bytes()));
        }
        put(&mut out, self.sources.len() as u64);
        for source in &self.sources {
            put(&mut out, source.len() as u64);
            out.extend_from_slice(source.as_bytes());
        }
        put(&mut out, self.requests.len() as u64);
        self.requests.iter().for_each(|request| out.extend_from_slice(request.as_bytes()));
        put(&mut out, self.rows.len() as u64);
        // What goes back, as in no ledger, is written so that it is not read again.
        let mut last = self.first.0;
        for row in &self.rows {
            put(&mut out, row.index.0.wrapping_sub(last));
            last = row.index.0;
        }
        let mut last = 0;
        for row in &self.rows {
            put(&mut out, row.time.0.wrapping_sub(last));
            last = row.time.0;
        }
        out.extend(self.rows.iter().map(|row| u8::from(row.repeat)));
        let columns: [fn(&Row) -> usize; 6] = [
            |row| row.actor,
            |row| row.session,
            |row| row.chain,
            |row| row.source,
            |row| row.request,
            |row| row.objects.len(),
        ];
        for column in columns {
            self.rows.iter().for_each(|row| put(&mut out, column(row) as u64));
        }
        let columns: [fn(&ObjectFact) -> u64; 6] = [
            |object| object.item.into(),
            |object| object.put.0,
            |object| object.ordinal.into(),
            |object| object.segments.0.into(),
            |object| u64::from(object.segments.1.wrapping_sub(object.segments.0)),
            |object| object.bytes,
        ];
        for column in columns {
            self.objects.iter().for_each(|object| put(&mut out, column(object)));
        }
        out
    }

    /// Reads what [`Facts::bytes`] wrote, and nothing else: what is read of other bytes is something else.
    ///
    /// # Errors
    /// [`NotFacts`] if it is something else, or written in another way.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotFacts> {
        let facts = Self::read(bytes)?;
        // Made again, the lists hold what occurs, in the order in which it first does.
        let mut again = Self::new(facts.first);
        facts.releases().for_each(|release| again.push(&release));
        if again.bytes() == bytes { Ok(facts) } else { Err(NotFacts) }
    }

    /// As [`Facts::from_bytes`], of bytes whose writer is known: that there is no other way to write the same is not looked at.
    ///
    /// # Errors
    /// [`NotFacts`].
    pub fn read(bytes: &[u8]) -> Result<Self, NotFacts> {
        Reader(bytes).facts()
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NotFacts> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(NotFacts)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, NotFacts> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let [byte] = self.take()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(NotFacts)
    }

    fn small(&mut self) -> Result<u32, NotFacts> {
        u32::try_from(self.number()?).map_err(|_| NotFacts)
    }

    /// A number of things, at most `most`.
    fn count(&mut self, most: u64) -> Result<usize, NotFacts> {
        let count = self.number()?;
        if count > most { Err(NotFacts) } else { usize::try_from(count).map_err(|_| NotFacts) }
    }

    /// A column of places in a list of so many.
    fn places(&mut self, rows: &mut [Row], many: usize, of: fn(&mut Row) -> &mut usize) -> Result<(), NotFacts> {
        let most = many.checked_sub(1).ok_or(NotFacts)? as u64;
        rows.iter_mut().try_for_each(|row| {
            *of(row) = self.count(most)?;
            Ok(())
        })
    }

    fn facts(mut self) -> Result<Facts, NotFacts> {
        if self.take()? != *MAGIC {
            return Err(NotFacts);
        }
        let mut facts = Facts::new(Index(self.number()?));
        for _ in 0..self.count(WIDTH)? {
            let key = Fingerprint::from_bytes(self.take()?);
            let role = match self.take()? {
                [0] => Role::Operator,
                [1] => Role::Admin,
                [2] => Role::Key,
                [3] => Role::Vendor(VendorId::from_bytes(self.take()?)),
                _ => return Err(NotFacts),
            };
            facts.actors.push(Actor { role, key });
        }
        for _ in 0..self.count(WIDTH)? {
            facts.sessions.push(SessionId::from_bytes(self.take()?));
        }
        for _ in 0..self.count(WIDTH)? {
            let chain = (0..self.count(MAX_CHAIN)?).map(|_| Ok(GrantId::from_bytes(self.take()?)));
            facts.chains.push(chain.collect::<Result<_, NotFacts>>()?);
        }
        for _ in 0..self.count(WIDTH)? {
            let length = self.count(MAX_SOURCE)?;
            let (source, rest) = self.0.split_at_checked(length).ok_or(NotFacts)?;
            self.0 = rest;
            facts.sources.push(String::from_utf8(source.to_vec()).map_err(|_| NotFacts)?);
        }
        for _ in 0..self.count(WIDTH)? {
            facts.requests.push(RequestId::from_bytes(self.take()?));
        }
        self.rows(&mut facts)?;
        self.objects(&mut facts)?;
        if self.0.is_empty() { Ok(facts) } else { Err(NotFacts) }
    }

    fn rows(&mut self, facts: &mut Facts) -> Result<(), NotFacts> {
        let row = Row {
            index: Index(0),
            time: Millis(0),
            repeat: false,
            actor: 0,
            session: 0,
            chain: 0,
            source: 0,
            request: 0,
            objects: 0..0,
        };
        let mut rows = vec![row; self.count(WIDTH)?];
        let mut last = facts.first.0;
        for row in &mut rows {
            last = last.checked_add(self.number()?).ok_or(NotFacts)?;
            row.index = Index(last);
        }
        let mut last = 0_u64;
        for row in &mut rows {
            last = last.checked_add(self.number()?).ok_or(NotFacts)?;
            row.time = Millis(last);
        }
        for row in &mut rows {
            row.repeat = match self.take()? {
                [0] => false,
                [1] => true,
                _ => return Err(NotFacts),
            };
        }
        if !rows.is_empty() {
            self.places(&mut rows, facts.actors.len(), |row| &mut row.actor)?;
        }
        self.places(&mut rows, facts.sessions.len() + 1, |row| &mut row.session)?;
        self.places(&mut rows, facts.chains.len() + 1, |row| &mut row.chain)?;
        self.places(&mut rows, facts.sources.len() + 1, |row| &mut row.source)?;
        self.places(&mut rows, facts.requests.len() + 1, |row| &mut row.request)?;
        let mut at = 0;
        for row in &mut rows {
            let count = self.count(MAX_OBJECTS as u64)?;
            row.objects = at..at + count;
            at += count;
        }
        facts.rows = rows;
        Ok(())
    }

    fn objects(&mut self, facts: &mut Facts) -> Result<(), NotFacts> {
        let count = facts.rows.last().map_or(0, |row| row.objects.end);
        // Each takes six bytes at least: no memory is taken for what cannot be there.
        if count > self.0.len() / 6 {
            return Err(NotFacts);
        }
        let none = ObjectFact { item: 0, put: Index(0), ordinal: 0, segments: (0, 0), bytes: 0 };
        let objects = &mut facts.objects;
        objects.resize(count, none);
        for object in &mut *objects {
            object.item = self.small()?;
        }
        for object in &mut *objects {
            object.put = Index(self.number()?);
        }
        for object in &mut *objects {
            object.ordinal = self.small()?;
        }
        for object in &mut *objects {
            object.segments.0 = self.small()?;
        }
        for object in &mut *objects {
            object.segments.1 = object.segments.0.checked_add(self.small()?).ok_or(NotFacts)?;
        }
        for object in &mut *objects {
            object.bytes = self.number()?;
        }
        Ok(())
    }
}
