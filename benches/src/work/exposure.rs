//! What an exposure costs over raw entries, as an auditor with an export has them: parsed, held against their hashes, and folded.

use std::time::{Duration, Instant};

use strongroom_core::audit::Roster;
use strongroom_core::audit::exposure::{Fold, Question};
use strongroom_core::call::{Call, Condition, GetItem, PutItem, SignedCall, Work};
use strongroom_core::identity::{Fingerprint, Signature};
use strongroom_core::ids::{
    CallDigest, Digest, Generation, GrantId, Index, Millis, NodeId, ObjectId, PutId, RequestId, SessionId, VendorId,
};
use strongroom_core::ledger::{Actor, Entry, Event, ObjectRef, Outcome, Private, PutFact, Role};
use strongroom_core::sealed::header::Header;

use crate::Result;
use crate::measure::peak_memory;

/// Objects of one put.
const PUTS: u64 = 256;
/// Keys that read, one of them each time in its turn.
const KEYS: u64 = 100;
/// Entries that are made before they are timed.
const AHEAD: u64 = 16_384;

/// Folds over each of so many releases of 100 000 objects: all of them, and those of one key in a hundred.
pub fn run(sizes: &[u64]) -> Result<()> {
    for size in sizes {
        println!("-- an exposure over {size} releases, from raw entries, on one core");
        for (what, asked) in [("of one key in a hundred", Some(key(7))), ("of everybody", None)] {
            let took = fold(*size, 100_000, asked)?;
            let rate = *size as f64 / took.as_secs_f64();
            println!("{what:<58} {:>12.2} s  {rate:>12.0} entries/s", took.as_secs_f64());
        }
        println!("{:<58} {:>12.1} MiB", "peak memory so far (VmHWM)", peak_memory(std::process::id())?);
    }
    Ok(())
}

fn fold(releases: u64, objects: u64, key: Option<Fingerprint>) -> Result<Duration> {
    let mut fold = Fold::new(Roster::default(), Question { key, ..Question::default() })?;
    let puts = objects / PUTS;
    let size = puts + releases;
    let (mut next, mut took) = (0, Duration::ZERO);
    while next < size {
        let end = size.min(next + AHEAD);
        let raw: Vec<_> =
            (next..end).map(|no| if no < puts { put(no) } else { release(no, puts) }).collect::<Result<_>>()?;
        next = end;
        let start = Instant::now();
        for (public, private) in &raw {
            let entry = Entry::from_bytes(public)?;
            if Private::hash(private) != entry.private {
                return Err("a private part is another".into());
            }
            fold.feed(&entry, Some(&Private::from_bytes(private)?))?;
        }
        took += start.elapsed();
    }
    let start = Instant::now();
    let found = fold.report(Index(size), Millis(u64::MAX >> 11));
    took += start.elapsed();
    let expected = if key.is_some() { releases / KEYS } else { releases };
    match found.exposure.totals.releases == expected {
        true => Ok(took),
        false => Err(format!("{} releases were found, of {expected}", found.exposure.totals.releases).into()),
    }
}

fn key(no: u64) -> Fingerprint {
    Fingerprint::from_bytes(spread(no))
}

fn spread<const N: usize>(no: u64) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..8].copy_from_slice(&no.to_be_bytes());
    bytes
}

fn entry(no: u64, event: Event, by: u64) -> Entry {
    Entry {
        index: Index(no),
        time: Millis(1_700_000_000_000 + no),
        event,
        actor: Actor { role: Role::Vendor(VendorId::from_bytes([3; 16])), key: key(by) },
        session: Some(SessionId::from_bytes(spread(by))),
        call: Some(CallDigest::from_bytes(spread(no))),
        order: None,
        grants: vec![GrantId::from_bytes(spread(by))],
        outcome: Outcome::Done,
        reason: None,
        count: 1,
        puts: Vec::new(),
        objects: Vec::new(),
        request: Some(RequestId::from_bytes(spread(no))),
        log_key: None,
        node: NodeId::from_bytes([4; 16]),
        private: Digest::from_bytes([0; 32]),
    }
}

fn raw(mut entry: Entry, work: Work) -> Result<(Vec<u8>, Vec<u8>)> {
    let call = Call {
        request: RequestId::from_bytes(spread(entry.index.0)),
        grant: entry.grants.first().copied(),
        work,
        incident: None,
    };
    let private = Private {
        salt: "00112233445566778899aabbccddeeff".to_owned(),
        source: Some("192.0.2.17:50123".to_owned()),
        call: Some(SignedCall { call, signature: Signature([7; 64]) }),
        ..Private::default()
    };
    let private = private.bytes()?;
    entry.private = Private::hash(&private);
    Ok((entry.bytes()?, private))
}

fn path(no: u64) -> Result<strongroom_core::names::ObjectPath> {
    Ok(format!("items/{:03}/{no:08}.json", no % 500).parse()?)
}

fn put(no: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    let first = no * PUTS;
    let items = (first..first + PUTS).map(|object| {
        Ok(PutItem {
            put: PutId::from_bytes(spread(object)),
            dataset: "bench".parse()?,
            path: path(object)?,
            condition: Condition::Any,
            header: Header::new(ObjectId::from_bytes(spread(object))),
            size: 1024,
            content_root: Digest::from_bytes(spread(object)),
        })
    });
    let fact = |item: u32| PutFact(item, Generation(1), 1024, Digest::from_bytes(spread(first + u64::from(item))));
    let entry = Entry { puts: (0..PUTS as u32).map(fact).collect(), ..entry(no, Event::ObjectPut, 1000) };
    raw(entry, Work::Put(items.collect::<Result<_>>()?))
}

fn release(no: u64, puts: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    let object = no.wrapping_mul(7919) % (puts * PUTS);
    let part = ObjectRef(0, Index(object / PUTS), (object % PUTS) as u32, 0, 1, 1024);
    let entry = Entry { objects: vec![part], ..entry(no, Event::Release, (no - puts) % KEYS) };
    raw(entry, Work::Get(vec![GetItem::at("bench".parse()?, path(object)?)]))
}
