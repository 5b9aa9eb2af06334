//! `audit verify` of an archive of evidence. No vault is asked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use strongroom_core::audit::evidence::{Archive, Line, Told};
use strongroom_core::ids::{Digest, Index, Millis};
use strongroom_core::ledger::checkpoint::{MAX_NOTE, VerifierKey};
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::reason::Reason;

use super::archive::{CHECKPOINT, ENTRIES, LOG_KEYS, PRIVATE, PROOFS, README, REPORT};
use crate::amount::{Size, counted};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;

/// The longest report that is read.
const MAX_REPORT: u64 = 1 << 30;
/// The longest line: a private part with a call of as many items as there can be.
const MAX_LINE: u64 = 16 << 20;

#[derive(Debug, Serialize)]
struct Verdict {
    ledger: String,
    entries: u64,
    releases: u64,
    objects: u64,
    bytes: u64,
    bytes_total: u64,
    signatures: u64,
    /// Releases whose session or call was erased, or is not shown.
    unasked: u64,
    log_key: String,
    /// Whether the key was given, and not only found inside.
    pinned: bool,
}

/// The report, as far as it is held against the entries.
#[derive(Deserialize)]
struct Report {
    question: Question,
    exposure: Exposure,
}

#[derive(Deserialize)]
struct Question {
    since: Option<Millis>,
    until: Option<Millis>,
}

#[derive(Deserialize)]
struct Exposure {
    totals: Totals,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Totals {
    releases: u64,
    repeats: u64,
    objects: u64,
    bytes: u64,
    bytes_total: u64,
}

#[derive(Deserialize)]
struct Object {
    put: Index,
    ordinal: u32,
    read: Vec<(u32, u32)>,
    bytes: u64,
}

/// Whether a file is an archive of evidence: a tar that begins with its README.
pub(crate) fn is_archive(file: &Path) -> bool {
    let first = || -> io::Result<bool> {
        let mut tar = tar::Archive::new(File::open(file)?);
        let name = tar.entries()?.next().transpose()?.map(|entry| entry.path_bytes().into_owned());
        Ok(name.as_deref() == Some(README.as_bytes()))
    };
    first().unwrap_or(false)
}

/// Verifies an archive.
///
/// # Errors
/// What does not hold.
pub(crate) fn verify(file: &Path, key: Option<&VerifierKey>, globals: &Globals) -> Outcome {
    let failed = |error: io::Error| Failure::file(file, &error);
    let broken = |why: String| {
        let detail = format!("{}: {why}", file.display());
        Failure::new(Reason::Integrity, detail, "keep it as it is, and ask whoever made it for another")
    };
    // What can be read and is no tar any more was cut or changed.
    let places = places(file).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other => broken(error.to_string()),
        _ => failed(error),
    })?;
    let mut expected = vec![README, LOG_KEYS, CHECKPOINT, REPORT, ENTRIES, PRIVATE, PROOFS];
    expected.sort_unstable();
    if places.keys().map(String::as_str).collect::<Vec<_>>() != expected {
        return Err(broken(format!("it does not hold {} and nothing else", expected.join(", "))));
    }
    let whole = |name: &str, most: u64| -> Outcome<Vec<u8>> {
        let (at, size) = places[name];
        if size > most {
            return Err(broken(format!("{name} is too long")));
        }
        let mut bytes = Vec::new();
        open(file, at, size).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed)?;
        Ok(bytes)
    };
    let kept = whole(LOG_KEYS, MAX_NOTE as u64)?;
    let keys = String::from_utf8_lossy(&kept).parse::<LogKeys>();
    let keys = keys.map_err(|error| broken(format!("{LOG_KEYS}: {error}")))?;
    if key.is_some_and(|key| !keys.contains(key)) {
        return Err(broken(
            "it is signed by another key, or of another ledger, than the key that was given".to_owned(),
        ));
    }
    let note = whole(CHECKPOINT, MAX_NOTE as u64)?;
    let (checkpoint, signer) = keys.open(&note).map_err(|error| broken(format!("{CHECKPOINT}: {error}")))?;
    let report: Report =
        serde_json::from_slice(&whole(REPORT, MAX_REPORT)?).map_err(|error| broken(format!("{REPORT}: {error}")))?;
    let (since, until) = (report.question.since, report.question.until);
    let mut archive = Archive::new(checkpoint.origin.clone(), checkpoint.size, checkpoint.root, since, until);
    let lines = |name: &str| open(file, places[name].0, places[name].1).map(BufReader::new).map_err(failed);
    let (mut public, mut private, mut proofs) = (lines(ENTRIES)?, lines(PRIVATE)?, lines(PROOFS)?);
    loop {
        let next = |file: &mut BufReader<io::Take<File>>| next_line(file).map_err(failed);
        let line = match (next(&mut public)?, next(&mut private)?, next(&mut proofs)?) {
            (None, None, None) => break,
            (Some(public), Some(private), Some(proof)) => {
                let proof = hashes(&proof).ok_or_else(|| broken(format!("{PROOFS}: a line is no proof")))?;
                Line { public, private, proof }
            }
            _ => return Err(broken(format!("{ENTRIES}, {PRIVATE} and {PROOFS} have not as many lines each"))),
        };
        archive.check(&line).map_err(|error| broken(error.to_string()))?;
    }
    let proven = archive.finish(&told(&report)).map_err(|error| broken(error.to_string()))?;
    let verdict = Verdict {
        ledger: checkpoint.origin.to_string(),
        entries: proven.entries,
        releases: proven.releases,
        objects: proven.objects,
        bytes: proven.bytes,
        bytes_total: proven.bytes_total,
        signatures: proven.signatures,
        unasked: proven.unasked,
        log_key: signer.to_string(),
        pinned: key.is_some(),
    };
    globals.output.result(&verdict, |verdict| words(verdict, file))
}

