//! Entries of a ledger into one file, in some form: from the vault, or from the folder of an export.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use serde::Serialize;
use strongroom_client::audit::{LedgerLine, Query};
use strongroom_client::log::Cover;
use strongroom_core::audit::Naming;
use strongroom_core::audit::naming::ObjectPlace;
use strongroom_core::ids::Index;
use strongroom_core::ledger::{Entry, Outcome as Done, Private, Role};
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;

use super::Form;
use super::csv::Csv;
use super::jsonl::JsonLines;
use super::ocsf::Ocsf;
use super::parquet::Parquet;
use super::told::{EntryWriter, Told};
use crate::audit::names::Names;
use crate::audit::source::Source;
use crate::exit::{Failure, Outcome};
use crate::folder::{Pending, pending};
use crate::globals::Globals;
use crate::output::note;
use crate::progress::Progress;

/// What is wanted.
pub(super) struct Wanted<'a> {
    pub(super) form: Form,
    /// The first index.
    pub(super) from: u64,
    /// One past the last index; the ledger's end if none.
    pub(super) to: Option<u64>,
    /// The file, or `-`.
    pub(super) out: &'a Path,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    tenant: String,
    from: u64,
    /// One past the last entry: where the next file begins.
    next: u64,
    out: String,
}

/// Of a tenant, as the vault tells it, up to a signed checkpoint over the head.
///
/// # Errors
/// The caller is no admin of the tenant; an entry is missing in what the vault sends; the file cannot be written.
pub(super) fn of_tenant(tenant: &TenantName, wanted: &Wanted<'_>, globals: &Globals) -> Outcome {
    globals.with_vault(async |vault| {
        let size = vault.checkpoint(tenant, Cover::Head).await?.checkpoint.size.0;
        let (from, to) = wanted.range(size)?;
        let names = Names::of(vault, tenant).await?;
        let mut sink = Sink::open(wanted)?;
        let bar = Progress::of(globals, "exporting", to - from, "entries");
        let mut next = from;
        // An empty range would ask for all of it.
        if from < to {
            let query = Query { from: Index(from), to: Some(Index(to)), ..Query::default() };
            let mut lines = vault.query(tenant, query);
            while let Some(line) = lines.try_next().await? {
                if line.entry.index.0 != next {
                    return Err(left_out(next));
                }
                let places = places(&line)?;
                let vendor = vendor_of(&line.entry).map(|id| names.vendor(&id));
                let (tenant, vendor) = (tenant.as_str(), vendor.as_deref());
                let (entry, private) = (&line.entry, line.private.as_ref());
                sink.write(&Told { tenant, entry, private, places: &places, vendor })?;
                next += 1;
                bar.add(1);
            }
        }
        if next != to {
            return Err(left_out(next));
        }
        drop(bar);
        sink.finish(globals, Written { tenant: tenant.to_string(), from, next, out: wanted.place() })
    })
}

/// Of the folder of an export, whose hashes and signature are checked first.
///
/// # Errors
/// It is no export, or does not hold; the file cannot be written.
pub(super) fn of_folder(folder: PathBuf, wanted: &Wanted<'_>, globals: &Globals) -> Outcome {
    Source::Folder(folder).read(globals, async |ledger| {
        let size = ledger.size().await?;
        let (from, to) = wanted.range(size.0)?;
        let mut tenant = ledger.checkpoint(size).await?.checkpoint.origin.tenant().to_string();
        let mut sink = Sink::open(wanted)?;
        let mut naming = Naming::default();
        ledger
            .walk(size, &[], |shown| {
                let (entry, private) = (&shown.entry, shown.private.as_ref());
                let places = naming.feed(entry, private);
                if let Some(name) = named(private) {
                    tenant = name;
                }
                if !(from..to).contains(&entry.index.0) {
                    return Ok(());
                }
                let vendor = vendor_of(entry);
                let vendor = vendor.map(|id| naming.vendor(&id).map_or_else(|| id.to_string(), ToString::to_string));
                sink.write(&Told { tenant: &tenant, entry, private, places: &places, vendor: vendor.as_deref() })
            })
            .await?;
        sink.finish(globals, Written { tenant, from, next: to, out: wanted.place() })
    })
}

/// The tenant's name: in the order that made it.
fn named(private: Option<&Private>) -> Option<String> {
    match &private?.order.as_ref()?.order.instruction {
        Instruction::CreateTenant { name, .. } => Some(name.to_string()),
        _ => None,
    }
}

