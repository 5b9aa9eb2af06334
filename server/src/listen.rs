//! The way in: TCP, TLS 1.3, and who is at the other end.
//!
//! ```text
//! accept ─► (PROXY header, from a configured proxy) ─► TLS (≤ `limits.handshake`) ─► first bytes of HTTP/2 ─► Io, with its Connection ─► tonic
//! ```
//!
//! A caller is the key of its TLS certificate and nothing else; any key may connect, and who it is gets looked up per request.
//! A connection without a certificate stands too, for its calls to be answered in words instead of by an alert.
//!
//! Invariants:
//! - No tickets, no resumption, no early data: each would skip the proof that the caller has its key.
//! - What a connection holds here (its place among `limits.max_connections`, its sessions' secrets) ends with it.
//! - Whoever says nothing is let go: the time for a handshake runs until the first bytes that follow it.

mod certificate;
mod proxy;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustls::server::ParsedCertificate;
use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::Network;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::SessionId;
use strongroom_core::session::EXPORTER_LABEL;
use strongroom_core::succession::Succession;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::config::Limits;
use crate::sessions::Sessions;

/// Connections that stand and wait for tonic to take them.
const BACKLOG: usize = 16;
/// How long to wait when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes with which every HTTP/2 connection begins (RFC 9113 §3.4).
const PREFACE: usize = 24;

/// What is done with the sessions of a connection that ended.
pub(crate) type OnEnd = Arc<dyn Fn(&[SessionId]) + Send + Sync>;

/// What requests know of the connection they came on.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The key of the caller's certificate; none if it showed none.
    pub(crate) key: Option<Fingerprint>,
    /// Where it comes from; behind a configured proxy, as that says.
    pub(crate) source: SocketAddr,
    /// The TLS exporter of [`EXPORTER_LABEL`]: what binds a session to this connection.
    pub(crate) exporter: [u8; 32],
    /// The sessions that were opened on it.
    pub(crate) sessions: Arc<Sessions>,
    ended: Arc<AtomicBool>,
}

impl Connection {
    /// Whether it has ended. Whoever adds a session asks after that: what was added later, nobody closes.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("key", &self.key).field("source", &self.source).finish_non_exhaustive()
    }
}

/// A socket that listens.
pub(crate) struct Listener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    handshake: Duration,
    proxies: Arc<[Network]>,
    places: Arc<Semaphore>,
    on_end: OnEnd,
    #[cfg(feature = "tap")]
    tap: Option<Arc<dyn crate::tap::Tap>>,
}

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

impl Listener {
    /// Listens on `address`, with certificates issued by the vault key, which shows its succession. Connections from `proxies` say where they come from.
    pub(crate) async fn bind(
        address: SocketAddr,
        (vault_key, succession): (&SigningKey, &Succession),
        limits: &Limits,
        proxies: &[Network],
        on_end: OnEnd,
    ) -> Result<Listener, ListenError> {
        let tls = tls::config(vault_key, succession).map_err(ListenError::Tls)?;
        let tcp = TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Listener {
            tcp,
            acceptor: TlsAcceptor::from(tls),
            handshake: limits.handshake,
            proxies: proxies.into(),
            places: Arc::new(Semaphore::new(limits.max_connections)),
            on_end,
            #[cfg(feature = "tap")]
            tap: None,
        })
    }

    /// Has somebody listen inside TLS.
    #[cfg(feature = "tap")]
    pub(crate) fn tapped(self, tap: Option<Arc<dyn crate::tap::Tap>>) -> Listener {
        Listener { tap, ..self }
    }

    /// Where it listens: the port is known even if port 0 was asked for.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The connections, as they stand. Dropping the stream ends listening; connections live on.
    pub(crate) fn incoming(self) -> ReceiverStream<io::Result<Io>> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(self.accept_all(sender));
        ReceiverStream::new(receiver)
    }

    async fn accept_all(self, sender: mpsc::Sender<io::Result<Io>>) {
        let mut full = false;
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = sender.closed() => return,
            };
            let (tcp, source) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if of_one_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                // Said once until there is room again: a flood must not fill the log too.
                if !std::mem::replace(&mut full, true) {
                    tracing::warn!(%source, "all connections are taken; further ones are closed");
                }
                continue;
            };
            full = false;
            tokio::spawn(self.shake_hands(tcp, source, place, sender.clone()));
        }
    }

    fn shake_hands(
        &self,
        tcp: TcpStream,
        source: SocketAddr,
        place: OwnedSemaphorePermit,
        sender: mpsc::Sender<io::Result<Io>>,
    ) -> impl Future<Output = ()> + use<> {
        let (acceptor, within, on_end) = (self.acceptor.clone(), self.handshake, self.on_end.clone());
        let behind_proxy = self.proxies.iter().any(|network| network.covers(source.ip()));
        #[cfg(feature = "tap")]
        let tap = self.tap.clone();
        async move {
            let stands = tokio::time::timeout(within, stand(acceptor, tcp, source, behind_proxy)).await;
            match stands.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok((tls, first, source)) => match Io::new(tls, first, source, place, on_end) {
                    Ok(io) => {
                        #[cfg(feature = "tap")]
                        let io = io.tapped(tap);
                        // The receiver is gone if the server is shutting down.
                        drop(sender.send(Ok(io)).await);
                    }
                    Err(error) => tracing::debug!(%source, %error, "a connection was refused"),
                },
                Err(error) => tracing::debug!(%source, %error, "a connection came to nothing"),
            }
        }
    }
}

