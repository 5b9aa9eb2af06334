//! Orders, tenants, and the vault as it stands.
//!
//! Whatever changes authority is an order, signed here by the caller's identity for one ledger: the vault can carry it out or
//! not, but cannot make one. An order is sent again with the same bytes if the answer is lost, since a ledger accepts it once.

use std::time::Duration;

use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{IncidentId, Index, Millis, NodeId, OrderId, TenantId, VaultId, VendorId};
use strongroom_core::keys::secret::random_bytes;
use strongroom_core::ledger::checkpoint::VerifierKey;
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::names::{TenantName, VendorName};
use strongroom_core::order::{Instruction, Order};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::admin_client::AdminClient;
use strongroom_proto::v1::grants_client::GrantsClient;
use strongroom_proto::v1::keys_client::KeysClient;
use strongroom_proto::v1::sessions_client::SessionsClient;
use strongroom_proto::v1::vault_client::VaultClient;
use strongroom_proto::v1::vendors_client::VendorsClient;
use tonic::transport::Channel;

use crate::clock::now;
use crate::connect::{Vault, answered};
use crate::draw::request_id;
use crate::error::{Error, Result};
use crate::retry::Safety;

/// How long an order may be under way, by the ledger's time.
const ORDER_LIFE: Duration = Duration::from_secs(10 * 60);

/// An order that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderDone {
    /// The entry that it became.
    pub index: Index,
    /// The entry's time.
    pub time: Millis,
    /// The order's id.
    pub id: OrderId,
}

/// Who the caller is to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhoAmI {
    /// The caller's key.
    pub fingerprint: Fingerprint,
    /// Whether it is an operator of the server.
    pub operator: bool,
    /// Whether it is an admin of the tenant.
    pub admin: bool,
    /// The vendor whose key it is.
    pub vendor: Option<VendorName>,
    /// Whether that vendor is suspended.
    pub suspended: bool,
    /// The origin of the tenant's ledger; none if no tenant was asked about.
    pub origin: Option<Origin>,
    /// The id of the vendor whose key it is.
    pub vendor_id: Option<VendorId>,
}

/// The vault as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultStatus {
    /// The server's version.
    pub version: String,
    /// The vault's id.
    pub vault_id: VaultId,
    /// The first part of every origin.
    pub vault_name: String,
    /// The node that answered.
    pub node_id: NodeId,
    /// The node's clock.
    pub time: Millis,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantInfo {
    /// Its name.
    pub name: TenantName,
    /// The origin of its ledger.
    pub origin: Origin,
    /// Entries in its ledger.
    pub size: Index,
    /// Why it is stopped, if it is.
    pub stopped: Option<String>,
    /// What its ledger's checkpoints are verified with; none if its keys cannot be opened.
    pub log_key: Option<VerifierKey>,
    /// That key, and those that came in its place since; none if the tenant's keys do not open.
    pub log_keys: Option<LogKeys>,
}

