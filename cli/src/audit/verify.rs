//! `audit verify`: an exported ledger, verified and replayed. No vault is asked.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom_core::ids::Millis;
use strongroom_core::ledger::checkpoint::{MAX_NOTE, VerifierKey};
use strongroom_core::ledger::cosign::WitnessKey;
use strongroom_core::ledger::log_keys::{LogKeys, LogKeysError};
use strongroom_core::ledger::verify::{
    CHECKPOINT, Expected, LOG_KEYS, LogFinding, Verified, Witnessed, is_cosigned, verify_on,
};
use strongroom_core::reason::Reason;

use crate::audit::exported::Exported;
use crate::audit::{evidence, receipt, snapshot};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::incident::EVIDENCE;
use crate::progress::Progress;
use crate::when;

const RECEIPT: &str = "a receipt";
/// How a file begins that age sealed.
const SEALED: &[u8] = b"age-encryption.org/v1";

/// The flags of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom audit verify acme-ledger/
  strongroom audit verify suspended.tlog-proof --key \"$(cat acme.log-key)\"
  strongroom audit verify labelco.tar --key \"$(cat acme.log-key)\"          # what `audit evidence` wrote; sealed: age -d first
  strongroom audit verify acme-ledger/ --key \"$(cat acme.log-key)\" --since last-month/checkpoint
  strongroom audit export acme -o acme-ledger/ && strongroom audit verify acme-ledger/ --snapshot acme.snapshot")]
pub struct Verify {
    /// The folder of an export, the file of a receipt, a folder of receipts, or an archive of evidence.
    #[arg(value_name = "DIR|FILE")]
    folder: PathBuf,
    /// A checkpoint that was kept from before: the ledger must continue it.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// The ledger's public key, known from elsewhere: the first one, or one that came after it.
    #[arg(long, value_name = "NAME+ID+KEY")]
    key: Option<VerifierKey>,
    /// Of receipts: the file of the ledger's keys, as an export has it (log-keys), where the key that signed came after that of
    /// --key.
    #[arg(long, value_name = "FILE", requires = "key")]
    log_keys: Option<PathBuf>,
    /// A witness that is trusted, by its public key: it must have cosigned a checkpoint of the ledger. May be given again.
    #[arg(long, value_name = "NAME+ID+KEY")]
    witness: Vec<WitnessKey>,
    /// Goes on from what an earlier verification left in this file, and leaves there what this one comes to. What is behind it is
    /// not read again. Without the file, all is verified.
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
}

/// What a ledger that holds comes to.
#[derive(Debug, Serialize)]
struct Verdict {
    ledger: String,
    entries: u64,
    releases: u64,
    denials: u64,
    /// Entries that could not be proven whole: something they stand on was erased.
    uncheckable: u64,
    /// The time of the newest entry; none in an empty ledger.
    until: Option<String>,
    root: String,
    log_key: String,
    /// Whether the key was given, and not only found beside the ledger.
    pinned: bool,
    since: Option<u64>,
    /// From which entry on it was read: what is before was verified when the snapshot was made.
    from: u64,
    /// What the trusted witnesses vouch for.
    witnesses: Vec<Vouched>,
}

#[derive(Debug, Serialize)]
struct Vouched {
    witness: String,
    entries: u64,
    time: String,
}

impl Verify {
    /// Does it.
    ///
    /// # Errors
    /// Something is wrong with the ledger: which file, or which entry.
    pub fn run(self, globals: &Globals) -> Outcome {
        if self.folder.is_file() {
            return self.file(globals);
        }
        let receipts = receipt::folder_of(&self.folder).map_err(|error| Failure::file(&self.folder, &error))?;
        if let Some(receipts) = receipts {
            self.check_flags_of(RECEIPT)?;
            let keys = self.log_keys()?;
            let verify = |file: &PathBuf| receipt::verify(file, self.key.as_ref(), keys.as_ref(), globals.output);
            return receipts.iter().try_for_each(verify);
        }
        let since = self.since.as_deref().map(read_note).transpose()?;
        let expected = Expected { key: self.key.clone(), since, witnesses: self.witness.clone() };
        let snapshot = self.snapshot.as_deref().map(snapshot::read).transpose()?.flatten();
        let bar = Progress::of(globals, "verifying", 0, "entries");
        let verified = verify_on(&mut Exported::at(&self.folder), &expected, snapshot, |done, of| bar.set(done, of));
        drop(bar);
        let (verified, snapshot) = verified.map_err(|finding| self.failure(finding))?;
        if let Some(path) = &self.snapshot {
            snapshot::write(path, &snapshot)?;
        }
        let verdict = Verdict::of(verified, self.key.is_some());
        globals.output.result(&verdict, |verdict| verdict.words(&self.folder))
    }

