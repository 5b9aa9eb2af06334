//! Progress bars: on a terminal only, on stderr, and never in the way of an error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Format;

/// A bar that counts bytes, or objects; or nothing, where nobody looks.
#[derive(Debug, Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes, up to `total` where that is known.
    pub fn bytes(format: Format, what: &str, total: Option<u64>) -> Self {
        Self::styled(format, what, total, match total {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        })
    }

    /// Counts objects, up to `total` where that is known.
    pub fn objects(format: Format, what: &str, total: Option<u64>) -> Self {
        Self::styled(format, what, total, match total {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} objects {eta}",
            None => "{msg} {spinner} {human_pos} objects {per_sec}",
        })
    }

    fn styled(format: Format, what: &str, total: Option<u64>, template: &str) -> Self {
        if format == Format::Json || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        // A template that does not parse leaves indicatif's own style.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(bar.with_style(style).with_message(what.to_owned()))
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.inc(count);
    }

    /// Counts what passes through a reader.
    pub fn reader<R: tokio::io::AsyncRead + Unpin>(&self, reader: R) -> impl tokio::io::AsyncRead + Unpin + use<R> {
        Counted { inner: reader, bar: self.0.clone() }
    }

    /// Counts what passes through a writer.
    pub fn writer<W: tokio::io::AsyncWrite + Unpin>(&self, writer: W) -> impl tokio::io::AsyncWrite + Unpin + use<W> {
        Counted { inner: writer, bar: self.0.clone() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

struct Counted<T> {
    inner: T,
    bar: ProgressBar,
}

mod counted {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Counted;

    impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            this.bar.inc((buf.filled().len() - before) as u64);
            Poll::Ready(Ok(()))
        }
    }

    impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
            this.bar.inc(written as u64);
            Poll::Ready(Ok(written))
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().inner).poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
        }
    }
}
