//! A caller without the SDK's manners: the protocol step by step, so that a test can break any one step.
//!
//! It shows whatever certificate it is given, believes any server, and sends what it is told to. What it can do honestly it does
//! with the formats of `strongroom_core`, so that a test changes one thing and leaves the rest right.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use strongroom_core::call::{Call, Condition, GetItem, PutItem, Work};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::exact;
use strongroom_core::identity::{Fingerprint, Identity, Purpose};
use strongroom_core::ids::{CallDigest, Digest, GrantId, ObjectId, PutId, RequestId, SessionId};
use strongroom_core::keys::parcel::{Binding, KeyParcel, SessionSecret, seal_upload_keys};
use strongroom_core::keys::secret::{Key, random_bytes};
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::order::SignedOrder;
use strongroom_core::origin::Origin;
use strongroom_core::sealed::content::ContentHasher;
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::segment;
use strongroom_core::sealed::tree::ObjectRoot;
use strongroom_core::session::{EXPORTER_LABEL, Opening, SessionStatement};
use strongroom_proto::status::{Failure, from_status};
use strongroom_proto::v1;
use strongroom_proto::v1::put_frame::Frame;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A connection.
pub struct Raw {
    /// Calls go through here: `v1::vault_client::VaultClient::new(raw.channel.clone())` and its kin.
    pub channel: Channel,
    /// The TLS exporter's bytes on this side.
    pub exporter: Digest,
}

/// What the failure of a call says.
pub fn failure(status: Status) -> Failure {
    from_status(&status)
}

impl Raw {
    /// Connects and shows the certificate of `identity`, or none.
    ///
    /// # Errors
    /// The transport's, as text, where the connection or its handshake fails.
    pub async fn connect(address: SocketAddr, identity: Option<&Identity>) -> Result<Self, String> {
        let config = Arc::new(tls(identity));
        let exporter = Arc::new(Mutex::new(None));
        let found = exporter.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let (config, found) = (config.clone(), found.clone());
            async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let name = ServerName::try_from(strongroom_proto::SERVER_NAME).map_err(std::io::Error::other)?;
                let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
                let exported = tls.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None);
                *found.lock().unwrap() = Some(exported.map_err(std::io::Error::other)?);
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(tls))
            }
        });
        let endpoint = Endpoint::from_static("http://node.strongroom.internal");
        let channel = endpoint.connect_with_connector(connector).await.map_err(|error| format!("{error:?}"))?;
        let exporter = exporter.lock().unwrap().map(Digest::from_bytes).ok_or("no handshake")?;
        Ok(Self { channel, exporter })
    }

    /// The service of objects, with no limit on what it sends.
    pub fn vault(&self) -> v1::vault_client::VaultClient<Channel> {
        v1::vault_client::VaultClient::new(self.channel.clone())
    }

    /// Opens a session as the SDK would.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn open(&self, identity: &Identity, tenant: &str, vault_key: Fingerprint) -> Result<RawSession, Failure> {
        self.open_with(identity, tenant, vault_key, |_| ()).await
    }

    /// Opens a session with an opening that `change` has changed before it is signed.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn open_with(
        &self,
        identity: &Identity,
        tenant: &str,
        vault_key: Fingerprint,
        change: impl FnOnce(&mut Opening),
    ) -> Result<RawSession, Failure> {
        let call_key = SigningKey::generate().unwrap();
        let age = age::x25519::Identity::generate();
        let mut opening = Opening {
            recipient: age.to_public().to_string(),
            call_key: call_key.public_key(),
            tenant: tenant.parse().unwrap(),
            vault_key,
            exporter: self.exporter,
        };
        change(&mut opening);
        let bytes = opening.bytes().unwrap();
        let id = Opening::session_id(&bytes);
        let request = v1::OpenRequest {
            key: point(identity),
            signature: identity.sign(Purpose::Opening, &bytes).unwrap().to_vec().into(),
            opening: bytes.into(),
            seen: None,
            claims: None,
        };
        let mut sessions = v1::sessions_client::SessionsClient::new(self.channel.clone());
        let answer = sessions.open(request).await.map_err(failure)?.into_inner();
        let statement: SessionStatement = exact::from_slice(&answer.statement).unwrap();
        let secret = age::decrypt(&age, &answer.message).unwrap();
        let secret = SessionSecret::from_bytes(secret.try_into().unwrap());
        Ok(RawSession { id, secret, call_key, origin: statement.ledger })
    }

    /// Makes a read and gathers all its frames.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn get(&self, signed: v1::SignedCall) -> Result<Vec<v1::get_frame::Frame>, Failure> {
        let request = v1::GetRequest { call: Some(signed), skip: 0 };
        let mut stream = self.vault().get(request).await.map_err(failure)?.into_inner();
        let mut frames = Vec::new();
        while let Some(message) = stream.message().await.map_err(failure)? {
            frames.extend(message.frame);
        }
        Ok(frames)
    }

    /// Uploads by these frames.
    ///
    /// # Errors
    /// What the server refuses; an item's own refusal too.
    pub async fn put(&self, frames: Vec<v1::PutFrame>) -> Result<v1::PutResult, Failure> {
        let answer = self.vault().put(futures::stream::iter(frames)).await.map_err(failure)?.into_inner();
        item_result(answer.result.unwrap())
    }
}

