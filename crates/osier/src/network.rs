//! Where bytes come from: mirrors, proxies, and downloads into the store.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use osier_debian::{Archive, Keyring, Mirrors, Transport, TransportError, discover};
use osier_fetch::{FetchError, Fetcher, Progress, Proxy, Settings, Want};
use osier_store::{Digest, Store};

use crate::problem::{Exit, Outcome, Problem};
use crate::reporter::{Reporter, bytes};

/// Most bytes of a signed index, whose size nothing tells beforehand.
const INDEX_LIMIT: u64 = 16 << 20;

/// A file that a build needs, and where it is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Download {
    /// Its file name, for messages.
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) size: Option<u64>,
    pub(crate) from: Place,
    /// Which recipe or environment wants it, for messages.
    pub(crate) wanted_by: String,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A path in the pool of every mirror of Debian.
    Pool(String),
    /// Addresses that hold the same bytes.
    Urls(Vec<String>),
}

/// The network, used only by `fetch` and what comes before it.
pub(crate) struct Network<'a> {
    store: &'a Store,
    reporter: &'a Reporter,
    offline: bool,
    mirrors: OnceCell<Mirrors>,
    fetcher: OnceCell<Fetcher>,
}

impl<'a> Network<'a> {
    pub(crate) fn new(store: &'a Store, reporter: &'a Reporter, offline: bool) -> Self {
        Self { store, reporter, offline, mirrors: OnceCell::new(), fetcher: OnceCell::new() }
    }

    fn mirrors(&self) -> Outcome<&Mirrors> {
        if let Some(mirrors) = self.mirrors.get() {
            return Ok(mirrors);
        }
        let configured = std::env::var("OSIER_DEBIAN_MIRROR").ok();
        let found = discover(Path::new("/etc/apt"), configured.as_deref()).map_err(|error| {
            Problem::new("F002", Exit::Fetch, error)
                .hint("set OSIER_DEBIAN_MIRROR to the base address of a Debian mirror")
        })?;
        Ok(self.mirrors.get_or_init(|| found))
    }

