//! Serves one file on the loopback, as the place that a source is fetched from.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result};

/// A server whose thread ends with the proof's process.
pub(crate) struct Server(SocketAddr);

impl Server {
    /// Answers every request with these bytes.
    pub(crate) fn start(bytes: Vec<u8>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot serve a source")?;
        let address = listener.local_addr()?;
        let bytes: Arc<[u8]> = bytes.into();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                let bytes = Arc::clone(&bytes);
                // A client that was killed is no failure of the server's.
                std::thread::spawn(move || answer(&stream, &bytes).ok());
            }
        });
        Ok(Self(address))
    }

    /// The address of the file, under any name.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.0)
    }
}

fn answer(mut stream: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = bytes.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(bytes)
}
