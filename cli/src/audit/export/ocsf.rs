//! OCSF: each entry as an event of the class API Activity, one JSON object a line.
//!
//! The class is "general CRUD API activities": what every entry is, a call or an order that somebody's key signed, done or refused.
//! What has no place in it stands in `unmapped`, by the names of the JSON Lines form.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde_json::{Map, Value, json};
use strongroom_core::call::Work;
use strongroom_core::ledger::{Entry, Event, Outcome, Role};

use super::told::{EntryWriter, Part, Told};
use crate::output::write_json;

/// The version of the schema.
const VERSION: &str = "1.5.0";
/// API Activity, in the category Application Activity.
const CLASS: u64 = 6003;

/// Writes the events.
pub(super) struct Ocsf<W>(pub(super) W);

impl<W: Write> EntryWriter for Ocsf<W> {
    fn write(&mut self, told: &Told<'_>) -> io::Result<()> {
        write_json(&mut self.0, &without_nulls(event(told)))
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

/// What the class calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Create = 1,
    Read = 2,
    Update = 3,
    Delete = 4,
    Other = 99,
}

impl Activity {
    fn of(told: &Told<'_>) -> Self {
        if told.entry.outcome == Outcome::Done {
            return Self::of_event(told.entry.event);
        }
        // What was refused is what it would have been.
        let work = told.private.and_then(|private| private.call.as_ref()).map(|call| &call.call.work);
        match (work, told.instruction()) {
            (Some(Work::Get(_) | Work::ReleaseKeys(_)), _) => Self::Read,
            (Some(Work::Put(_)), _) => Self::Create,
            (Some(Work::Delete(_)), _) => Self::Delete,
            (None, Some(instruction)) => Self::of_event(Event::of_instruction(instruction)),
            (None, None) => Self::Other,
        }
    }

    /// By the event's verb.
    fn of_event(event: Event) -> Self {
        match event.name().rsplit('.').next().unwrap_or_default() {
            "created" | "added" | "issued" | "put" | "open" | "opened" | "rotated" | "due" => Self::Create,
            "release" | "repeat" => Self::Read,
            "suspended" | "resumed" | "closed" | "renewed" | "set" | "frozen" | "unfrozen" | "blocked"
            | "unblocked" | "rekeyed" => Self::Update,
            "removed" | "revoked" | "deleted" | "destroyed" | "shredded" | "erased" => Self::Delete,
            _ => Self::Other,
        }
    }

    fn name(self, event: Event) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Read => "Read",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::Other => event.name(),
        }
    }
}

fn event(told: &Told<'_>) -> Value {
    let (entry, private) = (told.entry, told.private);
    let activity = Activity::of(told);
    let denied = entry.outcome == Outcome::Denied;
    let mut event = json!({
        "class_uid": CLASS,
        "class_name": "API Activity",
        "category_uid": CLASS / 1000,
        "category_name": "Application Activity",
        "activity_id": activity as u64,
        "activity_name": activity.name(entry.event),
        "type_uid": CLASS * 100 + activity as u64,
        "type_name": format!("API Activity: {}", activity.name(entry.event)),
        "time": entry.time.0,
        "severity_id": if denied { 2 } else { 1 },
        "severity": if denied { "Low" } else { "Informational" },
        "status_id": if denied { 2 } else { 1 },
        "status": if denied { "Failure" } else { "Success" },
        "count": entry.count,
        "metadata": {
            "version": VERSION,
            "product": { "name": "strongroom", "vendor_name": "strongroom", "version": env!("CARGO_PKG_VERSION") },
            "uid": format!("{}/{}", told.tenant, entry.index),
            "sequence": entry.index.0,
            "event_code": entry.event.name(),
            "log_name": "ledger",
            "tenant_uid": told.tenant,
        },
        "actor": actor(told),
        "api": api(entry),
        "src_endpoint": source(private.and_then(|private| private.source.as_deref())),
        "unmapped": unmapped(told),
    });
    set(&mut event["metadata"], "correlation_uid", told.incident().map(|incident| incident.to_string().into()));
    let detail = private.and_then(|private| private.detail.as_deref());
    set(&mut event, "status_code", entry.reason.map(|reason| reason.code().into()));
    set(&mut event, "status_detail", detail.map(Into::into));
    let resources: Vec<Value> = told.parts().iter().map(resource).collect();
    set(&mut event, "resources", (!resources.is_empty()).then(|| resources.into()));
    event
}

