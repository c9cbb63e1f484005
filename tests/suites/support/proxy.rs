//! A TCP proxy between the daemon and an API server that can refuse, or take everything and never answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy does with what it is given.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum Mode {
    Pass = 0,
    /// New connections are closed at once, and so are open ones with the next byte.
    Refuse = 1,
    /// Bytes are taken and go nowhere.
    Hang = 2,
}

/// A running proxy; it ends with the test's runtime.
pub struct Proxy {
    pub port: u16,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(0));
        let seen = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                let mode = Arc::clone(&seen);
                tokio::spawn(async move {
                    let Ok(outbound) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let (from_client, to_client) = inbound.into_split();
                    let (from_server, to_server) = outbound.into_split();
                    tokio::select! {
                        () = pump(from_client, to_server, &mode) => {}
                        () = pump(from_server, to_client, &mode) => {}
                    }
                });
            }
        });
        Self { port, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mode: &AtomicU8,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if mode.load(Ordering::SeqCst) == Mode::Refuse as u8 {
            return;
        }
        let Ok(read) = from.read(&mut buffer).await else { return };
        if read == 0 {
            return;
        }
        match mode.load(Ordering::SeqCst) {
            mode if mode == Mode::Refuse as u8 => return,
            mode if mode == Mode::Hang as u8 => continue,
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
