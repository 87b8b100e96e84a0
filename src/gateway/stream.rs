//! A browser's connection, and how to get it back from hyper after an upgrade.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// Plain or within TLS, whose state is boxed because plain connections need none of it.
pub type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A connection that is no longer HTTP. It stands directly on the socket: a WebSocket may be idle for hours, and hyper's
/// buffers would be held all the while.
#[derive(Debug)]
pub struct UpgradedStream {
    /// What hyper had read beyond the request; empty again after the first reads.
    unread: Bytes,
    stream: Stream,
}

impl UpgradedStream {
    /// Takes the connection out of hyper; `None` if it is not one of the server's.
    pub fn new(upgraded: Upgraded) -> Option<Self> {
        let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
        // Even empty, `read_buf` would keep the buffer alive that it was cut from.
        let unread = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
        Some(Self { unread, stream: parts.io.into_inner() })
    }
}

impl AsyncRead for UpgradedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = self.unread.len().min(buf.remaining());
        self.unread.copy_to_slice(buf.initialize_unfilled_to(len));
        buf.advance(len);
        if self.unread.is_empty() {
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpgradedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
