//! `audit match`: whether a leaked sample is ours, and who had it.
//!
//! The datasets are read here and looked through here, on all cores; of the sample, nothing leaves this machine.

mod found;
mod reading;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use strongroom_client::PrefixName;
use strongroom_core::audit::matching::{Candidate, Holders, Likeness, MAX_NORMAL, Sample, Who};
use strongroom_core::ids::Index;
use strongroom_core::keys::secret::random_bytes;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use self::found::Found;
use crate::amount::{Size, counted};
use crate::audit::source::Ledger;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::grant::short_grant;
use crate::name;
use crate::name::short_key;
use crate::output::{Format, Row, write_json, write_table};
use crate::when;

/// The flags of `audit match`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An item is a line of the sample, and the sample as a whole where it has several. It is looked for among the lines of objects and
among whole objects, as it is and after normalising: the order of JSON keys, white space, Unicode's composed forms, escapes. What was
changed in its words is not found, nor what stands only in older generations or was deleted.

It reads all of the named data as an admin does: the reads are in the ledger, after the entries that the answer is of.

Examples:
  strongroom audit match leaked.jsonl acme/rlhf
  strongroom audit match leaked.jsonl acme/rlhf/math/ acme/code --output json
  strongroom audit match leaked.jsonl acme/rlhf --ledger acme-ledger/")]
pub struct Match {
    /// The sample: a file, or - for standard input.
    #[arg(value_name = "SAMPLE")]
    sample: PathBuf,
    /// Where to look: datasets (acme/rlhf), folders (acme/rlhf/math/), of one tenant.
    #[arg(value_parser = name::parse::<PrefixName>, required = true, value_name = "NAME")]
    names: Vec<PrefixName>,
    /// Who had what is read from this folder of an export, and not from the vault.
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Items that are shorter than this when normalised are not looked for: they stand everywhere.
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    shortest: usize,
    /// The most candidates of each kind that are told.
    #[arg(long, value_name = "N", default_value_t = 10)]
    most: usize,
}

/// Lines of the sample that are named at most.
const MISSING: usize = 10;

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    tenant: TenantName,
    /// Items of the sample, equal ones and short ones among them.
    items: u64,
    /// Of these, those that were too short to look for.
    short: u64,
    /// Different items that were looked for.
    different: u64,
    /// Of these, those that were found as they are.
    exact: u64,
    /// Those that were found only after normalising.
    normalised: u64,
    /// The first lines of the sample that were not found.
    missing: Vec<u64>,
    /// Whether there are more of these.
    #[serde(skip)]
    more: bool,
    /// Whether the sample as a whole is in no object.
    whole_missing: bool,
    /// What was looked through.
    objects: u64,
    bytes: u64,
    /// Objects that something was found in.
    objects_found: u64,
    /// How many entries of the ledger the candidates stand on.
    size: u64,
    candidates: Vec<Told>,
}

/// A candidate as programs get it, and as a row.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    candidate: Candidate,
    /// Of how many that were found.
    of: u64,
    /// The name, where it is a vendor, or a vendor's key.
    vendor: Option<String>,
}

impl Row for Told {
    const HEADS: &'static [&'static str] = &["HAD", "OF", "WHO", "", "FIRST", "LAST"];

    fn cells(&self) -> Vec<String> {
        let Candidate { who, items, written, first, last, admin } = &self.candidate;
        let of = self.vendor.as_ref().map(|vendor| format!("of {vendor}"));
        let (who, mut what) = match who {
            Who::Vendor(id) => (self.vendor.clone().unwrap_or_else(|| id.to_string()), "vendor".to_owned()),
            Who::Key(key) => (short_key(key), of.unwrap_or_else(|| "key".to_owned())),
            Who::Grant(grant) => (short_grant(grant), "grant".to_owned()),
            Who::Session(session) => (format!("{:.12}…", session.to_string()), "session".to_owned()),
        };
        if *admin {
            what = format!("{what}, of an admin");
        }
        if *written > 0 {
            what = format!("{what}, wrote {written}");
        }
        let time = |at: &strongroom_core::audit::roster::Moment| when::seconds(at.time);
        vec![items.to_string(), self.of.to_string(), who, what, time(first), time(last)]
    }
}

