//! Raw tonic: the same messages over the same kind of TLS, with nothing done to them. The ceiling of the transport.

use std::io::{BufRead, Write};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use strongroom_proto::v1;
use strongroom_proto::v1::{get_frame, put_frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::Result;

const FRAME: usize = strongroom_proto::MAX_FRAME;

/// A raw server in a process of its own.
pub struct Raw {
    process: Child,
    client: v1::vault_client::VaultClient<Channel>,
}

impl Raw {
    /// Starts the server and connects.
    pub async fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?).arg("raw").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        std::io::BufReader::new(process.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let (address, certificate) = line.trim().split_once(' ').ok_or("the raw server did not start")?;
        let certificate = CertificateDer::from(unhex(certificate));
        let channel = connect(address.to_owned(), certificate).await?;
        let client =
            v1::vault_client::VaultClient::new(channel).max_decoding_message_size(strongroom_proto::MAX_MESSAGE);
        Ok(Self { process, client })
    }

    /// MB/s of sending this many bytes in frames, to nowhere or into this file, synced before the answer.
    pub async fn put(&self, bytes: u64, file: Option<&Path>) -> Result<f64> {
        let frames = bytes.div_ceil(FRAME as u64);
        let data = Bytes::from(vec![7; FRAME]);
        let stream = futures::stream::iter(0..frames)
            .map(move |_| v1::PutFrame { frame: Some(put_frame::Frame::Data(data.clone())) });
        let mut request = Request::new(stream);
        if let Some(file) = file {
            request.metadata_mut().insert("file", file.to_str().ok_or("the path is not UTF-8")?.parse()?);
        }
        let start = Instant::now();
        self.client.clone().put(request).await?;
        Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
    }

    /// MB/s of receiving this many bytes in frames.
    pub async fn get(&self, bytes: u64) -> Result<f64> {
        let start = Instant::now();
        let request = v1::GetRequest { call: None, skip: bytes.div_ceil(FRAME as u64) };
        let mut frames = self.client.clone().get(request).await?.into_inner();
        while frames.message().await?.is_some() {}
        Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
    }

    /// Calls a second that get one frame of 1 KiB each, by so many callers at once.
    pub async fn small_gets(&self, callers: usize, time: Duration) -> Result<f64> {
        let start = Instant::now();
        let calls = (0..callers).map(|_| {
            let mut client = self.client.clone();
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while start.elapsed() < time {
                    let mut frames = client.get(v1::GetRequest { call: None, skip: 0 }).await?.into_inner();
                    while frames.message().await?.is_some() {}
                    calls += 1;
                }
                Ok::<_, Status>(calls)
            })
        });
        let mut all = 0;
        for calls in calls.collect::<Vec<_>>() {
            all += calls.await??;
        }
        Ok(all as f64 / start.elapsed().as_secs_f64())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until killed; prints address and certificate.
pub async fn serve() -> Result<()> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{} {}", listener.local_addr()?, hex(certificate.der()));
    let incoming = futures::stream::unfold(listener, move |listener| {
        let acceptor = acceptor.clone();
        async move {
            let accepted = async {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                acceptor.accept(tcp).await.map(Io)
            };
            let accepted = accepted.await;
            Some((accepted, listener))
        }
    });
    let service = v1::vault_server::VaultServer::new(RawApi).max_decoding_message_size(strongroom_proto::MAX_MESSAGE);
    Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(1 << 20)
        .add_service(service)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

async fn connect(address: String, certificate: CertificateDer<'static>) -> Result<Channel> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let endpoint = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(1 << 20);
    Ok(endpoint.connect_with_connector(connect).await?)
}

struct RawApi;

type Frames<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl v1::vault_server::Vault for RawApi {
    async fn put(
        &self,
        request: Request<Streaming<v1::PutFrame>>,
    ) -> std::result::Result<Response<v1::PutResponse>, Status> {
        let file = request.metadata().get("file").and_then(|file| file.to_str().ok()).map(str::to_owned);
        let mut frames = request.into_inner();
        let Some(file) = file else {
            while frames.message().await?.is_some() {}
            return Ok(Response::new(v1::PutResponse::default()));
        };
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(8);
        let writer = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::create(file)?;
            while let Some(data) = receiver.blocking_recv() {
                file.write_all(&data)?;
            }
            file.sync_data()
        });
        while let Some(frame) = frames.message().await? {
            if let Some(put_frame::Frame::Data(data)) = frame.frame {
                sender.send(data).await.map_err(|_| none())?;
            }
        }
        drop(sender);
        writer.await.map_err(|_| none())?.map_err(|_| none())?;
        Ok(Response::new(v1::PutResponse::default()))
    }

    type GetStream = Frames<v1::GetFrame>;

    async fn get(&self, request: Request<v1::GetRequest>) -> std::result::Result<Response<Self::GetStream>, Status> {
        let (count, size) = match request.get_ref().skip {
            0 => (1, 1024),
            count => (count, FRAME),
        };
        let data = Bytes::from(vec![7; size]);
        let frames = futures::stream::iter(0..count).map(move |_| {
            let data = v1::Data { data: data.clone(), ..v1::Data::default() };
            Ok(v1::GetFrame { frame: Some(get_frame::Frame::Data(data)) })
        });
        Ok(Response::new(frames.boxed()))
    }

    type ReleaseKeysStream = Frames<v1::GetFrame>;

    async fn release_keys(
        &self,
        _: Request<v1::GetRequest>,
    ) -> std::result::Result<Response<Self::ReleaseKeysStream>, Status> {
        Err(none())
    }

    async fn put_batch(
        &self,
        _: Request<v1::PutBatchRequest>,
    ) -> std::result::Result<Response<v1::PutBatchResponse>, Status> {
        Err(none())
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> std::result::Result<Response<v1::Object>, Status> {
        Err(none())
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> std::result::Result<Response<v1::ListResponse>, Status> {
        Err(none())
    }

    async fn delete(&self, _: Request<v1::SignedCall>) -> std::result::Result<Response<v1::DeleteResponse>, Status> {
        Err(none())
    }

    async fn list_datasets(
        &self,
        _: Request<v1::ListDatasetsRequest>,
    ) -> std::result::Result<Response<v1::ListDatasetsResponse>, Status> {
        Err(none())
    }

    async fn freeze_dataset(
        &self,
        _: Request<v1::SignedOrder>,
    ) -> std::result::Result<Response<v1::OrderReceipt>, Status> {
        Err(none())
    }

    async fn unfreeze_dataset(
        &self,
        _: Request<v1::SignedOrder>,
    ) -> std::result::Result<Response<v1::OrderReceipt>, Status> {
        Err(none())
    }

    async fn create_dataset(
        &self,
        _: Request<v1::SignedOrder>,
    ) -> std::result::Result<Response<v1::OrderReceipt>, Status> {
        Err(none())
    }

    async fn delete_dataset(
        &self,
        _: Request<v1::SignedOrder>,
    ) -> std::result::Result<Response<v1::OrderReceipt>, Status> {
        Err(none())
    }
}

fn none() -> Status {
    Status::unimplemented("raw streams only")
}

struct Io(tokio_rustls::server::TlsStream<TcpStream>);

impl Connected for Io {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).filter_map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()).collect()
}
