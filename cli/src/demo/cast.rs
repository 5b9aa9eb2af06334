//! Who and what the story is about.

use strongroom_client::{DatasetRef, ObjectName, Vault};
use strongroom_core::names::{TenantName, VendorName};

use super::data::Items;
use crate::globals::Globals;

/// Who and what the story is about.
pub(super) struct Cast<'a> {
    pub(super) tenant: TenantName,
    pub(super) dataset: DatasetRef,
    pub(super) vendor: VendorName,
    /// The large object.
    pub(super) transcript: ObjectName,
    pub(super) items: &'a Items,
    pub(super) lab: Vault,
    pub(super) labelco: Vault,
    pub(super) globals: &'a Globals,
}