impl Match {
    /// Does it.
    ///
    /// # Errors
    /// The sample cannot be read or is too large; the caller is no admin of the tenant; an object cannot be read.
    pub fn run(self, globals: &Globals) -> Outcome {
        let tenant = self.names[0].tenant.clone();
        if self.names.iter().any(|name| name.tenant != tenant) {
            return Err(Failure::usage("the names are of several tenants", "ask about one tenant at a time"));
        }
        let sample = self.read_sample()?;
        if sample.is_empty() {
            let detail = format!("there is nothing to look for in {}", self.sample.display());
            return Err(Failure::new(
                Reason::InvalidArgument,
                detail,
                "name a file with text, or a smaller --shortest",
            ));
        }
        globals.with_vault(async |vault| {
            let mut ledger = match &self.ledger {
                None => Ledger::vault(vault, tenant.clone(), globals),
                Some(folder) => Ledger::folder(folder, globals)?,
            };
            // First of all: the reads that follow are no answer.
            let size = ledger.size_to_fold().await?;
            let (sample, found) = reading::look(vault, globals, &self.names, sample).await?;
            let holders = holders(&mut ledger, size, &found).await?;
            let answer = self.answer(tenant.clone(), &sample, &found, &holders, size.0);
            tell(globals, &self.sample, &self.names, &answer)?;
            found.complete()
        })
    }

    fn read_sample(&self) -> Outcome<Sample> {
        let failed = |error: &io::Error| match self.sample == Path::new("-") {
            true => Failure::stdio(error),
            false => Failure::file(&self.sample, error),
        };
        let key = random_bytes().map_err(|error| Failure::new(Reason::Internal, error.to_string(), "try again"))?;
        let mut sample = Sample::new(key, self.shortest);
        let mut input: Box<dyn BufRead> = match self.sample == Path::new("-") {
            true => Box::new(BufReader::new(io::stdin())),
            false => Box::new(BufReader::new(File::open(&self.sample).map_err(|error| failed(&error))?)),
        };
        let too_large = |error: strongroom_core::audit::matching::SampleError| {
            Failure::new(Reason::TooLarge, error.to_string(), "split the sample, and ask about its parts")
        };
        let (mut whole, mut held) = (sample.long(), Vec::new());
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            // Longer lines are taken in pieces of a line of their own.
            let mut long = None;
            loop {
                let read = io::Read::take(&mut input, MAX_NORMAL as u64 + 1).read_until(b'\n', &mut line);
                if read.map_err(|error| failed(&error))? == 0 || line.ends_with(b"\n") {
                    break;
                }
                if line.len() > MAX_NORMAL {
                    long.get_or_insert_with(|| sample.long()).feed(&line);
                    whole.feed(&line);
                    held.clear();
                    line.clear();
                }
            }
            if line.is_empty() && long.is_none() {
                break;
            }
            number += 1;
            whole.feed(&line);
            match &mut long {
                Some(long) => {
                    long.feed(&line);
                    sample.add_long(number, long).map_err(too_large)?;
                }
                None => sample.add(number, &line).map_err(too_large)?,
            }
            if whole.len() <= MAX_NORMAL as u64 {
                held.extend_from_slice(&line);
            } else {
                held = Vec::new();
            }
        }
        // One line alone is the whole already.
        if number > 1 {
            match held.is_empty() {
                true => sample.add_long(0, &whole).map_err(too_large)?,
                false => sample.add(0, &held).map_err(too_large)?,
            }
        }
        Ok(sample)
    }

    fn answer(&self, tenant: TenantName, sample: &Sample, found: &Found, holders: &Holders, size: u64) -> Answer {
        let of = |likeness| found.items().filter(|found| *found == Some(likeness)).count() as u64;
        let (exact, normalised) = (of(Likeness::Exact), of(Likeness::Normal));
        let missing = (0..).zip(found.items()).filter(|(_, found)| found.is_none());
        let (whole, mut missing): (Vec<u64>, Vec<u64>) =
            missing.filter_map(|(no, _)| sample.line(no)).partition(|line| *line == 0);
        let more = missing.len() > MISSING;
        missing.truncate(MISSING);
        let mut counts = std::collections::HashMap::new();
        let told = |candidate: Candidate| {
            let vendor = match &candidate.who {
                Who::Vendor(id) => Some(*id),
                Who::Key(key) => holders.vendor_of(key),
                Who::Grant(_) | Who::Session(_) => None,
            };
            let vendor = vendor.and_then(|id| holders.vendor_name(&id)).map(ToString::to_string);
            Told { candidate, of: exact + normalised, vendor }
        };
        let candidates = holders.candidates(&found.finds(), sample.len()).into_iter().filter(|candidate| {
            let count = counts.entry(std::mem::discriminant(&candidate.who)).or_insert(0);
            *count += 1;
            *count <= self.most
        });
        Answer {
            tenant,
            items: sample.items(),
            short: sample.short(),
            different: sample.len() as u64,
            exact,
            normalised,
            missing,
            more,
            whole_missing: !whole.is_empty(),
            objects: found.read(),
            bytes: found.bytes(),
            objects_found: found.objects().len() as u64,
            size,
            candidates: candidates.map(told).collect(),
        }
    }
}