impl Vault {
    /// Who the caller is to a tenant; with `None`, to the vault alone. Makes no entry in the ledger.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if there is no such tenant, or it does not know the caller: the two look alike.
    pub async fn who_am_i(&self, tenant: impl Into<Option<&TenantName>>) -> Result<WhoAmI> {
        let tenant = tenant.into();
        let request = v1::WhoAmIRequest { tenant: tenant.map(ToString::to_string).unwrap_or_default() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { SessionsClient::new(channel).who_am_i(request).await }
        });
        let answer = answer.await?.into_inner();
        let fingerprint = parse("fingerprint", &answer.fingerprint)?;
        if fingerprint != self.fingerprint() {
            return Err(Error::integrity("the vault takes this caller for somebody else"));
        }
        let origin = optional("origin", &answer.origin)?;
        if let (Some(tenant), Some(origin)) = (tenant, &origin) {
            self.memory().pin(tenant, origin)?;
        }
        Ok(WhoAmI {
            fingerprint,
            operator: answer.operator,
            admin: answer.admin,
            vendor: optional("vendor", &answer.vendor)?,
            suspended: answer.suspended,
            origin,
            vendor_id: optional("vendor id", &answer.vendor_id)?,
        })
    }

    /// Vault, node and version.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the vault cannot be reached.
    pub async fn status(&self) -> Result<VaultStatus> {
        let answer = self.with_channel(Safety::Idempotent, |channel| async move {
            AdminClient::new(channel).status(v1::StatusRequest {}).await
        });
        let answer = answer.await?.into_inner();
        Ok(VaultStatus {
            version: answer.version,
            vault_id: bytes("vault id", &answer.vault_id)?,
            vault_name: answer.vault_name,
            node_id: bytes("node id", &answer.node_id)?,
            time: Millis(answer.time),
        })
    }

    /// Creates a tenant with its first admins; returns its ledger's origin. To operators.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if there is a tenant of this name; `OUT_OF_SCOPE` if the caller is no operator.
    pub async fn create_tenant(&self, tenant: &TenantName, admins: &[Fingerprint]) -> Result<(Origin, OrderDone)> {
        let status = self.status().await?;
        let id = random_bytes().map_err(|error| Error::internal(error.to_string()))?;
        let origin = Origin::new(&status.vault_name, status.vault_id, TenantId::from_bytes(id));
        let origin = origin.map_err(|error| Error::integrity(error.to_string()))?;
        let done = self.create_ledger(tenant, origin.clone(), admins).await?;
        Ok((origin, done))
    }

    /// Makes a ledger of this origin, with the order as its entry 0.
    pub(crate) async fn create_ledger(
        &self,
        tenant: &TenantName,
        origin: Origin,
        admins: &[Fingerprint],
    ) -> Result<OrderDone> {
        let instruction = Instruction::CreateTenant { name: tenant.clone(), admins: sorted(admins) };
        let done = self.order_for(tenant, origin.clone(), (instruction, None), |channel, order| async move {
            AdminClient::new(channel).create_tenant(order).await
        });
        let (done, seen) = done.await?;
        self.memory().pin(tenant, &origin)?;
        self.observe(tenant, Some(&seen))?;
        Ok(done)
    }

    /// All tenants, by name. To operators.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no operator.
    pub async fn list_tenants(&self) -> Result<Vec<TenantInfo>> {
        let mut tenants: Vec<TenantInfo> = Vec::new();
        let mut token = String::new();
        loop {
            let request = v1::ListTenantsRequest { page: Some(v1::Page { limit: 0, token }) };
            let answer = self.with_channel(Safety::Idempotent, |channel| {
                let request = request.clone();
                async move { AdminClient::new(channel).list_tenants(request).await }
            });
            let answer = answer.await?.into_inner();
            for tenant in answer.tenants {
                tenants.push(TenantInfo {
                    log_keys: log_keys(&tenant)?,
                    name: parse("tenant", &tenant.name)?,
                    origin: parse("origin", &tenant.origin)?,
                    size: Index(tenant.size),
                    stopped: Some(tenant.stopped).filter(|why| !why.is_empty()),
                    log_key: optional("log key", &tenant.log_key)?,
                });
            }
            token = next_token(&request.page.unwrap_or_default().token, answer.next)?;
            if token.is_empty() {
                return Ok(tenants);
            }
        }
    }

    /// One more admin. To admins.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if the key is an admin's or a vendor's already; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn add_admin(&self, tenant: &TenantName, key: Fingerprint) -> Result<OrderDone> {
        self.order(tenant, Instruction::AddAdmin { key }).await
    }

    /// One admin fewer; the last one stays. To admins.
    ///
    /// # Errors
    /// `NOT_FOUND` if it is none; `PRECONDITION_FAILED` if it is the last; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn remove_admin(&self, tenant: &TenantName, key: Fingerprint) -> Result<OrderDone> {
        self.order(tenant, Instruction::RemoveAdmin { key }).await
    }

    /// Freezes a whole tenant: nobody reads or writes in it, admins neither, until it is unfrozen. To admins.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is frozen already; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn freeze_tenant(&self, tenant: &TenantName, note: Option<String>) -> Result<OrderDone> {
        self.order(tenant, Instruction::FreezeTenant { note }).await
    }

    /// Gives a frozen tenant back. Datasets that were frozen by themselves stay so. To admins.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is not frozen; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn unfreeze_tenant(&self, tenant: &TenantName, note: Option<String>) -> Result<OrderDone> {
        self.order(tenant, Instruction::UnfreezeTenant { note }).await
    }

    /// Signs an order for the tenant's ledger and has it carried out.
    pub(crate) async fn order(&self, tenant: &TenantName, instruction: Instruction) -> Result<OrderDone> {
        self.order_of(tenant, instruction, self.incident()).await
    }

    /// The same, for an order that belongs to an incident.
    pub(crate) async fn order_of(
        &self,
        tenant: &TenantName,
        instruction: Instruction,
        incident: Option<IncidentId>,
    ) -> Result<OrderDone> {
        let none = || Error::integrity("the vault does not say which ledger the tenant has");
        let origin = self.who_am_i(tenant).await?.origin.ok_or_else(none)?;
        let method = method(&instruction);
        let order =
            self.order_for(tenant, origin, (instruction, incident), |channel, order| carry_out(method, channel, order));
        let (done, seen) = order.await?;
        self.observe(tenant, Some(&seen))?;
        self.grant_cache().forget(tenant);
        Ok(done)
    }

    async fn order_for<F>(
        &self,
        tenant: &TenantName,
        ledger: Origin,
        (instruction, incident): (Instruction, Option<IncidentId>),
        send: impl Fn(Channel, v1::SignedOrder) -> F,
    ) -> Result<(OrderDone, v1::Seen)>
    where
        F: Future<Output = Receipt>,
    {
        let not_after = Millis(now()?.0 + u64::try_from(ORDER_LIFE.as_millis()).unwrap_or_default());
        let request = request_id()?;
        let signed = Order { ledger, request, not_after, instruction, incident }.sign(self.identity());
        let signed = signed.map_err(|error| Error::new(Reason::InvalidArgument, error.to_string()))?;
        let bytes = signed.bytes().map_err(|error| Error::new(Reason::InvalidArgument, error.to_string()))?;
        // What the vault would refuse is refused before it is sent.
        let verified = signed.verify().map_err(|error| Error::new(Reason::InvalidArgument, error.to_string()))?;
        let message = v1::SignedOrder { tenant: tenant.to_string(), order: bytes.into() };

        let mut attempts = self.attempts();
        loop {
            let error = match self.connection().await {
                Ok(connection) => match answered(send(connection.channel(), message.clone())).await {
                    Ok(receipt) => return accepted(verified.id(), receipt.into_inner()),
                    Err(error) => {
                        if error.is_transport() {
                            connection.closed().set();
                        }
                        error
                    }
                },
                Err(error) => error,
            };
            // An order whose answer was lost is answered with the receipt of its first acceptance.
            self.pause(&mut attempts, error, Safety::Idempotent).await.map_err(|error| error.with_request(request))?;
        }
    }
}

