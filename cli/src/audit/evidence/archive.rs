//! The archive as a file: a tar, sealed to age recipients where that is asked for.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::str::FromStr;

use strongroom_core::audit::report::Report;

use super::gather::Proven;
use crate::audit::export::keys_of;
use crate::exit::{Failure, Outcome};

/// The names of the files in an archive, in their order.
pub(super) const README: &str = "README.md";
pub(super) const LOG_KEYS: &str = "log-keys";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const REPORT: &str = "report.json";
pub(super) const ENTRIES: &str = "entries.jsonl";
pub(super) const PRIVATE: &str = "private.jsonl";
pub(super) const PROOFS: &str = "proofs.jsonl";

/// To whom an archive is sealed: an X25519 recipient of age.
#[derive(Clone)]
pub(crate) struct Recipient(age::x25519::Recipient);

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Recipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("not a recipient of age: {error}"))
    }
}

/// Writes the archive, whole or not at all, for its owner's eyes.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(report: &Report, proven: &Proven, file: &Path, to: &[Recipient]) -> Outcome {
    let failed = |error: io::Error| Failure::file(file, &error);
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut out = tempfile::Builder::new().prefix(".evidence-").tempfile_in(folder).map_err(failed)?;
    if to.is_empty() {
        pack(report, proven, &mut io::BufWriter::new(out.as_file_mut())).map_err(failed)?;
    } else {
        let recipients = to.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(|error| failed(io::Error::other(error)))?;
        let sealed = || {
            let mut sealed = encryptor.wrap_output(io::BufWriter::new(out.as_file_mut()))?;
            pack(report, proven, &mut sealed)?;
            sealed.finish()?.flush()
        };
        sealed().map_err(failed)?;
    }
    out.persist(file).map(drop).map_err(|lost| failed(lost.error))
}

fn pack(report: &Report, proven: &Proven, out: &mut impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    let time = report.exposure.now.0 / 1000;
    let whole = [
        (README, readme(report, proven).into_bytes()),
        (LOG_KEYS, keys_of(&proven.signed.keys, proven.signed.checkpoint.size).into_bytes()),
        (CHECKPOINT, proven.signed.note.clone()),
        (REPORT, serde_json::to_vec(report)?),
    ];
    for (name, bytes) in whole {
        append(&mut tar, name, bytes.len() as u64, time, &bytes[..])?;
    }
    let lines = &proven.entries;
    for (name, file) in [(ENTRIES, &lines.public), (PRIVATE, &lines.private), (PROOFS, &lines.proofs)] {
        let mut file: &File = file;
        file.rewind()?;
        append(&mut tar, name, file.metadata()?.len(), time, file)?;
    }
    tar.into_inner()?.flush()
}

fn append(
    tar: &mut tar::Builder<&mut impl Write>,
    name: &str,
    size: u64,
    time: u64,
    bytes: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(time);
    tar.append_data(&mut header, name, bytes)
}

/// What the archive is, and how to check it.
fn readme(report: &Report, proven: &Proven) -> String {
    let Proven { signed, entries } = proven;
    let exposure = &report.exposure;
    // As it is, not as Markdown would have it.
    let summary = crate::audit::exposure::summary(&report.question, exposure);
    let summary: String = summary.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "# Evidence\n\n\
         {summary}\n\
         Ledger {origin}, {size} entries at the checkpoint; {count} of them are here.\n\n\
         ## With strongroom\n\n\
         \x20   strongroom audit verify THIS.tar --key '{key}'\n\n\
         Without --key the key in `log-keys` is believed: whoever made this archive could have made both. Ask the vault's operator, or\n\
         any export of this ledger made before, for the key.\n\n\
         ## Without\n\n\
         | file | holds |\n\
         | --- | --- |\n\
         | `log-keys` | the log's Ed25519 public keys (C2SP signed-note verifier keys): the first, and each that came later with its entry, signed by the one before |\n\
         | `checkpoint` | the log's signed size and root (C2SP tlog-checkpoint) |\n\
         | `entries.jsonl` | a line for each entry: the exact bytes of its public part |\n\
         | `private.jsonl` | its private part, on the line of the same number; empty where it is not shown or was erased |\n\
         | `proofs.jsonl` | its RFC 6962 inclusion proof, likewise: base64, from the leaf's sibling to the root's child |\n\
         | `report.json` | what all that comes to; times are Unix milliseconds |\n\n\
         1. The checkpoint's signature holds: Ed25519 by the newest key in `log-keys`, over the checkpoint's lines before the empty one, line\n\
         \x20  ends included. A key is NAME+ID+BASE64 of the byte 1 and the key's 32; a signature's line, after the empty one, is — NAME BASE64\n\
         \x20  of the ID's 4 bytes and the signature's 64. The checkpoint's second line is its size, the third its root in base64.\n\
         2. For each line: SHA-256(0x00, line) is the leaf, and with the proof it comes to the checkpoint's root.\n\
         3. For each private part: its SHA-256 is the entry's `private`. Hashes, ids and signatures in JSON are hex.\n\
         4. What people signed is in the private parts: ECDSA P-256 with SHA-256 over `strongroom/v1/order` 0x00 and the order's JSON as it\n\
         \x20  stands there, `strongroom/v1/opening` 0x00 and the opening's; Ed25519 by the opening's `call_key` over `strongroom/v1/call` 0x00\n\
         \x20  and SHA-256(session, SHA-256(name of the log), SHA-256(JSON of the call)), which is the entry's `call`. An ECDSA key is an\n\
         \x20  uncompressed point, its signature r and s; the fingerprint in `actor` is base64 of SHA-256 over the key's SubjectPublicKeyInfo.\n\
         5. A `release` gives a key (the `actor`) what its `call` asked for: `objects` are [item of the call, index of the entry that put it,\n\
         \x20  place there, first 64 KiB segment, one past the last, bytes]. The sums in `report.json` are those of all releases here in its time.\n\n\
         What this does not prove: that no entry was left out (an export of the whole ledger does), and that what was released was kept.\n",
        origin = signed.checkpoint.origin,
        size = signed.checkpoint.size,
        count = entries.count,
        key = signed.key,
    )
}
