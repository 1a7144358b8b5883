//! A server on the loopback whose answers are as wrong as a test wants them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// One answer. The connection is closed after it.
pub(crate) struct Reply {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
    /// How many bytes are announced.
    length: usize,
    /// Whether the connection stays open, silent, after the body.
    stalls: bool,
}

impl Reply {
    pub(crate) fn of(body: &[u8]) -> Self {
        Self::cut(body, body.len())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::of(b"") }
    }

    pub(crate) fn redirect(target: &str) -> Self {
        Self { status: 302, location: Some(target.to_owned()), ..Self::of(b"") }
    }

    /// Ends before all announced bytes are sent.
    pub(crate) fn cut(body: &[u8], length: usize) -> Self {
        Self { status: 200, location: None, body: body.to_vec(), length, stalls: false }
    }

    /// Sends nothing more before all announced bytes are sent.
    pub(crate) fn stalled(body: &[u8], length: usize) -> Self {
        Self { stalls: true, ..Self::cut(body, length) }
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server; its thread ends with the test's process.
    pub(crate) fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked for, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, answer: &dyn Fn(&str) -> Reply) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(target) = lines.next().and_then(|line| Some(line.split(' ').nth(1)?.to_owned()))
    else {
        return;
    };
    lines.find(String::is_empty);
    seen.lock().unwrap().push(target.clone());
    let reply = answer(&target);
    let location = reply.location.map(|place| format!("Location: {place}\r\n"));
    let head = format!(
        "HTTP/1.1 {} Status\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
        reply.status,
        reply.length,
        location.unwrap_or_default()
    );
    // A client that went away is no failure of the server's.
    let _ = stream.write_all(&[head.as_bytes(), &reply.body].concat());
    if reply.stalls {
        thread::park();
    }
}
