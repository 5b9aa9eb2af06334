//! Rows of a flat table: one an entry and object, and one for an entry without objects.

use std::borrow::Cow;

use strongroom_core::ids::Millis;

use super::told::{Part, Told};

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number below 2⁵³.
    Number,
    /// A moment, to the millisecond, UTC.
    Time,
    /// Text in UTF-8.
    Text,
}

/// The columns: stable, new ones come at the end.
pub(super) const COLUMNS: [(&str, Kind); 37] = [
    ("tenant", Kind::Text),
    ("index", Kind::Number),
    ("time", Kind::Time),
    ("event", Kind::Text),
    ("outcome", Kind::Text),
    ("reason", Kind::Text),
    ("count", Kind::Number),
    ("role", Kind::Text),
    ("vendor", Kind::Text),
    ("key", Kind::Text),
    ("session", Kind::Text),
    ("request", Kind::Text),
    ("call", Kind::Text),
    ("order", Kind::Text),
    ("grant", Kind::Text),
    ("grants", Kind::Text),
    ("node", Kind::Text),
    ("part", Kind::Number),
    ("dataset", Kind::Text),
    ("path", Kind::Text),
    ("put", Kind::Number),
    ("ordinal", Kind::Number),
    ("generation", Kind::Number),
    ("size", Kind::Number),
    ("content_root", Kind::Text),
    ("first_segment", Kind::Number),
    ("end_segment", Kind::Number),
    ("bytes", Kind::Number),
    ("source", Kind::Text),
    ("sdk", Kind::Text),
    ("host", Kind::Text),
    ("job", Kind::Text),
    ("instruction", Kind::Text),
    ("detail", Kind::Text),
    ("erased", Kind::Number),
    ("parts", Kind::Number),
    ("incident", Kind::Text),
];

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    /// It does not apply, or was erased.
    None,
    Number(u64),
    Time(Millis),
    Text(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    fn number(number: Option<impl Into<u64>>) -> Self {
        number.map_or(Self::None, |number| Self::Number(number.into()))
    }

    fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.into()))
    }

    fn shown(value: Option<impl ToString>) -> Self {
        value.map_or(Self::None, |value| Self::Text(value.to_string().into()))
    }
}

/// A row: a cell for each of [`COLUMNS`].
pub(super) type Row<'a> = [Cell<'a>; COLUMNS.len()];

/// Gives the rows of an entry to `each`, one after the other.
pub(super) fn rows<'a, E>(told: &Told<'a>, mut each: impl FnMut(&Row<'a>) -> Result<(), E>) -> Result<(), E> {
    let parts = told.parts();
    let count = parts.len() as u64;
    let mut row = entry_cells(told, count);
    if parts.is_empty() {
        return each(&row);
    }
    for (at, part) in (0_u64..).zip(parts) {
        part_cells(&mut row, at, part);
        each(&row)?;
    }
    Ok(())
}

/// The cells that the entry's rows have in common.
fn entry_cells<'a>(told: &Told<'a>, parts: u64) -> Row<'a> {
    let (entry, private) = (told.entry, told.private);
    let claims = private.and_then(|private| private.claims.as_ref());
    let grants: Vec<String> = entry.grants.iter().map(ToString::to_string).collect();
    // It was read as JSON, and so can be written.
    let instruction = told.instruction().and_then(|instruction| serde_json::to_string(instruction).ok());
    [
        Cell::text(Some(told.tenant)),
        Cell::Number(entry.index.0),
        Cell::Time(entry.time),
        Cell::text(Some(entry.event.name())),
        Cell::text(Some(told.outcome())),
        Cell::shown(entry.reason),
        Cell::Number(entry.count),
        Cell::text(Some(told.role())),
        Cell::text(told.vendor),
        Cell::shown(Some(entry.actor.key)),
        Cell::shown(entry.session),
        Cell::shown(entry.request),
        Cell::shown(entry.call),
        Cell::shown(entry.order),
        Cell::shown(entry.grants.first()),
        Cell::shown((!grants.is_empty()).then(|| grants.join(" "))),
        Cell::shown(Some(entry.node)),
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::text(private.and_then(|private| private.source.as_deref())),
        Cell::text(claims.map(|claims| claims.sdk.as_str())),
        Cell::text(claims.map(|claims| claims.host.as_str())),
        Cell::text(claims.map(|claims| claims.job.as_str())),
        Cell::shown(instruction),
        Cell::text(private.and_then(|private| private.detail.as_deref())),
        Cell::Number(u64::from(private.is_none())),
        Cell::Number(parts),
        Cell::shown(told.incident()),
    ]
}

/// The cells of one object.
fn part_cells<'a>(row: &mut Row<'a>, at: u64, part: Part<'a>) {
    let cells = [
        Cell::Number(at),
        Cell::text(part.dataset),
        Cell::text(part.path),
        Cell::number(part.put),
        Cell::number(part.ordinal),
        Cell::number(part.generation),
        Cell::number(part.size),
        Cell::shown(part.content_root),
        Cell::number(part.first_segment),
        Cell::number(part.end_segment),
        Cell::number(part.bytes),
    ];
    for (place, cell) in row[PART..].iter_mut().zip(cells) {
        *place = cell;
    }
}

/// Where the cells of an object begin.
const PART: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_cells_stand_where_their_names_do() {
        let names: Vec<&str> = COLUMNS[PART..PART + 11].iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "part",
                "dataset",
                "path",
                "put",
                "ordinal",
                "generation",
                "size",
                "content_root",
                "first_segment",
                "end_segment",
                "bytes"
            ]
        );
    }
}
