//! `audit exposure`: what somebody had, in ten lines and object by object.

pub(crate) mod summary;
pub(crate) mod told;

use std::io::Write;
use std::path::PathBuf;

use super::answered::report;
use super::asked::Asked;
use super::page;
use super::source::Source;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::{Format, note, write_json, write_table};
use crate::when;

pub(crate) use summary::summary;
pub(crate) use told::{Sums, Told};

/// The flags of `audit exposure`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In place of the tenant may stand a folder that `audit export` wrote: the same answer then needs no vault. Whatever has a / in it is a
folder.

JSON has one line an exposed object: dataset, path (null where that was erased), generation, size, put and ordinal (which name it
in the ledger), read (ranges of 64 KiB segments: the first, and one past the last), bytes (each once), bytes_total (each as often
as it was released), releases, first and last (index and time, null where it was only written), keys, grants, sources,
sources_erased, written_by (null where it was only read), state (current, overwritten, rekeyed, deleted, shredded, unknown), changed (when)
and claims (what the sessions claimed about themselves). With --summary it is one line with the sums instead.

Examples:
  strongroom audit exposure acme --vendor labelco
  strongroom audit exposure ./acme-ledger/ --vendor labelco
  strongroom audit exposure acme --vendor labelco --since 2026-03-24T10:39 --output json
  strongroom audit exposure acme --key SHA256:q0T… --dataset rlhf --prefix math/
  strongroom audit exposure acme --sdk 'strongroom-client/0.3*' --host ci-runner-7
  strongroom audit exposure acme --grant gr_0af1… --summary
  strongroom audit exposure acme --incident in_0af1…             # what that incident asked: its vendor, since when it is in doubt
  strongroom audit exposure acme --vendor labelco --html labelco.html --summary")]
pub struct Exposure {
    /// The tenant, or the folder of an export.
    #[arg(value_name = "TENANT|DIR")]
    source: Source,
    #[command(flatten)]
    asked: Asked,
    /// The sums alone, without the objects.
    #[arg(long)]
    summary: bool,
    /// Write the answer as a page for a browser, too: one file that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Exposure {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; the folder holds no ledger; there is no such vendor.
    pub fn run(self, globals: &Globals) -> Outcome {
        let now = when::now();
        let report = report(&self.source, globals, self.asked.question(globals, now)?, when::millis(now))?;
        if let Some(path) = &self.html {
            page::save(path, &report)?;
        }
        let found = &report.exposure;
        let mut out = std::io::BufWriter::new(std::io::stdout());
        let written = match (globals.output, self.summary) {
            (Format::Json, true) => write_json(&mut out, &Sums::of(found)),
            (Format::Json, false) => {
                summary(&report.question, found).lines().take(2).for_each(note);
                found.objects.iter().try_for_each(|object| write_json(&mut out, &Told::of(object, found)))
            }
            (Format::Table, only) => {
                let words = summary(&report.question, found);
                out.write_all(words.as_bytes()).and_then(|()| match only || found.objects.is_empty() {
                    true => Ok(()),
                    false => {
                        let rows: Vec<Told<'_>> = found.objects.iter().map(|object| Told::of(object, found)).collect();
                        writeln!(out).and_then(|()| write_table(&mut out, &rows))
                    }
                })
            }
        };
        written.and_then(|()| out.flush()).map_err(|error| Failure::stdio(&error))
    }
}
