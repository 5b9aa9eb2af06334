//! Objects by prefix, in byte order of their paths, a page at a time.
//!
//! What a page costs follows from the page: the index is entered where the page begins, and with folders asked for, a folder's
//! content is leapt over instead of read.

use sqlx::Row;
use strongroom_core::grant::Prefix;
use strongroom_core::ids::{DatasetId, TenantId};
use strongroom_core::ledger::LedgerKey;

use super::objects::ObjectRow;
use super::{Catalog, CatalogError, number};

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ObjectRow>,
    /// The folders, where they were asked for: paths up to a `/`, it included.
    pub folders: Vec<String>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

/// Rows looked at in one go while folders may come; grows while none does.
const FIRST_LEAP: i64 = 16;

impl Catalog {
    /// What is visible under a prefix of a dataset, after `after` (the `next` of the page before), at most `limit` objects and
    /// folders together. With `folders`, what lies deeper than the prefix's own level is told as folders.
    ///
    /// # Errors
    /// [`CatalogError::Integrity`] if a row does not carry its mark.
    #[allow(clippy::too_many_arguments, reason = "each is one word of the question")]
    pub async fn list(
        &self,
        tenant: &TenantId,
        key: &LedgerKey,
        dataset: &DatasetId,
        prefix: &Prefix,
        after: Option<&str>,
        limit: u32,
        folders: bool,
    ) -> Result<ListPage, CatalogError> {
        let start = prefix.start();
        let end = match prefix {
            Prefix::Exact(path) => next_text(path.as_str()),
            Prefix::Folder(start) | Prefix::Stem(start) => after_all(start),
        };
        let mut from = match after {
            Some(after) => past(after).max(start.to_owned()),
            None => start.to_owned(),
        };
        let limit = limit as usize;
        let mut page = ListPage::default();
        let mut found: Vec<(String, u64, u64)> = Vec::new();
        let mut last = None;
        let mut leap = if folders { FIRST_LEAP } else { i64::MAX };
        while found.len() + page.folders.len() < limit {
            let room = i64::try_from(limit - found.len() - page.folders.len()).unwrap_or(i64::MAX);
            let count = leap.min(room);
            let sql = self.sql(
                "SELECT path, entry, ordinal FROM paths WHERE dataset = $1 AND path >= $2 AND path < $3 \
                 ORDER BY path LIMIT $4",
            );
            let query = sqlx::query(sql).bind(&dataset.as_bytes()[..]).bind(&from[..]).bind(&end[..]).bind(count);
            let rows = query.fetch_all(self.reader()).await?;
            let full = i64::try_from(rows.len()).is_ok_and(|rows| rows == count);
            let mut folder = None;
            for row in &rows {
                let path: &str = row.try_get(0)?;
                folder = path.get(start.len()..).filter(|_| folders).and_then(|rest| rest.find('/'));
                if let Some(slash) = folder {
                    let name = path[..=start.len() + slash].to_owned();
                    from = past(&name);
                    last = Some(name.clone());
                    page.folders.push(name);
                    break;
                }
                found.push((path.to_owned(), number(row, 1)?, number(row, 2)?));
                from = next_text(path);
                last = Some(path.to_owned());
            }
            match folder {
                Some(_) => leap = FIRST_LEAP,
                None if full => leap = leap.saturating_mul(4),
                None => {
                    last = None;
                    break;
                }
            }
        }
        page.next = last;
        if found.is_empty() {
            return Ok(page);
        }
        let places = found.iter().map(|(_, index, ordinal)| (*index, *ordinal));
        page.objects = self.by_ordinal(tenant, key, places).await?;
        let own = |((path, ..), object): (&(String, u64, u64), &ObjectRow)| {
            object.dataset == *dataset && object.path.as_str() == path
        };
        if page.objects.len() != found.len() || !found.iter().zip(&page.objects).all(own) {
            return Err(CatalogError::integrity("a path stands for an object that is not its own"));
        }
        Ok(page)
    }
}

/// The least text after `text` that a path can be: no path holds a control character.
pub(super) fn next_text(text: &str) -> String {
    format!("{text}\u{1}")
}

/// Where to go on after an object or a folder that was told.
fn past(told: &str) -> String {
    match told.strip_suffix('/') {
        // '0' comes right after '/': the folder's whole content lies between.
        Some(folder) => format!("{folder}0"),
        None => next_text(told),
    }
}

/// A text after all that start with `start`, and before all others that come after it.
pub(super) fn after_all(start: &str) -> String {
    let mut text = start.to_owned();
    while let Some(last) = text.pop() {
        // The next character; byte order of UTF-8 is the order of characters, with a gap where surrogates would be.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return text;
        }
    }
    // After every path there can be.
    "\u{10ffff}".repeat(257)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_fit_tightly() {
        assert_eq!(after_all("math/"), "math0");
        assert_eq!(after_all("a\u{d7ff}"), "a\u{e000}");
        assert_eq!(after_all("a\u{10ffff}"), "b");
        assert!(after_all("") > "\u{10ffff}".repeat(256));
        assert_eq!(past("math/"), "math0");
        assert!(*past("math") > *"math" && *past("math") < *"math/" && *past("math") < *"math ");
    }
}