    /// Verifies what is one file.
    fn file(&self, globals: &Globals) -> Outcome {
        let file = &self.folder;
        let mut start = Vec::new();
        let read = fs::File::open(file).and_then(|open| open.take(64).read_to_end(&mut start));
        read.map_err(|error| Failure::file(file, &error))?;
        if receipt::begins_like_one(&start) {
            self.check_flags_of(RECEIPT)?;
            return receipt::verify(file, self.key.as_ref(), self.log_keys()?.as_ref(), globals.output);
        }
        if evidence::is_archive(file) {
            self.check_flags_of("an archive of evidence")?;
            return evidence::verify(file, self.key.as_ref(), globals);
        }
        let name = file.display();
        if start.starts_with(SEALED) {
            let advice = format!("open it first: age -d -i IDENTITY {name} > evidence.tar");
            return Err(Failure::new(
                Reason::PreconditionFailed,
                format!("{name} is sealed to age recipients"),
                advice,
            ));
        }
        let detail = format!("{name} is neither a receipt nor an archive of evidence, or was changed");
        let advice =
            "name the folder that `audit export` wrote, or a file of `audit evidence`, `audit prove` or --receipt";
        Err(Failure::new(Reason::Integrity, detail, advice))
    }

    /// What is asked of a whole ledger, one file cannot answer: it is not passed over in silence.
    fn check_flags_of(&self, what: &str) -> Outcome {
        let flags = [
            ("--since", self.since.is_some()),
            ("--witness", !self.witness.is_empty()),
            ("--snapshot", self.snapshot.is_some()),
            ("--log-keys", self.log_keys.is_some() && what != RECEIPT),
        ];
        match flags.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Failure::usage(
                format!("{flag} is not for {what}"),
                "leave it out, or verify the folder that `audit export` wrote",
            )),
        }
    }

    fn log_keys(&self) -> Outcome<Option<LogKeys>> {
        let Some(path) = &self.log_keys else { return Ok(None) };
        let text = String::from_utf8_lossy(&read_note(path)?).into_owned();
        let broken = |error: LogKeysError| {
            Failure::usage(format!("{}: {error}", path.display()), "give the log-keys of an export")
        };
        text.parse().map(Some).map_err(broken)
    }

    fn failure(&self, finding: LogFinding<io::Error>) -> Failure {
        match finding {
            LogFinding::Read { path, error } => Failure::file(&self.folder.join(path), &error),
            LogFinding::List(error) => Failure::file(&self.folder, &error),
            LogFinding::Missing(name) if name == LOG_KEYS && !self.folder.join(CHECKPOINT).exists() => {
                let archive = self.folder.join(EVIDENCE);
                if archive.is_file() {
                    let detail = format!("{} is an incident's folder, and no export", self.folder.display());
                    return Failure::usage(detail, format!("run: strongroom audit verify {}", archive.display()));
                }
                let detail = format!("{} holds no ledger: neither {LOG_KEYS} nor {CHECKPOINT}", self.folder.display());
                Failure::new(Reason::Integrity, detail, "name the folder that `audit export` wrote")
            }
            LogFinding::Checkpoint { path, error } if path != CHECKPOINT && !is_cosigned(&path) => {
                let advice = "give --since the checkpoint of an earlier export, or of a monitor's folder";
                Failure::new(Reason::Integrity, format!("{path}: {error}"), advice)
            }
            finding => {
                let advice = "export it again; if that says the same, keep both and ask the vault's operator";
                Failure::new(Reason::Integrity, finding.to_string(), advice)
            }
        }
    }
}

fn read_note(path: &Path) -> Outcome<Vec<u8>> {
    let failed = |error| Failure::file(path, &error);
    let mut note = Vec::new();
    fs::File::open(path).map_err(failed)?.take(MAX_NOTE as u64 + 1).read_to_end(&mut note).map_err(failed)?;
    Ok(note)
}

impl Verdict {
    fn of(verified: Verified, pinned: bool) -> Self {
        let Verified { checkpoint, key, since, witnessed, from, summary } = verified;
        let vouched = |Witnessed { witness, size, time }: Witnessed| Vouched {
            witness: witness.to_string(),
            entries: size.0,
            time: when::rfc3339(Millis(time.saturating_mul(1000))),
        };
        Self {
            ledger: checkpoint.origin.to_string(),
            entries: checkpoint.size.0,
            releases: summary.counts.releases,
            denials: summary.counts.denials,
            uncheckable: summary.counts.uncheckable,
            until: (checkpoint.size.0 > 0).then(|| when::rfc3339(summary.head.time)),
            root: checkpoint.root.to_string(),
            log_key: key.to_string(),
            pinned,
            since: since.map(|since| since.0),
            from: from.0,
            witnesses: witnessed.into_iter().map(vouched).collect(),
        }
    }

    fn words(&self, folder: &Path) -> String {
        let mut words = format!("{} holds: {} entries", folder.display(), self.entries);
        self.until.iter().for_each(|until| words.push_str(&format!(" until {until}")));
        words.push_str(&format!(
            ", signed, complete and replayed ({} releases, {} denials",
            self.releases, self.denials
        ));
        if self.uncheckable > 0 {
            words.push_str(&format!("; {} entries uncheckable: erased", self.uncheckable));
        }
        words.push(')');
        self.since.iter().for_each(|since| words.push_str(&format!(", continues the {since} entries seen before")));
        for Vouched { witness, entries, time } in &self.witnesses {
            let name = witness.split('+').next().unwrap_or_default();
            words.push_str(&format!("; {name} cosigned the first {entries} at {time}"));
        }
        if self.from > 0 {
            words.push_str(&format!("; what is before entry {} was verified earlier, and not read again", self.from));
        }
        words.push_str(match self.pinned {
            true => "; the key is the one given",
            false => "; the key is the one beside it",
        });
        words
    }
}
