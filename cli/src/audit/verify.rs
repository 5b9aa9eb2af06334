//! `audit verify`: an exported ledger, verified and replayed. No vault is asked.

use std::fs;
use std::io;
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

use crate::args::Globals;
use crate::audit::exported::Exported;
use crate::audit::{evidence, receipt, snapshot};
use crate::exit::{Failure, Outcome};
use crate::progress::Progress;
use crate::when;

/// The flags of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom audit verify acme-ledger/
  strongroom audit verify suspended.tlog-proof --key \"$(cat acme.log-key)\"
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
        if self.folder.is_file() && evidence::is_archive(&self.folder) {
            return evidence::verify(&self.folder, self.key.as_ref(), globals);
        }
        if self.folder.is_file() {
            return receipt::verify(&self.folder, self.key.as_ref(), self.log_keys()?.as_ref(), globals.output);
        }
        let receipts = receipt::folder_of(&self.folder).map_err(|error| Failure::file(&self.folder, &error))?;
        if let Some(receipts) = receipts {
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
    use std::io::Read;
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
