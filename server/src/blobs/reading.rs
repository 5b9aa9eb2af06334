//! Reading parts of blobs on a local disk.
//!
//! Most small reads find their bytes in the kernel's memory, and then the way to a thread that may wait costs more than the read. So
//! a small read is first tried where it stands, with calls that fail instead of waiting for the disk; only if one does, a thread
//! takes over.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

/// Ranges that lie so near each other are read as one: objects of a pack have only their headers and digests between them.
const NEAR: u64 = 4096;
/// The most bytes that are read as one.
const TOGETHER: u64 = 512 * 1024;
/// The most bytes that are copied on a thread of the runtime: some twenty microseconds.
#[cfg(target_os = "linux")]
const AT_ONCE: u64 = 256 * 1024;

/// Reads all of these ranges, each whole, and may wait for the disk.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if the file ends before a range does.
pub(super) fn read(path: &Path, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
    let file = File::open(path)?;
    read_with(ranges, |buffer, at| file.read_exact_at(buffer, at))
}

/// The same, if it takes no waiting: the name and the bytes are in the kernel's memory.
#[cfg(target_os = "linux")]
pub(super) fn read_at_once(path: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::{ReadWriteFlags, preadv2};

    let wanted = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end.saturating_sub(range.start)));
    if wanted > AT_ONCE {
        return None;
    }
    let file = openat2(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let read = |buffer: &mut [u8], at| {
        let len = buffer.len();
        // What is there only in part is not there: the rest may be on the disk, or past the end.
        match preadv2(&file, &mut [io::IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT)? {
            read if read == len => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    };
    read_with(ranges, read).ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn read_at_once(_path: &Path, _ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
    None
}

/// Reads neighbours at once, and cuts out what was asked for.
fn read_with(ranges: &[Range<u64>], mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>) -> io::Result<Vec<Bytes>> {
    let mut found = Vec::with_capacity(ranges.len());
    let mut rest = ranges;
    while let Some(first) = rest.first() {
        let (run, after) = rest.split_at(neighbours(rest));
        let end = run.last().map_or(first.end, |last| last.end);
        let mut buffer = vec![0; length(&(first.start..end))?];
        read(&mut buffer, first.start)?;
        let all = Bytes::from(buffer);
        for range in run {
            let at = length(&(first.start..range.start))?;
            found.push(all.slice(at..at + length(range)?));
        }
        rest = after;
    }
    Ok(found)
}

/// How many of the first ranges are read as one.
fn neighbours(ranges: &[Range<u64>]) -> usize {
    let Some(first) = ranges.first() else { return 0 };
    let follows = |pair: &&[Range<u64>]| {
        let [before, next] = pair else { return false };
        next.start >= before.end && next.start - before.end <= NEAR && next.end.saturating_sub(first.start) <= TOGETHER
    };
    1 + ranges.windows(2).take_while(follows).count()
}

fn length(range: &Range<u64>) -> io::Result<usize> {
    let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
    len.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is a list of ranges too")]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        let bytes: Vec<u8> = (0..2 * TOGETHER).map(|at| (at / 7 + at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let end = bytes.len() as u64;
        for ranges in [
            vec![],
            vec![0..0],
            vec![0..end],
            vec![5..9, 9..12, 40..41],
            vec![100..200, 50..60, 200..201, 199..300],
            vec![0..10, 10 + NEAR..20 + NEAR, 30 + 3 * NEAR..end],
            (0..600).map(|at| at * 1100 + 60..at * 1100 + 1084).collect(),
            vec![end - 1..end, end..end],
        ] {
            let wanted: Vec<&[u8]> =
                ranges.iter().map(|range| &bytes[range.start as usize..range.end as usize]).collect();
            assert_eq!(read(&path, &ranges).unwrap(), wanted, "{ranges:?}");
            if let Some(found) = read_at_once(&path, &ranges) {
                assert_eq!(found, wanted, "{ranges:?}");
            }
        }
        // What was just written is in the kernel's memory, and so is its name, where the kernel knows such reads.
        let small = read_at_once(&path, &[5..9]);
        assert!(small.is_none_or(|found| found == [&bytes[5..9]]));
    }

    #[test]
    fn what_is_not_there_is_told_and_never_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        assert_eq!(read(&path, &[0..1]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(read_at_once(&path, &[0..1]).is_none());
        std::fs::write(&path, b"12345").unwrap();
        for beyond in [0..6, 5..6, 9..10] {
            let error = read(&path, &[0..1, beyond.clone()]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{beyond:?}");
            assert!(read_at_once(&path, &[0..1, beyond]).is_none());
        }
        let reversed = Range { start: 4, end: 2 };
        assert!(read(&path, std::slice::from_ref(&reversed)).is_err());
    }
}