/// Whether an error of `accept` is about the one connection that was about to be accepted.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// TLS, and the first bytes that follow it; and where it comes from.
async fn stand(
    acceptor: TlsAcceptor,
    mut tcp: TcpStream,
    peer: SocketAddr,
    behind_proxy: bool,
) -> io::Result<(TlsStream<TcpStream>, Bytes, SocketAddr)> {
    tcp.set_nodelay(true)?;
    let source = if behind_proxy { proxy::read(&mut tcp).await?.unwrap_or(peer) } else { peer };
    let mut tls = acceptor.accept(tcp).await?;
    let mut first = vec![0; PREFACE];
    let count = tls.read(&mut first).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    first.truncate(count);
    Ok((tls, first.into(), source))
}

/// A connection that stands.
pub(crate) struct Io {
    tls: TlsStream<TcpStream>,
    /// Bytes that were read already.
    first: Bytes,
    connection: Connection,
    on_end: OnEnd,
    _place: OwnedSemaphorePermit,
    #[cfg(feature = "tap")]
    tap: Option<Arc<dyn crate::tap::Tap>>,
}

impl Io {
    fn new(
        tls: TlsStream<TcpStream>,
        first: Bytes,
        source: SocketAddr,
        place: OwnedSemaphorePermit,
        on_end: OnEnd,
    ) -> Result<Io, rustls::Error> {
        let (_, session) = tls.get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let key = certificate.map(|certificate| {
            let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
            Ok::<_, rustls::Error>(Fingerprint::of_spki(spki.as_ref()))
        });
        let connection = Connection {
            key: key.transpose()?,
            source,
            exporter: session.export_keying_material([0; 32], EXPORTER_LABEL, None)?,
            sessions: Arc::default(),
            ended: Arc::default(),
        };
        Ok(Io {
            tls,
            first,
            connection,
            on_end,
            _place: place,
            #[cfg(feature = "tap")]
            tap: None,
        })
    }
}

#[cfg(feature = "tap")]
impl Io {
    fn tapped(mut self, tap: Option<Arc<dyn crate::tap::Tap>>) -> Io {
        self.tap = tap;
        self
    }

    fn heard(&self, direction: crate::tap::Direction, bytes: &[u8]) {
        if let Some(tap) = &self.tap {
            tap.heard(self.connection.source, direction, bytes);
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.connection.ended.store(true, Ordering::Release);
        (self.on_end)(&self.connection.sessions.ids());
    }
}

impl Connected for Io {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        #[cfg(feature = "tap")]
        let before = buffer.filled().len();
        let read = if self.first.has_remaining() {
            let count = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(count));
            Poll::Ready(Ok(()))
        } else {
            Pin::new(&mut self.tls).poll_read(cx, buffer)
        };
        #[cfg(feature = "tap")]
        self.heard(crate::tap::Direction::In, &buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tls).poll_write(cx, bytes);
        #[cfg(feature = "tap")]
        if let Poll::Ready(Ok(count)) = &written {
            self.heard(crate::tap::Direction::Out, &bytes[..*count]);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tls).poll_write_vectored(cx, slices);
        #[cfg(feature = "tap")]
        if let Poll::Ready(Ok(count)) = &written {
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            self.heard(crate::tap::Direction::Out, &bytes.take(*count).collect::<Vec<u8>>());
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
