//! Names for what entries hold as ids: vendors, from the tenant's list.

use std::collections::HashMap;

use strongroom_core::grant::Holder;
use strongroom_core::ids::VendorId;
use strongroom_core::ledger::entry::{Actor, Role};

use crate::name::short_key;

/// Vendors by id.
#[derive(Debug, Default)]
pub struct Names(HashMap<VendorId, String>);

impl Names {
    /// Of these vendors.
    pub fn new(vendors: impl IntoIterator<Item = (VendorId, String)>) -> Self {
        Self(vendors.into_iter().collect())
    }

    /// The vendor's name, or its id.
    pub fn vendor(&self, id: &VendorId) -> String {
        self.0.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// Who holds a grant.
    pub fn holder(&self, holder: &Holder) -> String {
        match holder {
            Holder::Vendor(id) => self.vendor(id),
            Holder::Key(key) => short_key(key),
        }
    }

    /// Who did it: a vendor by name, everybody else by role and key.
    pub fn actor(&self, actor: &Actor) -> String {
        match &actor.role {
            Role::Vendor(id) => self.vendor(id),
            Role::Operator => format!("operator {}", short_key(&actor.key)),
            Role::Admin => format!("admin {}", short_key(&actor.key)),
            Role::Key => short_key(&actor.key),
        }
    }
}
