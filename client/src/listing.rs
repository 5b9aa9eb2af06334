//! What is there: listed, looked at, hidden.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use strongroom_core::call::{DeleteItem, Work};
use strongroom_core::grant::{Action, Prefix};
use strongroom_core::ids::{Digest, Generation, GrantId, Index, Millis, ObjectId};
use strongroom_core::names::ObjectPath;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;

use crate::admin::{bytes, next_token, parse};
use crate::connect::{Vault, answered};
use crate::draw::request_id;
use crate::error::{Error, Result};
use crate::get::GetOptions;
use crate::name::{DatasetRef, ObjectName};
use crate::picking::{Want, WantPlace};
use crate::retry::Safety;
use crate::session::{Session, vault_client};

/// The most lines of a page.
const MAX_PAGE: usize = 1000;

/// What the vault says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its path.
    pub path: ObjectPath,
    /// Its generation.
    pub generation: Generation,
    /// Bytes of plaintext.
    pub size: u64,
    /// The sealed object.
    pub object_id: ObjectId,
    /// The content root (BLAKE3).
    pub content_root: Digest,
    /// When it became visible.
    pub created: Millis,
    /// The entry that made it visible.
    pub index: Index,
    /// Its ordinal there.
    pub ordinal: u32,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object(ObjectInfo),
    /// A folder, with its trailing `/`, in a listing with a delimiter.
    Folder(String),
}

impl Listed {
    /// The text that the listing is ordered by.
    pub fn path(&self) -> &str {
        match self {
            Self::Object(info) => info.path.as_str(),
            Self::Folder(folder) => folder,
        }
    }
}

/// How to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Whether to tell what lies deeper as folders (the delimiter is `/`) instead of object by object.
    pub delimiter: bool,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
}

/// How to delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The generation that must be the visible one; any if none.
    pub generation: Option<Generation>,
    /// The grant to act under; picked by itself if none.
    pub grant: Option<GrantId>,
}

/// An object that is hidden now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Its path.
    pub path: ObjectPath,
    /// The generation that was visible.
    pub generation: Generation,
    /// The entry that hid it.
    pub index: Index,
}

/// A listing under way.
struct Pages {
    vault: Vault,
    dataset: DatasetRef,
    prefix: Prefix,
    options: ListOptions,
    /// Where the next page begins; `None` after the last.
    token: Option<String>,
    ready: VecDeque<Listed>,
}