/// The refusal of one item of a put as a failure.
///
/// # Errors
/// The item's refusal.
pub fn item_result(result: v1::PutResult) -> Result<v1::PutResult, Failure> {
    if result.reason.is_empty() {
        return Ok(result);
    }
    Err(Failure { reason: result.reason.parse().unwrap(), detail: result.detail, request: None, hit: None })
}

/// A session, with all that belongs in its owner's memory only.
pub struct RawSession {
    /// Its id.
    pub id: SessionId,
    /// Its secret.
    pub secret: SessionSecret,
    /// Its call key.
    pub call_key: SigningKey,
    /// The ledger that its calls are signed for.
    pub origin: Origin,
}

impl RawSession {
    /// A call, signed; with its digest.
    pub fn sign(&self, call: &Call) -> (CallDigest, v1::SignedCall) {
        self.sign_bytes(call.bytes().unwrap())
    }

    /// Any bytes in a call's place, signed; with their digest.
    pub fn sign_bytes(&self, request: Vec<u8>) -> (CallDigest, v1::SignedCall) {
        let digest = Call::digest(&self.id, &self.origin, &request);
        let signature = Call::sign(&digest, &self.call_key).0.to_vec().into();
        let session = self.id.as_bytes().to_vec().into();
        (digest, v1::SignedCall { session, request: request.into(), signature })
    }

    /// A read of whole objects of one dataset, signed.
    pub fn get(&self, grant: Option<GrantId>, dataset: &str, paths: &[&str]) -> (CallDigest, v1::SignedCall) {
        let item = |path: &&str| GetItem::at(dataset.parse().unwrap(), path.parse().unwrap());
        self.sign(&Call {
            request: request_id(),
            grant,
            work: Work::Get(paths.iter().map(item).collect()),
            incident: None,
        })
    }

    /// Opens a parcel that answers a call.
    pub fn parcel(&self, call: CallDigest, parcel: &v1::Parcel) -> KeyParcel {
        let binding = Binding { session: self.id, call, index: parcel.index };
        KeyParcel::open(&self.secret, &binding, &parcel.sealed).unwrap()
    }

    /// The frames of an honest upload: begin, data, commit.
    pub fn put_frames(&self, target: &Target, object: &SealedObject) -> Vec<v1::PutFrame> {
        let mut frames = vec![target.begin()];
        frames.extend(object.data());
        frames.push(self.commit(target, object));
        frames
    }

    /// The commit of an upload.
    pub fn commit(&self, target: &Target, object: &SealedObject) -> v1::PutFrame {
        let work = Work::Put(vec![target.item(object)]);
        let (digest, call) = self.sign(&Call { request: target.request, grant: target.grant, work, incident: None });
        let keys = self.seal_keys(digest, std::slice::from_ref(object));
        put_frame(Frame::Commit(v1::PutCommit { call: Some(call), keys }))
    }

    /// The object keys of an upload, sealed for its call.
    pub fn seal_keys(&self, call: CallDigest, objects: &[SealedObject]) -> Bytes {
        let keys: Vec<Key> = objects.iter().map(|object| object.key.duplicate()).collect();
        seal_upload_keys(&self.secret, &self.id, &call, &keys).unwrap().into()
    }

    /// An honest batch of small objects.
    pub fn batch(&self, grant: Option<GrantId>, items: &[(Target, SealedObject)]) -> v1::PutBatchRequest {
        let work = Work::Put(items.iter().map(|(target, object)| target.item(object)).collect());
        let (digest, call) = self.sign(&Call { request: request_id(), grant, work, incident: None });
        let keys: Vec<Key> = items.iter().map(|(_, object)| object.key.duplicate()).collect();
        let keys = seal_upload_keys(&self.secret, &self.id, &digest, &keys).unwrap().into();
        let objects = items.iter().flat_map(|(_, object)| object.bytes.iter().copied()).collect();
        v1::PutBatchRequest { call: Some(call), keys, objects }
    }
}

/// Where an upload goes, and under what.
#[derive(Clone)]
pub struct Target {
    /// The tenant.
    pub tenant: String,
    /// The grant; none as an admin.
    pub grant: Option<GrantId>,
    /// The put id.
    pub put: PutId,
    /// The request id.
    pub request: RequestId,
    /// The dataset.
    pub dataset: DatasetName,
    /// The path.
    pub path: ObjectPath,
    /// What must hold.
    pub condition: Condition,
}