fn words(verdict: &Verdict, file: &Path) -> String {
    let mut words = format!(
        "{} holds: {} of the ledger, each proven, {}; {} released {} of {}",
        file.display(),
        counted(verdict.entries, "entry").replace("entrys", "entries"),
        counted(verdict.signatures, "signature"),
        counted(verdict.releases, "entry").replace("entrys", "entries"),
        Size(verdict.bytes),
        counted(verdict.objects, "object"),
    );
    if verdict.unasked > 0 {
        words += &format!("; of {} the call was erased", counted(verdict.unasked, "release"));
    }
    words + if verdict.pinned { "; the key is the one given" } else { "; the key is the one inside" }
}

fn told(report: &Report) -> Told {
    let Totals { releases, repeats, objects, bytes, bytes_total } = report.exposure.totals;
    let read = report.exposure.objects.iter().filter(|object| !object.read.is_empty());
    let read = read.map(|object| ((object.put, object.ordinal), (object.read.clone(), object.bytes))).collect();
    Told { releases, repeats, objects, bytes, bytes_total, read }
}

/// Where each file of the archive lies, and how long it is. A name that is there twice is there once, with another's.
fn places(file: &Path) -> io::Result<BTreeMap<String, (u64, u64)>> {
    let mut tar = tar::Archive::new(File::open(file)?);
    let mut places = BTreeMap::new();
    for entry in tar.entries()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let place = (entry.raw_file_position(), entry.size());
        let is_file = entry.header().entry_type() == tar::EntryType::Regular;
        if !is_file || places.insert(name, place).is_some() {
            places.insert("something else".to_owned(), place);
        }
    }
    Ok(places)
}

fn open(file: &Path, at: u64, size: u64) -> io::Result<io::Take<File>> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.take(size))
}

fn next_line(file: &mut BufReader<io::Take<File>>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long, or does not end")),
    }
}

fn hashes(line: &[u8]) -> Option<Vec<Digest>> {
    let texts: Vec<String> = serde_json::from_slice(line).ok()?;
    texts.iter().map(|text| Digest::try_from(&BASE64.decode(text.as_bytes()).ok()?[..]).ok()).collect()
}
