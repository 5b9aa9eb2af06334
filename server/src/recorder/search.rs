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
    spans: Vec<(u64, Summary)>,
    /// Whether there are no more spans than those.
    is_past_spans: bool,
    /// Of which span, and of its bundles those that are known.
    bundles: Option<(u64, Vec<(u64, Summary)>)>,
}

impl Search {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self { wanted, ..Self::default() }
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
        while from < to {
            let span = from.0 / SPAN;
            if let Some(known) = self.span(tenant, search, span).await? {
                if !known.may_hold(&search.wanted) {
                    from = Index((span + 1) * SPAN);
                    continue;
                }
                self.bundles_of_span(tenant, search, span).await?;
            } else {
                self.newest_bundles(tenant, search, span).await?;
            }
            let bundles = search.bundles.as_ref().map_or(&[][..], |(_, bundles)| bundles);
            loop {
                let number = from.0 / WIDTH;
                let at = bundles.binary_search_by_key(&number, |(number, _)| *number);
                let known = at.ok().and_then(|at| bundles.get(at)).map(|(_, summary)| summary);
                if from >= to || known.is_none_or(|summary| summary.may_hold(&search.wanted)) {
                    return Ok(from.min(to));
                }
                from = Index((number + 1) * WIDTH);
                if from.0 / SPAN != span {
                    break;
                }
            }
        }
        Ok(to)
    }

    /// The summary of a span, if it has one.
    async fn span(&self, tenant: &Tenant, search: &mut Search, span: u64) -> Result<Option<Summary>, RecordError> {
        let is_known = search.spans.iter().any(|(number, _)| *number == span);
        if !is_known && !search.is_past_spans {
            let found = self.catalog().summaries(&tenant.id, &tenant.ledger_key, Level::Span, span, SPANS).await;
            search.spans = found.map_err(RecordError::of_catalog)?;
            search.is_past_spans = search.spans.len() < SPANS as usize;
        }
        Ok(search.spans.iter().find(|(number, _)| *number == span).map(|(_, summary)| summary.clone()))
    }

    /// Reads the summaries of a full span's bundles out of their file.
    async fn bundles_of_span(&self, tenant: &Arc<Tenant>, search: &mut Search, span: u64) -> Result<(), RecordError> {
        if search.bundles.as_ref().is_some_and(|(known, _)| *known == span) {
            return Ok(());
        }
        let Some(tile) = Tile::new(Kind::Summaries, span, WIDTH) else { return Ok(()) };
        let bytes = self.inner.shelf.file(tenant, tile).await;
        let bytes = bytes.map_err(|error| self.inner.unread(tenant, Unread::from(error)))?;
        let stop = |why: String| {
            let why = format!("the log's files: {tile}: {why}");
            self.inner.ledger(&tenant.id).stop(&tenant.id, Stop::Integrity(why))
        };
        let parts = tile.parts(&bytes).map_err(|error| stop(error.to_string()))?;
        let mut bundles = Vec::with_capacity(parts.len());
        for (number, part) in (span * WIDTH..).zip(parts) {
            let summary = Summary::from_bytes(part).map_err(|error| stop(error.to_string()))?;
            if summary.first.0 != number * WIDTH || summary.entries != WIDTH {
                return Err(stop(format!("summary {number} is of other entries")));
            }
            bundles.push((number, summary));
        }
        search.bundles = Some((span, bundles));
        Ok(())
    }

    /// Reads those of the bundles of a span that is not full.
    async fn newest_bundles(&self, tenant: &Tenant, search: &mut Search, span: u64) -> Result<(), RecordError> {
        if search.bundles.as_ref().is_some_and(|(known, _)| *known == span) {
            return Ok(());
        }
        let (key, first) = (&tenant.ledger_key, span * WIDTH);
        let found = self.catalog().summaries(&tenant.id, key, Level::Bundle, first, WIDTH as u32).await;
        let mut found = found.map_err(RecordError::of_catalog)?;
        found.retain(|(number, _)| *number < first + WIDTH);
        search.bundles = Some((span, found));
        Ok(())
    }
}
