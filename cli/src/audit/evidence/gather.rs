//! What goes into an archive: the report, and line by line the entries that it stands on, with their proofs.
//!
//! The ledger is read three times: who is whose; what counts; and the entries that belong in. Lines go to temporary files, since
//! there may be many.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use data_encoding::BASE64;
use strongroom_core::audit::Question;
use strongroom_core::audit::evidence::{Keep, Selection};
use strongroom_core::audit::report::Report;
use strongroom_core::ids::{Index, Millis};
use strongroom_core::ledger::proof::{Lacking, TileHashes, inclusion};
use strongroom_core::reason::Reason;

use crate::audit::source::{Ledger, Signed};
use crate::exit::{Failure, Outcome};

/// What was gathered.
pub(crate) struct Gathered {
    /// The report as it may be shown to others.
    pub(crate) report: Report,
    /// The whole report: for the lab alone.
    pub(crate) own: Report,
    /// What it stands on.
    pub(crate) selection: Selection,
    /// What proves it. The answer is there without: a bucket that is out of reach must not keep it back.
    pub(crate) proven: Outcome<Proven>,
}

/// What proves a report.
pub(crate) struct Proven {
    /// The checkpoint that the entries are under.
    pub(crate) signed: Signed,
    /// The lines.
    pub(crate) entries: Lines,
}

/// Three files with as many lines each: public parts, private parts, proofs.
pub(crate) struct Lines {
    pub(crate) count: u64,
    pub(crate) public: File,
    pub(crate) private: File,
    pub(crate) proofs: File,
}

/// Gathers what there is about a question in the first `size` entries of a ledger; grants are told as they stand at `now`.
///
/// # Errors
/// The ledger cannot be read, or a temporary file not be written.
pub(crate) async fn gather(ledger: &mut Ledger<'_>, question: Question, size: Index, now: Millis) -> Outcome<Gathered> {
    let (own, selection) = ledger.fold(question, size).await?.evidence(size, now);
    let proven = proven(ledger, &selection, size).await;
    Ok(Gathered { report: own.clone().for_others(), own, selection, proven })
}

async fn proven(ledger: &mut Ledger<'_>, selection: &Selection, size: Index) -> Outcome<Proven> {
    let signed = ledger.checkpoint(size).await?;
    let file = || tempfile::tempfile().map_err(|error| Failure::stdio(&error));
    let (mut public, mut private) = (BufWriter::new(file()?), BufWriter::new(file()?));
    let mut indices = Vec::new();
    ledger
        .walk(size, &[], |shown| {
            let keep = selection.keep(&shown.entry, shown.private.as_ref());
            if keep == Keep::Nothing {
                return Ok(());
            }
            let secret = if keep == Keep::Whole { shown.secret } else { &[] };
            indices.push(shown.entry.index.0);
            line(&mut public, shown.public)
                .and_then(|()| line(&mut private, secret))
                .map_err(|error| Failure::stdio(&error))
        })
        .await?;
    let proofs = prove(ledger, &indices, signed.checkpoint.size.0, BufWriter::new(file()?)).await?;
    let done = |file: BufWriter<File>| file.into_inner().map_err(|error| Failure::stdio(error.error()));
    let entries =
        Lines { count: indices.len() as u64, public: done(public)?, private: done(private)?, proofs: done(proofs)? };
    Ok(Proven { signed, entries })
}

fn line(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    // Exact JSON has no line ends of its own: they are escaped in it.
    out.write_all(bytes)?;
    out.write_all(b"\n")
}

/// The proofs of these entries, a line each: the tiles that they take are fetched as they are found lacking.
async fn prove(
    ledger: &mut Ledger<'_>,
    indices: &[u64],
    size: u64,
    mut out: BufWriter<File>,
) -> Outcome<BufWriter<File>> {
    let mut hashes = TileHashes::new(size);
    loop {
        let lacking = |index: &u64| inclusion(&hashes, *index, size).err().map(|Lacking(tile)| tile);
        let lacking: BTreeSet<_> = indices.iter().filter_map(lacking).collect();
        if lacking.is_empty() {
            break;
        }
        for (tile, bytes) in ledger.tiles(lacking.into_iter().collect()).await? {
            hashes.insert(tile, &bytes).map_err(|error| broken(format!("{tile}: {error}")))?;
        }
    }
    for index in indices {
        let proof = inclusion(&hashes, *index, size).map_err(|Lacking(tile)| broken(format!("{tile} is missing")))?;
        let proof: Vec<String> = proof.iter().map(|hash| BASE64.encode(hash.as_bytes())).collect();
        serde_json::to_writer(&mut out, &proof)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(|error| Failure::stdio(&error))?;
    }
    Ok(out)
}

fn broken(why: String) -> Failure {
    Failure::new(Reason::Integrity, why, "try again; if it stays so, tell the vault's operator")
}