/// Who was released what of the objects that something was found in, by the first `size` entries.
async fn holders(ledger: &mut Ledger<'_>, size: Index, found: &Found) -> Outcome<Holders> {
    let mut holders = Holders::new(ledger.roster(size).await?, found.objects());
    let needs = holders.needs();
    ledger
        .extract(size, &needs, |facts, entries| {
            holders.feed_extract(facts, entries);
            Ok(())
        })
        .await?;
    Ok(holders)
}

fn tell(globals: &Globals, sample: &Path, names: &[PrefixName], answer: &Answer) -> Outcome {
    let mut out = io::BufWriter::new(io::stdout());
    let written = match globals.output {
        Format::Json => write_json(&mut out, answer),
        Format::Table => {
            writeln!(out, "{}", words(sample, names, answer)).and_then(|()| match answer.candidates.is_empty() {
                true => Ok(()),
                false => writeln!(out).and_then(|()| write_table(&mut out, &answer.candidates)),
            })
        }
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::stdio(&error))
}

/// The answer in a few lines.
fn words(sample: &Path, names: &[PrefixName], answer: &Answer) -> String {
    let places: Vec<String> = names.iter().map(ToString::to_string).collect();
    let found = answer.exact + answer.normalised;
    let mut lines = vec![format!(
        "{}: {found} of {} stand in {}, {} as they are and {} in another spelling.",
        sample.display(),
        counted(answer.different, "different item"),
        places.join(", "),
        answer.exact,
        answer.normalised,
    )];
    if answer.short > 0 {
        lines.push(format!(
            "{} too short to tell.",
            counted(answer.short, "item") + if answer.short == 1 { " is" } else { " are" }
        ));
    }
    if found < answer.different {
        let missing: Vec<String> = answer.missing.iter().map(ToString::to_string).collect();
        let more = if answer.more { " and more" } else { "" };
        if !missing.is_empty() {
            lines.push(format!("Not found: the sample's lines {}{more}.", missing.join(", ")));
        }
        if answer.whole_missing {
            lines.push("Not found: the sample as a whole, in one piece.".to_owned());
        }
    }
    lines.push(format!("Looked through {}, {}.", counted(answer.objects, "object"), Size(answer.bytes)));
    if found > 0 {
        let objects = counted(answer.objects_found, "object");
        lines.push(format!(
            "It stands in {objects}. Who had it, to the segment, by the ledger's {} entries, most of it first:",
            answer.size
        ));
    }
    lines.join("\n")
}
