//! Looking for entries: what summaries say cannot hold them is passed over, and not read.
//!
//! ```text
//! summaries of spans (SQL) ─► of the bundles of one that may hold some (a file; SQL for the last) ─► where to read on
//! ```

use std::sync::Arc;

use strongroom_core::ids::Index;
use strongroom_core::ledger::summary::{SPAN, Summary, Wanted};
use strongroom_core::ledger::tile::{Kind, Tile, WIDTH};

use super::ledger::Stop;
use super::shelf::Unread;
use super::{RecordError, Recorder};
use crate::catalog::Level;
use crate::tenants::Tenant;

/// Spans that are read at once.
const SPANS: u32 = 64;

/// What is looked for, and the summaries that were read last.
#[derive(Default)]
pub(crate) struct Search {
    wanted: Wanted,
    known: Known,
}

/// The summaries that were read last.
#[derive(Default)]
pub(super) struct Known {
    spans: Vec<(u64, Summary)>,
    /// Whether there are no more spans than those.
    is_past_spans: bool,
    /// Of which span, and of its bundles those that are known.
    bundles: Option<(u64, Vec<(u64, Summary)>)>,
}

/// What summaries say of entries from some index on.
pub(super) enum Look<T> {
    /// There is nothing before this index.
    Past(Index),
    /// There may be something in the bundle that holds the index.
    Bundle(T),
    /// Its entries have not left the catalog, or only just: no summary says anything of them.
    Recent,
}

impl Search {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self { wanted, known: Known::default() }
    }

    /// Whether summaries can tell anything apart.
    fn is_for_all(&self) -> bool {
        let Wanted { since, until, events, key, vendor, grant, dataset, outcome } = &self.wanted;
        let is_given = [since.is_some(), until.is_some(), key.is_some(), vendor.is_some(), grant.is_some()];
        events.is_empty() && !is_given.contains(&true) && dataset.is_none() && outcome.is_none()
    }
}

impl Recorder {
    /// The first entry from `from` on and before `to` that may be one of those looked for, as far as summaries say; `to` if none is.
    ///
    /// # Errors
    /// [`RecordError::Integrity`] if a summary was changed, which stops the tenant where it is a file; else as [`Recorder::history`].
    pub(crate) async fn seek(
        &self,
        tenant: &Arc<Tenant>,
        search: &mut Search,
        mut from: Index,
        to: Index,
    ) -> Result<Index, RecordError> {
        if search.is_for_all() {
            return Ok(from);
        }
        let Search { wanted, known } = search;
        while from < to {
            match self.look(tenant, known, from, |summary| summary.may_hold(wanted).then_some(())).await? {
                Look::Past(next) => from = next,
                Look::Bundle(()) | Look::Recent => return Ok(from),
            }
        }
        Ok(to)
    }

    /// What summaries say of the bundle that holds an entry, or of the span that it is in.
    ///
    /// # Errors
    /// As [`Recorder::seek`].
    pub(super) async fn look<T>(
        &self,
        tenant: &Arc<Tenant>,
        known: &mut Known,
        from: Index,
        may_hold: impl Fn(&Summary) -> Option<T>,
    ) -> Result<Look<T>, RecordError> {
        let (span, number) = (from.0 / SPAN, from.0 / WIDTH);
        if known.bundles.as_ref().is_none_or(|(known, _)| *known != span) {
            let whole = self.span(tenant, known, span).await?.map(|summary| may_hold(summary).is_some());
            match whole {
                Some(false) => return Ok(Look::Past(Index((span + 1) * SPAN))),
                Some(true) => self.bundles_of_span(tenant, known, span).await?,
                None => self.newest_bundles(tenant, known, span).await?,
            }
        }
        let bundles = known.bundles.as_ref().map_or(&[][..], |(_, bundles)| bundles);
        let at = bundles.binary_search_by_key(&number, |(number, _)| *number);
        Ok(match at.ok().and_then(|at| bundles.get(at)) {
            None => Look::Recent,
            Some((_, summary)) => may_hold(summary).map_or(Look::Past(Index((number + 1) * WIDTH)), Look::Bundle),
        })
    }

    /// The summary of a span, if it has one.
    async fn span<'a>(
        &self,
        tenant: &Tenant,
        known: &'a mut Known,
        span: u64,
    ) -> Result<Option<&'a Summary>, RecordError> {
        let is_known = known.spans.iter().any(|(number, _)| *number == span);
        if !is_known && !known.is_past_spans {
            let found = self.catalog().summaries(&tenant.id, &tenant.ledger_key, Level::Span, span, SPANS).await;
            known.spans = found.map_err(RecordError::of_catalog)?;
            known.is_past_spans = known.spans.len() < SPANS as usize;
        }
        Ok(known.spans.iter().find(|(number, _)| *number == span).map(|(_, summary)| summary))
    }

    /// Reads the summaries of a full span's bundles out of their file.
    async fn bundles_of_span(&self, tenant: &Arc<Tenant>, known: &mut Known, span: u64) -> Result<(), RecordError> {
        let Some(tile) = Tile::new(Kind::Summaries, span, WIDTH) else { return Ok(()) };
        let bytes = self.inner.shelf.file(tenant, tile).await;
        let bytes = bytes.map_err(|error| self.inner.unread(tenant, Unread::from(error)))?;
        let stop = |why: String| {
            let why = format!("the log's files: {tile}: {why}");
            self.inner.ledger(&tenant.id).stop(&tenant.id, Stop::Integrity(why))
        };
        // They lie sealed: who wrote them is known. There are many, and each can be long.
        let read = tokio::task::spawn_blocking(move || {
            let parts = tile.parts(&bytes).map_err(|error| error.to_string())?;
            let mut bundles = Vec::with_capacity(parts.len());
            for (number, part) in (span * WIDTH..).zip(parts) {
                let summary = Summary::read(part).map_err(|error| error.to_string())?;
                if summary.first.0 != number * WIDTH || summary.entries != WIDTH {
                    return Err(format!("summary {number} is of other entries"));
                }
                bundles.push((number, summary));
            }
            Ok(bundles)
        });
        let bundles = read.await.map_err(|error| RecordError::Unavailable(error.to_string()))?.map_err(stop)?;
        known.bundles = Some((span, bundles));
        Ok(())
    }

    /// Reads those of the bundles of a span that is not full.
    async fn newest_bundles(&self, tenant: &Tenant, known: &mut Known, span: u64) -> Result<(), RecordError> {
        let (key, first) = (&tenant.ledger_key, span * WIDTH);
        let found = self.catalog().summaries(&tenant.id, key, Level::Bundle, first, WIDTH as u32).await;
        let mut found = found.map_err(RecordError::of_catalog)?;
        found.retain(|(number, _)| *number < first + WIDTH);
        known.bundles = Some((span, found));
        Ok(())
    }
}