type Receipt = Result<tonic::Response<v1::OrderReceipt>, tonic::Status>;

fn accepted(id: OrderId, receipt: v1::OrderReceipt) -> Result<(OrderDone, v1::Seen)> {
    if receipt.order_id[..] != id.as_bytes()[..] {
        return Err(Error::integrity("the vault's receipt is for another order"));
    }
    let seen = receipt.seen.ok_or_else(|| Error::integrity("the vault's receipt does not tell the ledger's size"))?;
    Ok((OrderDone { index: Index(receipt.index), time: Millis(receipt.time), id }, seen))
}

/// Which method carries an instruction out.
#[derive(Debug, Clone, Copy)]
enum Method {
    AddAdmin,
    RemoveAdmin,
    AddVendor,
    SuspendVendor,
    ResumeVendor,
    RemoveVendor,
    AddKey,
    RevokeKey,
    CreateDataset,
    DeleteDataset,
    FreezeDataset,
    UnfreezeDataset,
    FreezeTenant,
    UnfreezeTenant,
    BlockKey,
    UnblockKey,
    RotateKey,
    DestroyKey,
    RotateLogKey,
    Shred,
    SetEscrow,
    RotateEvery,
    IssueGrant,
    RenewGrant,
    RevokeGrant,
    SetPolicy,
    CreateTenant,
    OpenIncident,
    CloseIncident,
}

fn method(instruction: &Instruction) -> Method {
    match instruction {
        Instruction::CreateTenant { .. } => Method::CreateTenant,
        Instruction::AddAdmin { .. } => Method::AddAdmin,
        Instruction::RemoveAdmin { .. } => Method::RemoveAdmin,
        Instruction::AddVendor { .. } => Method::AddVendor,
        Instruction::SuspendVendor { .. } => Method::SuspendVendor,
        Instruction::ResumeVendor { .. } => Method::ResumeVendor,
        Instruction::RemoveVendor { .. } => Method::RemoveVendor,
        Instruction::AddKey { .. } => Method::AddKey,
        Instruction::RevokeKey { .. } => Method::RevokeKey,
        Instruction::CreateDataset { .. } => Method::CreateDataset,
        Instruction::DeleteDataset { .. } => Method::DeleteDataset,
        Instruction::FreezeDataset { .. } => Method::FreezeDataset,
        Instruction::UnfreezeDataset { .. } => Method::UnfreezeDataset,
        Instruction::FreezeTenant { .. } => Method::FreezeTenant,
        Instruction::UnfreezeTenant { .. } => Method::UnfreezeTenant,
        Instruction::BlockKey { .. } => Method::BlockKey,
        Instruction::UnblockKey { .. } => Method::UnblockKey,
        Instruction::RotateKey { .. } => Method::RotateKey,
        Instruction::DestroyKey { .. } => Method::DestroyKey,
        Instruction::OpenIncident { .. } => Method::OpenIncident,
        Instruction::CloseIncident { .. } => Method::CloseIncident,
        Instruction::RotateLogKey { .. } => Method::RotateLogKey,
        Instruction::ShredObjects { .. } | Instruction::ShredDataset { .. } | Instruction::ShredTenant { .. } => {
            Method::Shred
        }
        Instruction::SetEscrow { .. } => Method::SetEscrow,
        Instruction::RotateEvery { .. } => Method::RotateEvery,
        Instruction::IssueGrant(_) => Method::IssueGrant,
        Instruction::RenewGrant { .. } => Method::RenewGrant,
        Instruction::RevokeGrant { .. } => Method::RevokeGrant,
        Instruction::SetPolicy(_) => Method::SetPolicy,
    }
}