    fn fetcher(&self) -> Outcome<&Fetcher> {
        if let Some(fetcher) = self.fetcher.get() {
            return Ok(fetcher);
        }
        let variable = |names: [&str; 2]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        };
        let apt = self.mirrors().ok().and_then(|mirrors| mirrors.proxy.clone());
        let proxy = Proxy {
            http: variable(["http_proxy", "HTTP_PROXY"]).or(apt),
            https: variable(["https_proxy", "HTTPS_PROXY"]),
            no_proxy: variable(["no_proxy", "NO_PROXY"]),
        };
        let extra_ca_file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let settings = Settings { proxy, extra_ca_file, ..Settings::default() };
        let fetcher =
            Fetcher::new(settings).map_err(|error| Problem::new("F001", Exit::Fetch, error))?;
        Ok(self.fetcher.get_or_init(|| fetcher))
    }

    /// Opens a suite of Debian's archive: its signed index is fetched and verified.
    pub(crate) fn archive(&self, suite: &str, architecture: &str) -> Outcome<Archive<'_>> {
        if self.offline {
            let message = format!(
                "the index of Debian's suite {suite} is needed to make pins, and --offline was given"
            );
            return Err(Problem::new("F003", Exit::Fetch, message));
        }
        self.mirrors()?;
        self.fetcher()?;
        let keyring =
            Keyring::debian().map_err(|error| Problem::new("F004", Exit::Fetch, error))?;
        Archive::open(self, suite, architecture, &keyring, SystemTime::now())
            .map_err(|error| Problem::new("F004", Exit::Fetch, crate::pins::chain(&error)))
    }

    /// Says whether every mirror answers that it does not have a file; downloads it where one does.
    pub(crate) fn is_served(&self, download: &Download) -> Outcome<bool> {
        if self.store.has_blob(&download.digest) {
            return Ok(true);
        }
        let (want, place) = self.want(download)?;
        match self.fetcher()?.fetch(&want, &self.parts(), &place, &|_| {}) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Downloads a file whose size is not known, and gives its size.
    pub(crate) fn fetched_size(&self, download: &Download) -> Outcome<u64> {
        let (want, place) = self.want(download)?;
        self.reporter.say(format!("   fetch  {}", download.name));
        let fetched = self
            .fetcher()?
            .fetch(&want, &self.parts(), &place, &|_| {})
            .map_err(|error| failed(&error))?;
        Ok(fetched.size)
    }

    fn parts(&self) -> PathBuf {
        self.store.root().join("parts")
    }

    fn want(&self, download: &Download) -> Outcome<(Want, PathBuf)> {
        let places = match &download.from {
            Place::Urls(urls) => urls.clone(),
            Place::Pool(path) => {
                self.mirrors()?.archive.iter().map(|mirror| format!("{mirror}/{path}")).collect()
            }
        };
        let want = Want {
            name: download.name.clone(),
            places,
            sha256: Some(download.digest.0),
            size: download.size,
            limit: 16 << 30,
        };
        Ok((want, self.store.blob_path(&download.digest)))
    }

    /// Downloads what is not in the store yet, after saying how much that is.
    ///
    /// `space` is how many bytes of disk the work after it needs, roughly.
    pub(crate) fn fetch(&self, downloads: &[Download], space: u64) -> Outcome<()> {
        let mut missing: Vec<&Download> =
            downloads.iter().filter(|download| !self.store.has_blob(&download.digest)).collect();
        missing.sort_by_key(|download| download.digest);
        missing.dedup_by_key(|download| download.digest);
        if missing.is_empty() {
            return Ok(());
        }
        if self.offline {
            let names: Vec<&str> =
                missing.iter().take(5).map(|download| download.name.as_str()).collect();
            let more = if missing.len() > 5 {
                format!(" and {} more", missing.len() - 5)
            } else {
                String::new()
            };
            let message =
                format!("not fetched yet, and --offline was given: {}{more}", names.join(", "));
            return Err(Problem::new("F003", Exit::Fetch, message)
                .hint("run `osier fetch` with a network first"));
        }
        let total: u64 = missing.iter().filter_map(|download| download.size).sum();
        let free = free_bytes(self.store.root());
        self.reporter.say(format!(
            "   fetch  {} files, {}; the work after it needs about {} of disk, {} are free",
            missing.len(),
            bytes(total),
            bytes(space),
            bytes(free)
        ));
        if free < total.saturating_add(space) {
            let message = format!(
                "{} of disk are needed and {} are free",
                bytes(total.saturating_add(space)),
                bytes(free)
            );
            return Err(Problem::new("F006", Exit::Machine, message)
                .hint("make room, or name another place by --store DIR"));
        }
        let folder = self.parts();
        std::fs::create_dir_all(&folder).map_err(|error| {
            Problem::new(
                "M001",
                Exit::Machine,
                format!("cannot make {}: {error}", folder.display()),
            )
        })?;
        let wants =
            missing.iter().map(|download| self.want(download)).collect::<Outcome<Vec<_>>>()?;
        let begun = std::time::Instant::now();
        let held = Mutex::new(vec![0u64; wants.len()]);
        let progress = |index: usize, progress: Progress<'_>| {
            if let Progress::Held { held: now, .. } = progress {
                let mut held = held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                held[index] = now;
                self.reporter.download(held.iter().sum(), total);
            }
        };
        let results = self.fetcher()?.fetch_all(&wants, &folder, &progress);
        self.reporter.download(total, total);
        let mut problems: Vec<(usize, FetchError)> = Vec::new();
        for (index, result) in results.into_iter().enumerate() {
            if let Err(error) = result {
                problems.push((index, error));
            }
        }
        if problems.is_empty() {
            let seconds = begun.elapsed().as_secs_f64();
            self.reporter.say(format!(
                "    done  fetched {} in {}",
                bytes(total),
                crate::reporter::duration(seconds)
            ));
            return Ok(());
        }
        let gone = problems.iter().all(|(index, error)| {
            error.is_not_found() && matches!(missing[*index].from, Place::Pool(_))
        });
        let mut problem = if gone {
            let names: std::collections::BTreeSet<&str> =
                problems.iter().map(|(index, _)| missing[*index].wanted_by.as_str()).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(" ");
            Problem::new(
                "F005",
                Exit::Fetch,
                format!("{} pinned file(s) are on no mirror any more", problems.len()),
            )
            .hint(format!(
                "run `osier update {names}` to move the pins to versions that are served"
            ))
        } else {
            Problem::new(
                "F001",
                Exit::Fetch,
                format!("{} of {} files could not be fetched", problems.len(), missing.len()),
            )
            .hint("what has arrived is kept; run the same command again to go on")
        };
        for (_, error) in problems {
            problem.body.push_str(&format!("  {error}\n"));
        }
        Err(problem)
    }
}

fn failed(error: &FetchError) -> Problem {
    Problem::new("F001", Exit::Fetch, error)
}

impl Transport for Network<'_> {
    fn get(&self, path: &str, expected: Option<(&str, u64)>) -> Result<Vec<u8>, TransportError> {
        let failed = |message: String| TransportError::Failed {
            url: path.to_owned(),
            source: message.into(),
        };
        let wrong = |problem: &Problem| failed(problem.message.clone());
        let mirrors = self.mirrors().map_err(|problem| wrong(&problem))?;
        let fetcher = self.fetcher().map_err(|problem| wrong(&problem))?;
        if let Some((sha256, size)) = expected
            && let Ok(digest) = sha256.parse::<Digest>()
        {
            let download = Download {
                name: path.to_owned(),
                digest,
                size: Some(size),
                from: Place::Pool(path.to_owned()),
                wanted_by: "the archive's index".to_owned(),
            };
            let served = self.is_served(&download).map_err(|problem| wrong(&problem))?;
            if !served {
                return Err(TransportError::NotFound { url: path.to_owned() });
            }
            return self.store.read_blob(&digest).map_err(|error| failed(error.to_string()));
        }
        let mut last = TransportError::NotFound { url: path.to_owned() };
        for mirror in &mirrors.archive {
            match fetcher.get(&format!("{mirror}/{path}"), INDEX_LIMIT) {
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.is_not_found() => {}
                Err(error) => last = failed(error.to_string()),
            }
        }
        Err(last)
    }
}

/// Gives the bytes of disk that are free at a place.
pub(crate) fn free_bytes(place: &Path) -> u64 {
    rustix::fs::statvfs(place).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
