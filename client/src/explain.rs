//! Why a key may do something, or may not: the vault's own decision, as it would be now.

use strongroom_core::grant::Action;
use strongroom_core::identity::Fingerprint;
use strongroom_core::names::VendorName;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::grants_client::GrantsClient;

use crate::admin::{optional, parse};
use crate::connect::Vault;
use crate::error::Result;
use crate::grants::{GrantInfo, info};
use crate::name::ObjectName;
use crate::retry::Safety;

/// Why a key may do something to an object, or may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Whether it may, by one of the verdicts.
    pub allowed: bool,
    /// Who the key is: `admin`, `vendor`, `key` or `operator`.
    pub role: String,
    /// The vendor whose key it is.
    pub vendor: Option<VendorName>,
    /// Without a grant, and under each that is about the dataset, newest first.
    pub verdicts: Vec<Verdict>,
    /// How many grants of the key there are besides.
    pub others: u64,
}

/// What would be decided under one grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The grant and those above it; empty for a call that names none.
    pub chain: Vec<GrantInfo>,
    /// Yes, or why not: the reason and words.
    pub decided: std::result::Result<(), (Reason, String)>,
}

impl Vault {
    /// Why `key` may do `action` to an object now, or may not, grant by grant; nothing is recorded. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn explain(&self, name: &ObjectName, action: Action, key: &Fingerprint) -> Result<Explained> {
        let request = v1::ExplainRequest {
            tenant: name.tenant.to_string(),
            key: key.to_string(),
            action: action_name(action).to_owned(),
            dataset: name.dataset.to_string(),
            path: name.path.to_string(),
        };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { GrantsClient::new(channel).explain(request).await }
        });
        let answer = answer.await?.into_inner();
        let verdict = |verdict: &v1::Verdict| {
            let decided = match verdict.reason.as_str() {
                "" => Ok(()),
                code => Err((parse("reason", code)?, verdict.detail.clone())),
            };
            Ok(Verdict { chain: verdict.chain.iter().map(info).collect::<Result<_>>()?, decided })
        };
        Ok(Explained {
            allowed: answer.allowed,
            vendor: optional("vendor", &answer.vendor)?,
            verdicts: answer.verdicts.iter().map(verdict).collect::<Result<_>>()?,
            role: answer.role,
            others: answer.others,
        })
    }
}

/// An action as the vault writes it.
fn action_name(action: Action) -> &'static str {
    match action {
        Action::List => "list",
        Action::Read => "read",
        Action::Write => "write",
        Action::Overwrite => "overwrite",
        Action::Delete => "delete",
    }
}