async fn carry_out(method: Method, channel: Channel, order: v1::SignedOrder) -> Receipt {
    match method {
        Method::CreateTenant => AdminClient::new(channel).create_tenant(order).await,
        Method::AddAdmin => AdminClient::new(channel).add_admin(order).await,
        Method::RemoveAdmin => AdminClient::new(channel).remove_admin(order).await,
        Method::AddVendor => VendorsClient::new(channel).register(order).await,
        Method::SuspendVendor => VendorsClient::new(channel).suspend(order).await,
        Method::ResumeVendor => VendorsClient::new(channel).resume(order).await,
        Method::RemoveVendor => VendorsClient::new(channel).remove(order).await,
        Method::OpenIncident => VendorsClient::new(channel).open_incident(order).await,
        Method::CloseIncident => VendorsClient::new(channel).close_incident(order).await,
        Method::AddKey => VendorsClient::new(channel).add_key(order).await,
        Method::RevokeKey => VendorsClient::new(channel).revoke_key(order).await,
        Method::CreateDataset => VaultClient::new(channel).create_dataset(order).await,
        Method::DeleteDataset => VaultClient::new(channel).delete_dataset(order).await,
        Method::FreezeDataset => VaultClient::new(channel).freeze_dataset(order).await,
        Method::UnfreezeDataset => VaultClient::new(channel).unfreeze_dataset(order).await,
        Method::FreezeTenant => AdminClient::new(channel).freeze_tenant(order).await,
        Method::UnfreezeTenant => AdminClient::new(channel).unfreeze_tenant(order).await,
        Method::BlockKey => AdminClient::new(channel).block_key(order).await,
        Method::UnblockKey => AdminClient::new(channel).unblock_key(order).await,
        Method::RotateKey => KeysClient::new(channel).rotate(order).await,
        Method::DestroyKey => KeysClient::new(channel).destroy(order).await,
        Method::RotateLogKey => KeysClient::new(channel).rotate_log(order).await,
        Method::Shred => KeysClient::new(channel).shred(order).await,
        Method::SetEscrow => KeysClient::new(channel).set_escrow(order).await,
        Method::RotateEvery => KeysClient::new(channel).rotate_every(order).await,
        Method::IssueGrant => GrantsClient::new(channel).issue(order).await,
        Method::RenewGrant => GrantsClient::new(channel).renew(order).await,
        Method::RevokeGrant => GrantsClient::new(channel).revoke(order).await,
        Method::SetPolicy => GrantsClient::new(channel).set_policy(order).await,
    }
}

/// Keys as an order lists them: sorted, each once.
pub(crate) fn sorted(keys: &[Fingerprint]) -> Vec<Fingerprint> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A field of an answer, as the type it should be.
pub(crate) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::integrity(format!("the vault's answer holds no valid {what}")))
}

/// The same, where an empty field is none.
pub(crate) fn optional<T: std::str::FromStr>(what: &str, text: &str) -> Result<Option<T>> {
    if text.is_empty() { Ok(None) } else { parse(what, text).map(Some) }
}

pub(crate) fn bytes<'a, T: TryFrom<&'a [u8]>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    bytes.try_into().map_err(|_| Error::integrity(format!("the vault's answer holds no valid {what}")))
}

/// Where the next page begins; a page that leads to itself would never end.
pub(crate) fn next_token(this: &str, next: String) -> Result<String> {
    if !next.is_empty() && next == this {
        return Err(Error::integrity("a page of a list leads to itself"));
    }
    Ok(next)
}

fn log_keys(tenant: &v1::Tenant) -> Result<Option<LogKeys>> {
    if tenant.log_key.is_empty() {
        return Ok(None);
    }
    let lines = std::iter::once(&tenant.log_key).chain(&tenant.later_log_keys).map(String::as_str);
    let broken = |error| Error::integrity(format!("the log keys of {}: {error}", tenant.name));
    LogKeys::from_lines(lines).map(Some).map_err(broken)
}
