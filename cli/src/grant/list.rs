//! `grant list`: grants as a tree, what was delegated below what it came from.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use strongroom_client::grants::{GrantInfo, GrantState};
use strongroom_client::{Action, Part, PrefixName, Scope, Vault};
use strongroom_core::ids::{GrantId, Millis};
use strongroom_core::names::TenantName;

use super::{Left, Shown};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::output::Row;
use crate::when::{self, Length, Moment};

/// The flags of `grant list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom grant list acme
  strongroom grant list acme --live
  strongroom grant list acme --unused 30d
  strongroom grant list --live --touching acme/rlhf/math/
  strongroom --home labelco grant list acme --mine --output json")]
pub struct List {
    /// The tenant.
    #[arg(required_unless_present = "touching")]
    tenant: Option<TenantName>,
    /// Only those that allow something here, such as acme/rlhf/math/: who could touch what lies there. Of those that allow a part
    /// of it or more, with what each came from.
    #[arg(long, value_name = "PLACE", conflicts_with = "tenant", value_parser = name::parse::<PrefixName>)]
    touching: Option<PrefixName>,
    /// Only the caller's own, and what was delegated from them.
    #[arg(long)]
    mine: bool,
    /// Only those that can be used now.
    #[arg(long)]
    live: bool,
    /// Only those that can be used now and that nobody has used for so long, such as 30d.
    #[arg(long, value_name = "TIME")]
    unused: Option<Length>,
}

/// A grant in its place in the tree.
#[derive(Debug, Serialize)]
struct Listed {
    /// How many of those above it are listed too.
    depth: usize,
    #[serde(flatten)]
    shown: Shown,
}

impl Row for Listed {
    const HEADS: &'static [&'static str] = Shown::HEADS;

    fn cells(&self) -> Vec<String> {
        let mut cells = self.shown.cells();
        if self.depth > 0 {
            cells[0].insert_str(0, &format!("{}└ ", "  ".repeat(self.depth - 1)));
        }
        cells
    }
}

impl List {
    /// Does it.
    ///
    /// # Errors
    /// The tenant does not know the caller.
    pub async fn run(self, globals: &Globals, vault: &Vault) -> Outcome {
        let place = self.touching.as_ref();
        let named = place.map(|place| &place.tenant).or(self.tenant.as_ref());
        let tenant =
            named.ok_or_else(|| Failure::usage("no tenant is named", "name one, or a place with --touching"))?;
        let all = !self.mine && vault.who_am_i(tenant).await?.admin;
        let mut grants = match place {
            Some(place) if all => vault.grants_touching(place).await?,
            None if all => vault.grants(tenant).await?,
            _ => own(vault, tenant).await?,
        };
        if let Some(PrefixName { dataset, prefix, .. }) = place {
            let (actions, part) = (Action::ALL.to_vec(), Part::Prefix(prefix.clone()));
            let place = Scope { actions, dataset: dataset.clone(), part };
            grants.retain(|info| info.grant.touches(&place));
        }
        let now = when::millis(when::now());
        let before = self.unused.map(|length| Moment::Ago(length.0).millis(when::now()));
        let rows = tree(grants, |info| {
            let live = info.state == GrantState::Live && info.grant.terms.expires > now;
            (live || !self.live) && before.is_none_or(|before| live && is_unused(info, before))
        });
        let rows: Vec<Listed> = rows
            .into_iter()
            .map(|(depth, left, info)| {
                let shown = Shown { left, ..Shown::new(tenant, info) };
                Listed { depth, shown }
            })
            .collect();
        globals.output.list(&rows)
    }
}

/// The caller's own grants, and all that came from them.
async fn own(vault: &Vault, tenant: &TenantName) -> Outcome<Vec<GrantInfo>> {
    let mut found: BTreeMap<GrantId, GrantInfo> = BTreeMap::new();
    let mut waiting: VecDeque<GrantInfo> = vault.my_grants(tenant).await?.into();
    while let Some(info) = waiting.pop_front() {
        let id = info.grant.id;
        if info.grant.terms.delegable && !found.contains_key(&id) {
            waiting.extend(vault.delegated(tenant, id).await?);
        }
        found.insert(id, info);
    }
    Ok(found.into_values().collect())
}

/// Whether nothing was charged to it since `before`, when it was there already.
fn is_unused(info: &GrantInfo, before: Millis) -> bool {
    info.used.or(info.issued).is_none_or(|newest| newest <= before)
}