fn actor(told: &Told<'_>) -> Value {
    let entry = told.entry;
    let mut user = json!({ "uid": entry.actor.key.to_string() });
    let (kind, id) = match entry.actor.role {
        Role::Operator | Role::Admin => ("Admin", 2),
        Role::Vendor(_) | Role::Key => ("User", 1),
    };
    set(&mut user, "type", Some(kind.into()));
    set(&mut user, "type_id", Some(id.into()));
    set(&mut user, "name", Some(told.vendor.unwrap_or(told.role()).into()));
    if let Role::Vendor(id) = entry.actor.role {
        let name = told.vendor.map_or_else(|| id.to_string(), str::to_owned);
        set(&mut user, "org", Some(json!({ "name": name, "uid": id.to_string() })));
    }
    let mut actor = json!({ "user": user });
    set(&mut actor, "session", entry.session.map(|session| json!({ "uid": session.to_string() })));
    actor
}

fn api(entry: &Entry) -> Value {
    let mut api = json!({ "operation": entry.event.name(), "service": { "name": "strongroom" } });
    set(&mut api, "request", entry.request.map(|request| json!({ "uid": request.to_string() })));
    set(&mut api, "response", entry.reason.map(|reason| json!({ "error": reason.code() })));
    api
}

/// Where it came from; an endpoint must say something of itself.
fn source(source: Option<&str>) -> Value {
    match (source.and_then(|source| source.parse::<SocketAddr>().ok()), source) {
        (Some(socket), _) => json!({ "ip": socket.ip().to_string(), "port": socket.port() }),
        (None, Some(source)) => json!({ "name": source }),
        (None, None) => json!({ "name": "unknown" }),
    }
}

fn resource(part: &Part<'_>) -> Value {
    let mut resource = json!({ "type": "object", "data": part });
    let name = part.dataset.zip(part.path).map(|(dataset, path)| format!("{dataset}/{path}"));
    let uid = part.put.zip(part.ordinal).map(|(put, ordinal)| format!("{put}.{ordinal}"));
    set(&mut resource, "version", part.generation.map(|generation| generation.to_string().into()));
    // A resource has a name or an id: what was erased keeps its id, what was denied has its name.
    set(&mut resource, "name", name.map(Into::into));
    set(&mut resource, "uid", uid.map(Into::into));
    resource
}

fn unmapped(told: &Told<'_>) -> Value {
    let (entry, private) = (told.entry, told.private);
    let grants: Vec<String> = entry.grants.iter().map(ToString::to_string).collect();
    let mut unmapped = json!({ "role": told.role(), "node": entry.node.to_string(), "erased": private.is_none() });
    set(&mut unmapped, "grants", (!grants.is_empty()).then(|| grants.into()));
    set(&mut unmapped, "order", entry.order.map(|order| order.to_string().into()));
    set(&mut unmapped, "call", entry.call.map(|call| call.to_string().into()));
    set(&mut unmapped, "instruction", told.instruction().map(|instruction| json!(instruction)));
    set(&mut unmapped, "claims", private.and_then(|private| private.claims.as_ref()).map(|claims| json!(claims)));
    unmapped
}

/// Sets a field, if there is a value.
fn set(object: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(name.to_owned(), value);
    }
}

/// The schema knows no null: what is not there is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_that_is_done_has_its_activity() {
        for event in Event::ALL.into_iter().filter(|event| *event != Event::Denied) {
            assert_ne!(Activity::of_event(event), Activity::Other, "{}", event.name());
        }
    }
}
