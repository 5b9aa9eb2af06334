//! Entry batches: what one commit appended, as one byte string.
//!
//! u32 BE length ‖ bytes, for each entry. The public parts of a commit make one batch, the private parts another, beside it; an
//! erased private part has length 0.

/// The most bytes of one public entry.
pub const MAX_ENTRY: usize = 60 * 1024;

/// A batch that does not hold what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry batch is cut or has bytes left over")]
pub struct BrokenBatch;

/// Appends one entry's bytes.
pub fn push(batch: &mut Vec<u8>, bytes: &[u8]) {
    batch.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    batch.extend_from_slice(bytes);
}

/// The entries of a batch, in order.
///
/// # Errors
/// [`BrokenBatch`] if a length points past the end.
pub fn split(mut batch: &[u8]) -> Result<Vec<&[u8]>, BrokenBatch> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = batch.split_first_chunk::<4>() {
        let (entry, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(BrokenBatch)?;
        entries.push(entry);
        batch = rest;
    }
    if batch.is_empty() { Ok(entries) } else { Err(BrokenBatch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_split_as_they_were_made() {
        let mut batch = Vec::new();
        push(&mut batch, b"one");
        push(&mut batch, b"");
        assert_eq!(split(&batch), Ok(vec![&b"one"[..], b""]));
        assert_eq!(split(&batch[..5]), Err(BrokenBatch));
        assert_eq!(split(&batch[..batch.len() - 1]), Err(BrokenBatch));
    }
}