/// The grants to be listed, each after what it came from, with its depth and what is left of it within all above it; newest first
/// beside each other.
fn tree(grants: Vec<GrantInfo>, listed: impl Fn(&GrantInfo) -> bool) -> Vec<(usize, Left, GrantInfo)> {
    let all: BTreeMap<GrantId, GrantInfo> = grants.into_iter().map(|info| (info.grant.id, info)).collect();
    let mut below: BTreeMap<Option<GrantId>, Vec<&GrantInfo>> = BTreeMap::new();
    for info in all.values() {
        below.entry(info.grant.terms.parent.filter(|parent| all.contains_key(parent))).or_default().push(info);
    }
    below.values_mut().for_each(|infos| infos.sort_by_key(|info| info.grant.issued));
    let no_limit = Left { bytes: None, objects: None, uses: None };
    let mut rows = Vec::with_capacity(all.len());
    let mut stack: Vec<(usize, Left, &GrantInfo)> = Vec::new();
    let push = |stack: &mut Vec<_>, depth, outer: Left, parent| {
        let infos = below.get(&parent).into_iter().flatten();
        stack.extend(infos.map(|info| {
            let own = Left::of(&info.grant.terms.limits, &info.usage);
            (depth, own.within(&outer), *info)
        }));
    };
    push(&mut stack, 0, no_limit, None);
    while let Some((depth, left, info)) = stack.pop() {
        let is_listed = listed(info);
        if is_listed {
            rows.push((depth, left, info.clone()));
        }
        push(&mut stack, depth + usize::from(is_listed), left, Some(info.grant.id));
    }
    rows
}

#[cfg(test)]
mod tests {
    use strongroom_client::grants::Frozen;
    use strongroom_core::grant::{Grant, Holder, Limits, Terms, Usage};
    use strongroom_core::identity::Fingerprint;
    use strongroom_core::ids::Index;

    use super::*;

    fn grant(id: u8, parent: Option<u8>, bytes: Option<u64>, used: u64) -> GrantInfo {
        let key = Fingerprint::from_bytes([1; 32]);
        let of = |id: u8| GrantId::from_bytes([id; 16]);
        let terms = Terms {
            holder: Holder::Key(key),
            parent: parent.map(of),
            scopes: Vec::new(),
            not_before: None,
            expires: Millis(1000),
            delegable: true,
            limits: Limits { bytes, ..Limits::default() },
            purpose: None,
        };
        GrantInfo {
            grant: Grant { id: of(id), issued: Index(id.into()), issuer: key, terms },
            vendor: None,
            state: GrantState::Live,
            frozen: Frozen::default(),
            usage: Usage { bytes: used, ..Usage::default() },
            issued: Some(Millis(u64::from(id) * 100)),
            used: (used > 0).then_some(Millis(u64::from(id) * 100 + 50)),
        }
    }

    #[test]
    fn children_stand_below_their_parents() {
        let grants = vec![
            grant(5, Some(4), None, 2),
            grant(4, Some(1), Some(10), 7),
            grant(3, None, None, 0),
            grant(2, Some(1), Some(90), 10),
            grant(1, None, Some(20), 17),
            grant(9, Some(7), Some(3), 0),
        ];
        let told = |rows: Vec<(usize, Left, GrantInfo)>| -> Vec<(usize, u64, Option<u64>)> {
            rows.iter().map(|(depth, left, info)| (*depth, info.grant.issued.0, left.bytes)).collect()
        };
        // A parent that the caller may not see is none; what is left is never more than what is left above.
        let rows = told(tree(grants.clone(), |_| true));
        let expected =
            [(0, 9, Some(3)), (0, 3, None), (0, 1, Some(3)), (1, 4, Some(3)), (2, 5, Some(3)), (1, 2, Some(3))];
        assert_eq!(rows, expected);
        let rows = told(tree(grants, |info| info.grant.issued.0 != 4));
        assert_eq!(rows[2..5], [(0, 1, Some(3)), (1, 5, Some(3)), (1, 2, Some(3))], "what is not listed is no step");
    }

    #[test]
    fn unused_is_what_nobody_used_since() {
        assert!(is_unused(&grant(1, None, None, 1), Millis(150)) && !is_unused(&grant(1, None, None, 1), Millis(149)));
        assert!(is_unused(&grant(1, None, None, 0), Millis(100)) && !is_unused(&grant(1, None, None, 0), Millis(99)));
        assert!(is_unused(&GrantInfo { issued: None, ..grant(1, None, None, 0) }, Millis(0)));
    }
}