impl Target {
    /// A fresh attempt to write what is not there.
    pub fn new(tenant: &str, grant: Option<GrantId>, dataset: &str, path: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            grant,
            put: PutId::from_bytes(random_bytes().unwrap()),
            request: request_id(),
            dataset: dataset.parse().unwrap(),
            path: path.parse().unwrap(),
            condition: Condition::Absent,
        }
    }

    /// The first frame.
    pub fn begin(&self) -> v1::PutFrame {
        put_frame(Frame::Begin(v1::PutBegin {
            tenant: self.tenant.clone(),
            grant: self.grant.map(|grant| grant.to_string()).unwrap_or_default(),
            put: self.put.as_bytes().to_vec().into(),
            dataset: self.dataset.to_string(),
            path: self.path.to_string(),
            generation: match self.condition {
                Condition::Any => None,
                Condition::Absent => Some(0),
                Condition::Generation(generation) | Condition::Rekey(generation) => Some(generation.0),
            },
            rekey: matches!(self.condition, Condition::Rekey(_)),
        }))
    }

    /// The item of the call.
    pub fn item(&self, object: &SealedObject) -> PutItem {
        PutItem {
            put: self.put,
            dataset: self.dataset.clone(),
            path: self.path.clone(),
            condition: self.condition,
            header: object.header,
            size: object.size,
            content_root: object.root,
        }
    }
}

/// A sealed object, with its key.
pub struct SealedObject {
    /// The object key.
    pub key: Key,
    /// The header.
    pub header: Header,
    /// Header and segments.
    pub bytes: Vec<u8>,
    /// Plaintext bytes.
    pub size: u64,
    /// The content root.
    pub root: Digest,
}

impl SealedObject {
    /// Seals `plaintext` under a fresh key and id.
    pub fn seal(plaintext: &[u8]) -> Self {
        let key = Key::random().unwrap();
        let header = Header::new(ObjectId::from_bytes(random_bytes().unwrap()));
        let root = ObjectRoot::derive(&key, &header);
        let size = plaintext.len() as u64;
        let layout = Layout::new(size).unwrap();
        let mut bytes = header.encode().to_vec();
        let mut rest = plaintext;
        for i in 0..layout.segments() {
            let (now, after) = rest.split_at(layout.plain_len(i));
            segment::seal(&root.leaf(i), i, layout.is_last(i), now, &mut bytes).unwrap();
            rest = after;
        }
        let mut hasher = ContentHasher::new();
        hasher.update(&bytes);
        let root = hasher.finish(size).unwrap().root;
        Self { key, header, bytes, size, root }
    }

    /// The frames of its bytes.
    pub fn data(&self) -> Vec<v1::PutFrame> {
        let chunks = self.bytes.chunks(strongroom_proto::MAX_FRAME);
        chunks.map(|chunk| put_frame(Frame::Data(Bytes::copy_from_slice(chunk)))).collect()
    }
}

/// A frame of an upload.
pub fn put_frame(frame: Frame) -> v1::PutFrame {
    v1::PutFrame { frame: Some(frame) }
}

/// Any bytes in an order's place, signed, as they travel.
pub fn order_bytes(tenant: &str, identity: &Identity, order: &[u8]) -> v1::SignedOrder {
    let signature = data_encoding::HEXLOWER.encode(&identity.sign(Purpose::Order, order).unwrap());
    let key = data_encoding::HEXLOWER.encode(&point(identity));
    let text = std::str::from_utf8(order).unwrap();
    let signed = format!("{{\"order\":{text},\"signatures\":[{{\"key\":\"{key}\",\"signature\":\"{signature}\"}}]}}");
    v1::SignedOrder { tenant: tenant.to_owned(), order: signed.into() }
}

/// An order as it travels.
pub fn order(tenant: &str, signed: &SignedOrder) -> v1::SignedOrder {
    v1::SignedOrder { tenant: tenant.to_owned(), order: signed.bytes().unwrap().into() }
}

/// A fresh request id.
pub fn request_id() -> RequestId {
    RequestId::from_bytes(random_bytes().unwrap())
}

/// The 65 bytes of an identity's public point.
pub fn point(identity: &Identity) -> Bytes {
    Bytes::copy_from_slice(identity.public_key().as_bytes())
}

/// How a caller speaks TLS that shows the certificate of `identity`, or none, and believes any server.
pub fn tls(identity: Option<&Identity>) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    let mut config = match identity {
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.to_pem().as_bytes()).unwrap();
            let chain = vec![CertificateDer::from(identity.certificate().to_vec())];
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Believes any certificate. That the SDK does not is for other tests.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
