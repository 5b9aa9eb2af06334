//! What goes into an archive: the report, and line by line the entries that it stands on, with their proofs.
//!
//! Who is whose is read, then what counts, as far as the fold needs it; then the entries that belong in, and no others: orders are
//! looked through, all else the fold has named by its index. Lines go to temporary files, since there may be many.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use data_encoding::BASE64;
use strongroom_core::audit::Question;
use strongroom_core::audit::evidence::{Keep, Selection};
use strongroom_core::audit::report::Report;
use strongroom_core::ids::{Index, Millis};

use crate::audit::source::{Ledger, Purpose, Signed};
use crate::exit::{Failure, Outcome};

/// What was gathered.
pub(crate) struct Gathered {
    /// The report as it may be shown to others.
    pub(crate) report: Report,
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

/// An answer, and which entries it stands on.
pub(crate) struct Found {
    /// The whole report: for the lab alone.
    pub(crate) own: Report,
    /// What it stands on.
    pub(crate) selection: Selection,
}

/// What there is about a question in the first `size` entries of a ledger; grants are told as they stand at `now`.
///
/// # Errors
/// The ledger cannot be read.
pub(crate) async fn find(ledger: &mut Ledger<'_>, question: Question, size: Index, now: Millis) -> Outcome<Found> {
    let (own, selection) = ledger.fold(question, size, Purpose::Evidence).await?.evidence(size, now);
    Ok(Found { own, selection })
}

/// Gathers what an answer of the first `size` entries stands on.
pub(crate) async fn gather(ledger: &mut Ledger<'_>, found: Found, size: Index) -> Gathered {
    let Found { own, selection } = found;
    let proven = proven(ledger, &selection, size).await;
    Gathered { report: own.for_others(&selection), proven }
}

async fn proven(ledger: &mut Ledger<'_>, selection: &Selection, size: Index) -> Outcome<Proven> {
    let signed = ledger.checkpoint(size).await?;
    let mut indices = selection.indices();
    ledger
        .walk(size, &Selection::orders(), |shown| {
            if selection.keep(&shown.entry, shown.private.as_ref()) != Keep::Nothing {
                indices.push(shown.entry.index);
            }
            Ok(())
        })
        .await?;
    indices.sort_unstable();
    indices.dedup();
    let file = || tempfile::tempfile().map(BufWriter::new).map_err(|error| Failure::stdio(&error));
    let (mut public, mut private, mut proofs) = (file()?, file()?, file()?);
    let mut count = 0;
    ledger
        .pick(indices, &signed.checkpoint, |shown, proof| {
            let keep = selection.keep(&shown.entry, shown.private.as_ref());
            if keep == Keep::Nothing {
                return Ok(());
            }
            count += 1;
            let secret = if keep == Keep::Whole { shown.secret } else { &[] };
            let proof: Vec<String> = proof.iter().map(|hash| BASE64.encode(hash.as_bytes())).collect();
            line(&mut public, shown.public)
                .and_then(|()| line(&mut private, secret))
                .and_then(|()| Ok(serde_json::to_writer(&mut proofs, &proof)?))
                .and_then(|()| proofs.write_all(b"\n"))
                .map_err(|error| Failure::stdio(&error))
        })
        .await?;
    let done = |file: BufWriter<File>| file.into_inner().map_err(|error| Failure::stdio(error.error()));
    let entries = Lines { count, public: done(public)?, private: done(private)?, proofs: done(proofs)? };
    Ok(Proven { signed, entries })
}

fn line(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    // Exact JSON has no line ends of its own: they are escaped in it.
    out.write_all(bytes)?;
    out.write_all(b"\n")
}