fn vendor_of(entry: &Entry) -> Option<strongroom_core::ids::VendorId> {
    match entry.actor.role {
        Role::Vendor(id) => Some(id),
        Role::Operator | Role::Admin | Role::Key => None,
    }
}

/// The names as the vault tells them, held against what the entry numbers.
fn places(line: &LedgerLine) -> Outcome<Vec<Option<ObjectPlace>>> {
    let broken = || {
        let detail = format!("entry {}: the names that came with it do not fit it", line.entry.index);
        Failure::new(Reason::Integrity, detail, "export the ledger without --format, and then the folder in this form")
    };
    let place = |name: &String| {
        let (dataset, path) = name.split_once('/')?;
        Some(Some((dataset.parse().ok()?, path.parse().ok()?)))
    };
    let places: Option<Vec<_>> = line.names.iter().map(place).collect();
    let numbered = line.entry.objects.len() + line.entry.puts.len();
    let fits = |places: &Vec<_>| line.entry.outcome == Done::Denied || places.len() == numbered;
    places.filter(fits).ok_or_else(broken)
}

fn left_out(index: u64) -> Failure {
    let advice =
        "export the ledger without --format and verify that; if an entry is missing there, keep it: it is evidence";
    Failure::new(Reason::Integrity, format!("the vault left out entry {index}"), advice)
}

impl Wanted<'_> {
    /// The indices, for a ledger of so many entries.
    fn range(&self, size: u64) -> Outcome<(u64, u64)> {
        let to = self.to.unwrap_or(size);
        if self.from <= to && to <= size {
            return Ok((self.from, to));
        }
        let detail = format!("the ledger has {size} entries, and {} to {to} are asked for", self.from);
        Err(Failure::new(Reason::PreconditionFailed, detail, "choose --from and --to within it"))
    }

    fn is_stdout(&self) -> bool {
        self.out == Path::new("-")
    }

    fn place(&self) -> String {
        self.out.display().to_string()
    }
}

/// Where it goes: a file that appears whole, or standard output.
struct Sink<'a> {
    writer: Box<dyn EntryWriter>,
    file: Option<Pending>,
    wanted: &'a Wanted<'a>,
}

impl<'a> Sink<'a> {
    fn open(wanted: &'a Wanted<'a>) -> Outcome<Self> {
        let (out, file): (Box<dyn Write + Send>, _) = match wanted.is_stdout() {
            true => (Box::new(io::stdout()), None),
            false => {
                let (file, pending) = pending(wanted.out.to_owned())?;
                (Box::new(file), Some(pending))
            }
        };
        let out = BufWriter::with_capacity(1 << 16, out);
        let writer: io::Result<Box<dyn EntryWriter>> = match wanted.form {
            Form::Jsonl => Ok(Box::new(JsonLines(out))),
            Form::Csv => Csv::new(out).map(|csv| Box::new(csv) as Box<dyn EntryWriter>),
            Form::Parquet => Parquet::new(out).map(|parquet| Box::new(parquet) as Box<dyn EntryWriter>),
            Form::Ocsf => Ok(Box::new(Ocsf(out))),
        };
        Ok(Self { writer: writer.map_err(|error| failed(wanted, &error))?, file, wanted })
    }

    fn write(&mut self, told: &Told<'_>) -> Outcome {
        self.writer.write(told).map_err(|error| failed(self.wanted, &error))
    }

    fn finish(self, globals: &Globals, written: Written) -> Outcome {
        let Self { writer, file, wanted } = self;
        writer.finish().map_err(|error| failed(wanted, &error))?;
        let words = |written: &Written| {
            let Written { tenant, from, next, out } = written;
            let entries = if next - from == 1 { "entry" } else { "entries" };
            format!("{} {entries} of {tenant} in {out}; --from {next} goes on from there", next - from)
        };
        match file {
            None => note(&words(&written)),
            Some(pending) => {
                pending.commit()?;
                note("note: it holds paths, addresses and words of the ledger's people; keep it to yourself");
                globals.output.result(&written, words)?;
            }
        }
        Ok(())
    }
}

fn failed(wanted: &Wanted<'_>, error: &io::Error) -> Failure {
    if wanted.is_stdout() { Failure::stdio(error) } else { Failure::file(wanted.out, error) }
}
