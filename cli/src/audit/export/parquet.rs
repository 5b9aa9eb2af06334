//! Parquet: a column a fact, in groups of rows that fit into memory.

use std::io::{self, Write};
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;

use super::row::{COLUMNS, Cell, Kind, rows};
use super::told::{EntryWriter, Told};

/// The most rows of a group.
const ROWS: usize = 64 * 1024;
/// The most bytes of text of a group, as they wait for it: one entry's rows come on top.
const TEXT: usize = 64 * 1024 * 1024;

/// Writes the groups.
pub(super) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Column>,
    rows: usize,
    text: usize,
}

/// The values that wait for their group.
#[derive(Default)]
struct Column {
    numbers: Vec<i64>,
    texts: Vec<ByteArray>,
    /// 1 where there is a value.
    defined: Vec<i16>,
}

impl<W: Write + Send> Parquet<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let schema = parse_message_type(&schema()).map_err(failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        let columns = COLUMNS.iter().map(|_| Column::default()).collect();
        Ok(Self { writer, columns, rows: 0, text: 0 })
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for (column, (_, kind)) in self.columns.iter_mut().zip(COLUMNS) {
            column.write(kind, &mut group)?;
        }
        group.close()?;
        (self.rows, self.text) = (0, 0);
        Ok(())
    }
}

impl Column {
    fn write<W: Write + Send>(
        &mut self,
        kind: Kind,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        let missing = || ParquetError::General("the schema has fewer columns than the rows".to_owned());
        let mut writer = group.next_column()?.ok_or_else(missing)?;
        let defined = Some(&self.defined[..]);
        match kind {
            Kind::Number | Kind::Time => drop(writer.typed::<Int64Type>().write_batch(&self.numbers, defined, None)?),
            Kind::Text => drop(writer.typed::<ByteArrayType>().write_batch(&self.texts, defined, None)?),
        }
        self.numbers.clear();
        self.texts.clear();
        self.defined.clear();
        writer.close()
    }

    fn push(&mut self, cell: &Cell<'_>) -> usize {
        self.defined.push(i16::from(*cell != Cell::None));
        // Numbers in a ledger are below 2⁵³.
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match cell {
            Cell::None => {}
            Cell::Number(value) => self.numbers.push(number(*value)),
            Cell::Time(time) => self.numbers.push(number(time.0)),
            Cell::Text(text) => {
                self.texts.push(ByteArray::from(text.as_bytes().to_vec()));
                return text.len();
            }
        }
        0
    }
}

impl<W: Write + Send> EntryWriter for Parquet<W> {
    fn write(&mut self, told: &Told<'_>) -> io::Result<()> {
        rows(told, |row| {
            let cells = self.columns.iter_mut().zip(row);
            self.text += cells.map(|(column, cell)| column.push(cell)).sum::<usize>();
            self.rows += 1;
            if self.rows >= ROWS || self.text >= TEXT { self.flush() } else { Ok(()) }
        })
        .map_err(failed)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush().map_err(failed)?;
        let mut out = self.writer.into_inner().map_err(failed)?;
        out.flush()
    }
}

/// All columns may be empty: what does not apply is null.
fn schema() -> String {
    let column = |(name, kind): (&str, Kind)| match kind {
        Kind::Number => format!("OPTIONAL INT64 {name};"),
        Kind::Time => format!("OPTIONAL INT64 {name} (TIMESTAMP(MILLIS,true));"),
        Kind::Text => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
    };
    format!("message ledger {{ {} }}", COLUMNS.map(column).join(" "))
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => io::Error::other(error),
        error => io::Error::other(error),
    }
}
