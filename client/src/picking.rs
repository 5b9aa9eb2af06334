//! Which grant a call is made under.
//!
//! Nobody should have to know grant ids. An admin needs none; for anybody else the vault tells which grants are theirs, and of
//! those that cover what is asked the SDK names the one with the narrowest scope, then the latest expiry, then the smallest
//! id. Where only an ended one covers, that one is named, so that the answer is the exact reason (`GRANT_EXPIRED` rather than
//! `OUT_OF_SCOPE`).

use std::cmp::Reverse;

use strongroom_core::grant::{Action, Grant, Part, Prefix, Scope, Terms};
use strongroom_core::ids::{GrantId, Millis};
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::reason::Reason;

use crate::error::{Error, Result};
use crate::grants::GrantInfo;

/// Who the caller is to a tenant, and with which grants.
pub(crate) struct OwnStanding {
    pub(crate) admin: bool,
    pub(crate) grants: Vec<GrantInfo>,
}

/// What somebody wants to do where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) action: Action,
    /// An action that would be good to have besides: overwriting, where something may stand already.
    pub(crate) besides: Option<Action>,
    pub(crate) dataset: &'a DatasetName,
    pub(crate) place: WantPlace<'a>,
}

/// Where in a dataset.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WantPlace<'a> {
    Path(&'a ObjectPath),
    Prefix(&'a Prefix),
}

impl Want<'_> {
    fn covers(&self, scope: &Scope, action: Action) -> bool {
        match self.place {
            WantPlace::Path(path) => scope.covers(action, self.dataset, path),
            WantPlace::Prefix(prefix) => scope.covers_prefix(action, self.dataset, prefix),
        }
    }

    /// How narrow the narrowest scope is that covers `action`; `None` if none does.
    fn narrowness(&self, grant: &Grant, action: Action) -> Option<(bool, usize)> {
        let covering = grant.terms.scopes.iter().filter(|scope| self.covers(scope, action));
        covering.filter_map(|scope| narrowness(&scope.part)).max()
    }
}

/// Greater is narrower: one object before all prefixes, and a longer prefix before a shorter one.
fn narrowness(part: &Part) -> Option<(bool, usize)> {
    match part {
        Part::Prefix(prefix) => Some((matches!(prefix, Prefix::Exact(_)), prefix.start().len())),
        Part::Snapshot(_) => None,
    }
}

impl OwnStanding {
    /// The grants that read something of a dataset, live ones first and the widest of them first; for an admin, none at all.
    pub(crate) fn readers(&self, dataset: &DatasetName) -> Vec<Option<GrantId>> {
        if self.admin {
            return vec![None];
        }
        let widest = |info: &GrantInfo| {
            let scopes = info.grant.terms.scopes.iter();
            let reading = scopes.filter(|scope| scope.dataset == *dataset && scope.actions.contains(&Action::Read));
            reading.filter_map(|scope| narrowness(&scope.part)).min()
        };
        let rank = |info: &GrantInfo| Some((!info.state.is_live(), widest(info)?, Some(info.grant.id)));
        let mut found: Vec<_> = self.grants.iter().filter_map(rank).collect();
        found.sort_unstable();
        found.into_iter().map(|(.., id)| id).collect()
    }

    pub(crate) fn pick(&self, want: &Want<'_>) -> Option<GrantId> {
        if self.admin {
            return None;
        }
        let rank = |info: &&GrantInfo| {
            let narrow = want.narrowness(&info.grant, want.action)?;
            let besides = want.besides.is_none_or(|action| want.narrowness(&info.grant, action).is_some());
            let live = info.state.is_live();
            Some((live, besides, narrow, info.grant.terms.expires, Reverse(info.grant.id)))
        };
        let ranked = self.grants.iter().filter_map(|info| rank(&info).map(|rank| (rank, info.grant.id)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, id)| id).or_else(|| self.any_of_key())
    }