impl Vault {
    /// The objects of a part of a dataset, in byte order of their paths, page by page. Makes no entry in the ledger.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if no grant of the caller lets it list all of that part; `NOT_FOUND` if there is no such dataset. The
    /// stream ends with its first error.
    pub fn list(
        &self,
        dataset: &DatasetRef,
        prefix: &Prefix,
        options: ListOptions,
    ) -> BoxStream<'static, Result<Listed>> {
        let pages = Pages {
            vault: self.clone(),
            dataset: dataset.clone(),
            prefix: prefix.clone(),
            options,
            token: Some(String::new()),
            ready: VecDeque::new(),
        };
        try_unfold(pages, |mut pages| async move {
            loop {
                if let Some(line) = pages.ready.pop_front() {
                    return Ok(Some((line, pages)));
                }
                let Some(token) = pages.token.take() else { return Ok(None) };
                pages.turn(token).await?;
            }
        })
        .boxed()
    }

    /// What the vault says about an object. Makes no entry in the ledger.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `OUT_OF_SCOPE` if no grant of the caller lets it look.
    pub async fn stat(&self, name: &ObjectName, options: GetOptions) -> Result<ObjectInfo> {
        let ObjectName { tenant, dataset, path } = name;
        let place = WantPlace::Path(path);
        let want = Want { action: Action::List, besides: None, dataset, place };
        let ask = |grant: Option<GrantId>| {
            let request = v1::StatRequest {
                tenant: tenant.to_string(),
                dataset: dataset.to_string(),
                path: path.to_string(),
                generation: options.generation.unwrap_or_default().0,
                grant: grant.as_ref().map(ToString::to_string).unwrap_or_default(),
            };
            self.with_channel(Safety::Idempotent, move |channel| {
                let request = request.clone();
                async move { vault_client(channel).stat(request).await }
            })
        };
        let answer = self.under_grant(tenant, options.grant, &want, ask);
        let info = info(&answer.await?.into_inner())?;
        if info.path != *path || options.generation.is_some_and(|asked| asked != info.generation) {
            return Err(Error::integrity("the vault tells of another object than was asked for"));
        }
        Ok(info)
    }

    /// Hides an object. Its generations stay for a while, out of everybody's reach.
    ///
    /// # Errors
    /// `NOT_FOUND` if nothing is visible there; `PRECONDITION_FAILED` if another generation is; `OUT_OF_SCOPE` if no grant of the
    /// caller lets it delete.
    pub async fn delete(&self, name: &ObjectName, options: DeleteOptions) -> Result<Deleted> {
        let ObjectName { tenant, dataset, path } = name;
        let want = Want { action: Action::Delete, besides: None, dataset, place: WantPlace::Path(path) };
        let (whole, paths) = (&name.dataset_ref(), std::slice::from_ref(path));
        let delete = |grant| async move {
            let mut results = self.delete_batch(whole, paths, options.generation, grant).await;
            results.pop().unwrap_or_else(|| Err(Error::internal("nothing became of the delete")))
        };
        self.under_grant(tenant, options.grant, &want, delete).await
    }

    /// Hides up to 1024 objects in one call; a result for each.
    pub(crate) async fn delete_batch(
        &self,
        dataset: &DatasetRef,
        paths: &[ObjectPath],
        generation: Option<Generation>,
        grant: Option<GrantId>,
    ) -> Vec<Result<Deleted>> {
        match self.try_delete_batch(dataset, paths, generation, grant).await {
            Ok(results) => results,
            Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn try_delete_batch(
        &self,
        dataset: &DatasetRef,
        paths: &[ObjectPath],
        generation: Option<Generation>,
        grant: Option<GrantId>,
    ) -> Result<Vec<Result<Deleted>>> {
        let item = |path: &ObjectPath| DeleteItem { dataset: dataset.dataset.clone(), path: path.clone(), generation };
        let call = self.call(request_id()?, grant, Work::Delete(paths.iter().map(item).collect()));
        // The vault knows the request by its id: asked again, it answers what came of it the first time.
        let answer = self.with_session(&dataset.tenant, Safety::Idempotent, |session: Arc<Session>| {
            let signed = session.sign(&call);
            async move { Ok(answered(session.vault().delete(signed?.0)).await?.into_inner()) }
        });
        let answer = answer.await.map_err(|error| error.with_request(call.request))?;
        self.observe(&dataset.tenant, answer.seen.as_ref())?;
        if answer.results.len() != paths.len() {
            return Err(Error::integrity("the vault answered for another number of objects"));
        }
        let result = |(path, result): (&ObjectPath, v1::DeleteResult)| {
            refused(&result.reason, &result.detail).map_err(|error| error.with_request(call.request))?;
            self.note_entry(&dataset.tenant, result.index);
            Ok(Deleted { path: path.clone(), generation: Generation(result.generation), index: Index(result.index) })
        };
        Ok(paths.iter().zip(answer.results).map(result).collect())
    }
}

impl Pages {
    /// Asks for the page at `token`.
    async fn turn(&mut self, token: String) -> Result<()> {
        let DatasetRef { tenant, dataset } = &self.dataset;
        let place = WantPlace::Prefix(&self.prefix);
        let want = Want { action: Action::List, besides: None, dataset, place };
        let (vault, options) = (&self.vault, &self.options);
        let ask = |grant: Option<GrantId>| {
            let request = v1::ListRequest {
                tenant: tenant.to_string(),
                dataset: dataset.to_string(),
                prefix: self.prefix.to_string(),
                delimiter: if options.delimiter { "/".to_owned() } else { String::new() },
                page: Some(v1::Page { limit: 0, token: token.clone() }),
                grant: grant.as_ref().map(ToString::to_string).unwrap_or_default(),
            };
            vault.with_channel(Safety::Idempotent, move |channel| {
                let request = request.clone();
                async move { vault_client(channel).list(request).await }
            })
        };
        let answer = vault.under_grant(tenant, options.grant, &want, ask);
        let answer = answer.await?.into_inner();
        self.ready = page(&self.prefix, &answer)?.into();
        let next = next_token(&token, answer.next)?;
        self.token = (!next.is_empty()).then_some(next);
        Ok(())
    }
}

/// The lines of a page, in order; nothing but what was asked for.
fn page(prefix: &Prefix, answer: &v1::ListResponse) -> Result<Vec<Listed>> {
    if answer.objects.len() > MAX_PAGE || answer.folders.len() > MAX_PAGE {
        return Err(Error::integrity("a page of a list has more lines than a page can have"));
    }
    let outside = || Error::integrity("a list holds something else than was asked for");
    let mut lines = Vec::with_capacity(answer.objects.len() + answer.folders.len());
    for object in &answer.objects {
        let info = info(object)?;
        if !prefix.covers(&info.path) {
            return Err(outside());
        }
        lines.push(Listed::Object(info));
    }
    for folder in &answer.folders {
        let valid = folder.strip_suffix('/').is_some_and(|path| path.parse::<ObjectPath>().is_ok());
        if !valid || !folder.starts_with(prefix.start()) {
            return Err(outside());
        }
        lines.push(Listed::Folder(folder.clone()));
    }
    lines.sort_by(|one, other| one.path().cmp(other.path()));
    Ok(lines)
}

pub(crate) fn info(object: &v1::Object) -> Result<ObjectInfo> {
    Ok(ObjectInfo {
        path: parse("path", &object.path)?,
        generation: Generation(object.generation),
        size: object.size,
        object_id: bytes("object id", &object.object_id)?,
        content_root: bytes("content root", &object.content_root)?,
        created: Millis(object.created),
        index: Index(object.index),
        ordinal: object.ordinal,
    })
}

/// What an answer says against one item, if it does.
pub(crate) fn refused(reason: &str, detail: &str) -> Result<()> {
    if reason.is_empty() {
        return Ok(());
    }
    let reason = reason.parse().unwrap_or(Reason::Internal);
    let mut detail = detail.to_owned();
    detail.truncate(detail.floor_char_boundary(1024));
    Err(Error::new(reason, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str) -> v1::Object {
        v1::Object {
            path: path.into(),
            generation: 1,
            object_id: vec![0; 16].into(),
            content_root: vec![0; 32].into(),
            ..v1::Object::default()
        }
    }

    #[test]
    fn pages_hold_what_was_asked_for_in_order() {
        let answer = v1::ListResponse {
            objects: ["a/b", "a/d"].map(object).into(),
            folders: vec!["a/c/".into()],
            next: String::new(),
        };
        let prefix = "a/".parse().unwrap();
        let lines = page(&prefix, &answer).unwrap();
        assert_eq!(lines.iter().map(Listed::path).collect::<Vec<_>>(), ["a/b", "a/c/", "a/d"]);

        let refused = |objects: Vec<v1::Object>, folders: &[&str]| {
            let folders = folders.iter().map(ToString::to_string).collect();
            let answer = v1::ListResponse { objects, folders, next: String::new() };
            page(&prefix, &answer).is_err_and(|error| error.reason() == Reason::Integrity)
        };
        assert!(refused(vec![object("b")], &[]));
        assert!(refused(vec![object("a/../b")], &[]));
        assert!(refused(vec![v1::Object { object_id: vec![0; 15].into(), ..object("a/b") }], &[]));
        assert!(refused(vec![], &["b/"]));
        assert!(refused(vec![], &["a/c"]));
        assert!(refused(vec![object("a/b"); MAX_PAGE + 1], &[]));
    }
}
