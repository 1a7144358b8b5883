//! A small HTTP server on the loopback that keeps to the rules, and breaks them when told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One request as it came in. Header names are in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How the body leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// The end of the connection is the end of the body.
    Close,
}

/// What happens to the connection after some bytes of the body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    CutAfter(usize),
    StallAfter(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) fault: Fault,
    /// Pause after each 1000 bytes.
    pub(crate) pace: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            framing: Framing::Length,
            fault: Fault::None,
            pace: Duration::ZERO,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    pub(crate) fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    pub(crate) fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }
}

/// Serves a file by the rules of RFC 9110, section 14: `Range` with `If-Range`, 206, 416.
pub(crate) fn serve(request: &Request, body: &[u8], tag: Option<&str>) -> Reply {
    let tagged = |reply: Reply| match tag {
        Some(tag) => reply.with("ETag", tag),
        None => reply,
    };
    let valid = request.header("if-range").is_none_or(|wanted| Some(wanted) == tag);
    let range = request.header("range").filter(|_| valid).map(|range| {
        let start = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
        start.parse::<usize>().unwrap()
    });
    match range {
        None => tagged(Reply::new(200, body)),
        Some(start) if start >= body.len() => {
            Reply::new(416, "").with("Content-Range", format!("bytes */{}", body.len()))
        }
        Some(start) => tagged(
            Reply::new(206, &body[start..])
                .with("Content-Range", format!("bytes {start}-{}/{}", body.len() - 1, body.len())),
        ),
    }
}

type Handler = dyn Fn(usize, &Request) -> Reply + Send + Sync;

pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    busiest: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server; the handler gets the number of the request, from 0.
    pub(crate) fn start(
        handler: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            busiest: Arc::default(),
            stop: Arc::default(),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        let busy = Arc::new(AtomicUsize::new(0));
        let (requests, busiest, stop) =
            (server.requests.clone(), server.busiest.clone(), server.stop.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (handler, requests, stop) = (handler.clone(), requests.clone(), stop.clone());
                let (busy, busiest) = (busy.clone(), busiest.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(request) = read_request(&mut reader) {
                        busiest
                            .fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let number = {
                            let mut requests = requests.lock().unwrap();
                            requests.push(request.clone());
                            requests.len() - 1
                        };
                        let reply = handler(number, &request);
                        let goes_on = send(reader.get_mut(), &reply, &stop);
                        busy.fetch_sub(1, Ordering::SeqCst);
                        if !goes_on {
                            break;
                        }
                    }
                });
            }
        });
        server
    }

    /// A server of one file that keeps to the rules.
    pub(crate) fn of(body: &[u8], tag: Option<&'static str>) -> Self {
        let body = body.to_vec();
        Self::start(move |_, request| serve(request, &body, tag))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The `Range` headers of all requests so far.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        self.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect()
    }

    /// Most requests that were under way at once.
    pub(crate) fn busiest(&self) -> usize {
        self.busiest.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())
            }
            None => return Some(Request { method, target, headers }),
        };
    }
}

/// Sends a reply; says whether the connection can take another request.
fn send(stream: &mut TcpStream, reply: &Reply, stop: &AtomicBool) -> bool {
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &match reply.framing {
        Framing::Length => format!("Content-Length: {}\r\n\r\n", reply.body.len()),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n\r\n".into(),
        Framing::Close => "Connection: close\r\n\r\n".into(),
    };
    let sent = match reply.fault {
        Fault::None => reply.body.len(),
        Fault::CutAfter(bytes) | Fault::StallAfter(bytes) => bytes.min(reply.body.len()),
    };
    if stream.write_all(head.as_bytes()).is_err() {
        return false;
    }
    for piece in reply.body[..sent].chunks(1000) {
        let written = match reply.framing {
            Framing::Chunked => stream
                .write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()),
            _ => stream.write_all(piece),
        };
        if written.is_err() || stop.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(reply.pace);
    }
    match reply.fault {
        Fault::CutAfter(_) => return false,
        Fault::StallAfter(_) => {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
            return false;
        }
        Fault::None => {}
    }
    match reply.framing {
        Framing::Length => true,
        Framing::Chunked => stream.write_all(b"0\r\n\r\n").is_ok(),
        Framing::Close => false,
    }
}
