//! `audit evidence`: one archive about one party, which others can check.

mod archive;
mod check;
mod gather;

use std::path::PathBuf;

use serde::Serialize;

use super::answered::question_of;
use super::asked::Asked;
use super::source::Source;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::note;
use crate::when;

pub(crate) use archive::{Recipient, write};
pub(crate) use check::{is_archive, verify};
pub(crate) use gather::{Found, Gathered, Proven, find, gather};

/// The flags of `audit evidence`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The archive is a tar of: README.md (how to check it, with strongroom and without), report.json, the signed checkpoint and the key that
signed it, and, entry by entry, the public part, the private part and the proof that it is in the log. It is about those who are asked
about: what names others is left out. That nothing else was left out, only an export of the whole ledger proves.

Examples:
  strongroom audit evidence acme --vendor labelco -o labelco.tar && strongroom audit verify labelco.tar
  strongroom audit evidence acme --incident in_0af1… -o incident.tar.age --to age1…
  strongroom audit evidence ./acme-ledger/ --worker SHA256:q0T… --since 2026-03-24 -o worker.tar")]
pub struct Evidence {
    /// The tenant, or the folder of an export.
    #[arg(value_name = "TENANT|DIR")]
    source: Source,
    #[command(flatten)]
    asked: Asked,
    /// The file to write.
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    file: PathBuf,
    /// Seal it to this age recipient, and to no one else; may be given again.
    #[arg(long, value_name = "age1…")]
    to: Vec<Recipient>,
}

#[derive(Debug, Serialize)]
struct Done {
    file: String,
    entries: u64,
    objects: u64,
    bytes: u64,
    log_key: String,
    sealed: bool,
}

impl Evidence {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; there is no such vendor or incident; the file cannot be written.
    pub fn run(self, globals: &Globals) -> Outcome {
        let now = when::now();
        let question = self.asked.question(globals, now)?;
        self.source.read(globals, async |ledger| {
            let size = ledger.size_to_fold().await?;
            let question = question_of(ledger, globals, question, size).await?;
            if !question.is_of_somebody() {
                let advice = "name a vendor, a worker, a key, a grant or an incident, and a time if you like";
                return Err(Failure::usage("evidence is about somebody, everywhere", advice));
            }
            let found = find(ledger, question, size, when::millis(now)).await?;
            let Gathered { report, proven, .. } = gather(ledger, found, size).await;
            let proven = proven?;
            write(&report, &proven, &self.file, &self.to)?;
            let Proven { signed, entries } = &proven;
            let totals = &report.exposure.totals;
            let done = Done {
                file: self.file.display().to_string(),
                entries: entries.count,
                objects: totals.objects,
                bytes: totals.bytes,
                log_key: signed.key.to_string(),
                sealed: !self.to.is_empty(),
            };
            if self.to.is_empty() {
                note("note: it holds paths, addresses and words of people; --to seals it to whom it may concern");
            }
            globals.output.result(&done, |done| {
                format!(
                    "{}: {} entries, about {} exposed objects; checked with the key {}",
                    done.file, done.entries, done.objects, done.log_key
                )
            })
        })
    }
}
