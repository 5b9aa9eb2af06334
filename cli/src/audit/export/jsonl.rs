//! JSON Lines: one object an entry, with the same fields always; what does not apply, or was erased, is null.

use std::io::{self, Write};

use serde::Serialize;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{CallDigest, GrantId, IncidentId, NodeId, OrderId, RequestId, SessionId};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_core::session::Claims;

use super::told::{EntryWriter, Part, Told};
use crate::output::write_json;
use crate::when;

/// Writes the lines.
pub(super) struct JsonLines<W>(pub(super) W);

#[derive(Serialize)]
struct Line<'a> {
    tenant: &'a str,
    index: u64,
    time: String,
    event: &'static str,
    outcome: &'static str,
    reason: Option<Reason>,
    count: u64,
    role: &'static str,
    vendor: Option<&'a str>,
    key: Fingerprint,
    session: Option<SessionId>,
    request: Option<RequestId>,
    call: Option<CallDigest>,
    order: Option<OrderId>,
    grants: &'a [GrantId],
    node: NodeId,
    objects: Vec<Part<'a>>,
    source: Option<&'a str>,
    claims: Option<&'a Claims>,
    instruction: Option<&'a Instruction>,
    detail: Option<&'a str>,
    incident: Option<IncidentId>,
    erased: bool,
}

impl<W: Write> EntryWriter for JsonLines<W> {
    fn write(&mut self, told: &Told<'_>) -> io::Result<()> {
        let (entry, private) = (told.entry, told.private);
        let line = Line {
            tenant: told.tenant,
            index: entry.index.0,
            time: when::rfc3339(entry.time),
            event: entry.event.name(),
            outcome: told.outcome(),
            reason: entry.reason,
            count: entry.count,
            role: told.role(),
            vendor: told.vendor,
            key: entry.actor.key,
            session: entry.session,
            request: entry.request,
            call: entry.call,
            order: entry.order,
            grants: &entry.grants,
            node: entry.node,
            objects: told.parts(),
            source: private.and_then(|private| private.source.as_deref()),
            claims: private.and_then(|private| private.claims.as_ref()),
            instruction: told.instruction(),
            detail: private.and_then(|private| private.detail.as_deref()),
            incident: told.incident(),
            erased: private.is_none(),
        };
        write_json(&mut self.0, &line)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}