    /// The live grant that covers all of these, picked as for each of them alone by the one that it covers least narrowly.
    pub(crate) fn pick_for_all(&self, wants: &[Want<'_>]) -> Option<GrantId> {
        let live = self.grants.iter().filter(|info| info.state.is_live());
        let rank = |info: &GrantInfo| {
            let widest = wants.iter().map(|want| want.narrowness(&info.grant, want.action)).min()??;
            Some((widest, info.grant.terms.expires, Reverse(info.grant.id)))
        };
        live.filter_map(|info| rank(info).map(|rank| (rank, info.grant.id))).max().map(|(_, id)| id)
    }

    /// A grant to be known by: a key that is no vendor's stands with the tenant by its grants alone, so even what none of them
    /// covers is asked for under one, and refused as out of scope.
    fn any_of_key(&self) -> Option<GrantId> {
        let of_key = self.grants.iter().filter(|info| info.vendor.is_none());
        of_key.max_by_key(|info| (info.state.is_live(), info.grant.id)).map(|info| info.grant.id)
    }

    /// These terms, delegated from the grant that allows them the longest.
    pub(crate) fn pick_parent(&self, terms: &Terms, now: Millis) -> Result<Terms> {
        let may = |info: &&GrantInfo| info.state.is_live() && info.grant.terms.delegable;
        let mut parents: Vec<&Grant> = self.grants.iter().filter(may).map(|info| &info.grant).collect();
        parents.sort_by_key(|grant| (Reverse(grant.terms.expires), grant.id));
        let mut wider = None;
        for parent in parents {
            let child = delegated(parent, terms);
            match child.narrows(&parent.terms, now) {
                Ok(()) => return Ok(child),
                Err(dimension) => wider = wider.or(Some((parent.id, dimension))),
            }
        }
        Err(match wider {
            Some((id, wider)) => Error::new(Reason::NotNarrower, format!("{wider}, {id}")),
            None => Error::new(
                Reason::OutOfScope,
                "only an admin, or the holder of a live grant that may be delegated, may grant",
            ),
        })
    }
}

/// Terms as a child of this grant: it has the parent's limits where it has none.
pub(crate) fn delegated(parent: &Grant, terms: &Terms) -> Terms {
    Terms { parent: Some(parent.id), limits: terms.limits.or(&parent.terms.limits), ..terms.clone() }
}

#[cfg(test)]
mod tests {
    use strongroom_core::grant::{Holder, Limits, Usage};
    use strongroom_core::identity::Fingerprint;

    use strongroom_core::ids::Index;

    use super::*;
    use crate::grants::{Frozen, GrantState};

    const KEY: Fingerprint = Fingerprint::from_bytes([1; 32]);

    fn grant(id: u8, state: GrantState, expires: u64, scopes: &[(&[Action], &str)]) -> GrantInfo {
        let scope = |(actions, prefix): &(&[Action], &str)| Scope {
            actions: actions.to_vec(),
            dataset: "rlhf".parse().unwrap(),
            part: Part::Prefix(prefix.parse().unwrap()),
        };
        let terms = Terms {
            holder: Holder::Key(KEY),
            parent: None,
            scopes: scopes.iter().map(scope).collect(),
            not_before: None,
            expires: Millis(expires),
            delegable: false,
            limits: Limits::default(),
            purpose: None,
        };
        let grant = Grant { id: GrantId::from_bytes([id; 16]), issued: Index(0), issuer: KEY, terms };
        GrantInfo {
            grant,
            vendor: Some("labelco".parse().unwrap()),
            state,
            frozen: Frozen::default(),
            usage: Usage::default(),
            issued: None,
            used: None,
        }
    }

    #[test]
    fn the_picking_table() {
        use Action::{List, Overwrite, Read, Write};
        use GrantState::{Expired, Live, Revoked, Suspended};
        let r: &[Action] = &[Read];
        let cases: &[(&str, Vec<GrantInfo>, Option<u8>)] = &[
            ("none covers", vec![grant(1, Live, 9, &[(r, "labels/")])], None),
            ("a neighbour does not cover", vec![grant(1, Live, 9, &[(r, "math/7.json2")])], None),
            ("another action does not", vec![grant(1, Live, 9, &[(&[List, Write], "math/")])], None),
            ("the only one", vec![grant(1, Live, 9, &[(r, "math/")])], Some(1)),
            ("the narrower folder", vec![grant(1, Live, 99, &[(r, "")]), grant(2, Live, 9, &[(r, "math/")])], Some(2)),
            (
                "one object before a long beginning of it",
                vec![grant(1, Live, 99, &[(r, "math/7.json*")]), grant(2, Live, 9, &[(r, "math/7.json")])],
                Some(2),
            ),
            (
                "the narrowest scope that covers counts, not the narrowest of the grant",
                vec![
                    grant(1, Live, 9, &[(r, "")]),
                    grant(2, Live, 9, &[(r, "math/"), (r, "labels/x/y/z")]),
                    grant(3, Live, 9, &[(r, "math/7*"), (r, "")]),
                ],
                Some(3),
            ),
            (
                "then the latest expiry",
                vec![grant(1, Live, 9, &[(r, "math/")]), grant(2, Live, 10, &[(r, "math/")])],
                Some(2),
            ),
            (
                "then the smallest id",
                vec![grant(2, Live, 9, &[(r, "math/")]), grant(1, Live, 9, &[(r, "math/")])],
                Some(1),
            ),
            (
                "a live one before a narrower ended one",
                vec![grant(1, Revoked, 99, &[(r, "math/7.json")]), grant(2, Live, 9, &[(r, "")])],
                Some(2),
            ),
            ("an ended one if there is no other", vec![grant(1, Expired, 9, &[(r, "math/")])], Some(1)),
            ("a suspended one likewise", vec![grant(1, Suspended, 9, &[(r, "math/")])], Some(1)),
        ];
        let (dataset, path) = ("rlhf".parse().unwrap(), "math/7.json".parse().unwrap());
        let want = |action, besides| Want { action, besides, dataset: &dataset, place: WantPlace::Path(&path) };
        for (what, grants, expected) in cases {
            let standing = OwnStanding { admin: false, grants: grants.clone() };
            let expected = expected.map(|id| GrantId::from_bytes([id; 16]));
            assert_eq!(standing.pick(&want(Read, None)), expected, "{what}");
            let admin = OwnStanding { admin: true, grants: grants.clone() };
            assert_eq!(admin.pick(&want(Read, None)), None, "an admin needs none");
        }

        let writing = OwnStanding {
            admin: false,
            grants: vec![grant(1, Live, 9, &[(&[Write], "math/")]), grant(2, Live, 9, &[(&[Write, Overwrite], "")])],
        };
        assert_eq!(writing.pick(&want(Write, None)), Some(GrantId::from_bytes([1; 16])));
        assert_eq!(writing.pick(&want(Write, Some(Overwrite))), Some(GrantId::from_bytes([2; 16])));
        let other = "math".parse().unwrap();
        let elsewhere = Want { dataset: &other, ..want(Write, None) };
        assert_eq!(writing.pick(&elsewhere), None, "another dataset");
        let own = GrantInfo { vendor: None, ..grant(3, Live, 9, &[(r, "labels/")]) };
        let by_key = OwnStanding { admin: false, grants: vec![own] };
        assert_eq!(by_key.pick(&want(Read, None)), Some(GrantId::from_bytes([3; 16])), "a key is known by its grants");
    }

    #[test]
    fn a_parent_is_picked() {
        let read: &[Action] = &[Action::Read];
        let standing = |grants| OwnStanding { admin: false, grants };
        let wanted = |prefix: &str| grant(9, GrantState::Live, 50, &[(read, prefix)]).grant.terms;
        let delegable = |id, expires, prefix: &str, bytes| {
            let mut info = grant(id, GrantState::Live, expires, &[(read, prefix)]);
            (info.grant.terms.delegable, info.grant.terms.limits.bytes) = (true, bytes);
            info
        };
        let plain = grant(1, GrantState::Live, 99, &[(read, "math/")]);
        let pick = |grants: Vec<GrantInfo>, prefix| {
            let picked = standing(grants).pick_parent(&wanted(prefix), Millis(0));
            picked.map(|terms| (terms.parent.unwrap(), terms.limits.bytes)).map_err(|error| error.reason())
        };
        assert_eq!(pick(vec![plain.clone()], "math/"), Err(Reason::OutOfScope), "it may not be delegated");
        let parents = vec![plain, delegable(2, 60, "math/", Some(7)), delegable(3, 70, "math/0*", None)];
        assert_eq!(pick(parents.clone(), "math/0*"), Ok((GrantId::from_bytes([3; 16]), None)), "the longest");
        assert_eq!(pick(parents.clone(), "math/1"), Ok((GrantId::from_bytes([2; 16]), Some(7))), "with its limits");
        assert_eq!(pick(parents, "labels/"), Err(Reason::NotNarrower));
        assert_eq!(
            pick(vec![delegable(2, 49, "math/", None)], "math/1"),
            Err(Reason::NotNarrower),
            "it ends too early"
        );
    }

    #[test]
    fn a_prefix_must_be_covered_whole() {
        let list: &[Action] = &[Action::List];
        let standing = OwnStanding { admin: false, grants: vec![grant(1, GrantState::Live, 9, &[(list, "math/0*")])] };
        let dataset = "rlhf".parse().unwrap();
        for (prefix, covered) in
            [("math/0*", true), ("math/00*", true), ("math/01", true), ("math/", false), ("", false)]
        {
            let prefix: Prefix = prefix.parse().unwrap();
            let place = WantPlace::Prefix(&prefix);
            let want = Want { action: Action::List, besides: None, dataset: &dataset, place };
            assert_eq!(standing.pick(&want).is_some(), covered, "{prefix}");
        }
    }
}
