//! Where bytes come from: mirrors, proxies, and downloads into the store.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use osier_debian::{Archive, ArchiveError, Keyring, Mirrors, Transport, TransportError, discover};
use osier_fetch::{FetchError, Fetcher, Progress, Proxy, Settings, Want};
use osier_store::{Digest, Store, free_bytes};

use crate::report::event::Event;
use crate::report::figures::bytes;
use crate::report::problem::chain;
use crate::report::problem::{Code, Outcome, Problem};
use crate::report::reporter::Reporter;
use crate::workplace::RESERVE;

/// Most bytes of a file whose size neither a recipe nor the lock says. It stands in the reference, at the key `size`.
const MOST_UNSIZED: u64 = 4 << 30;

/// Most bytes of a signed index, whose size nothing tells beforehand.
const INDEX_LIMIT: u64 = 16 << 20;

/// What helps where mirrors list what they do not serve.
pub(crate) const OTHER_MIRROR: &str = "the mirror may lag behind, or the suite may have moved to Debian's archive of old releases: name another mirror with OSIER_DEBIAN_MIRROR, or another `suite`";

/// Downloads of fewer bytes say more about the way there than about the rate.
const SMALL_FETCH: u64 = 1 << 20;

/// After so many seconds of a first download its rate is known well enough.
const FIRST_SECONDS: f64 = 3.0;

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
    /// The recipe whose sources it is one of; nothing for a package, whose pin moves with all others.
    pub(crate) recipe: Option<String>,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A path in the pool of every mirror of Debian.
    Pool(String),
    /// Addresses that hold the same bytes.
    Urls(Vec<String>),
    /// Nowhere: it is the archive of a git commit.
    Git { address: String, commit: String },
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
        let (mirrors, fetcher) = (OnceCell::new(), OnceCell::new());
        Self { store, reporter, offline, mirrors, fetcher }
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// The file of further trusted roots, where the person names one.
    pub(crate) fn extra_certificates(&self) -> Option<PathBuf> {
        std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    fn proxy(&self) -> Proxy {
        let variable = |names: [&str; 2]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        };
        let apt = self.mirrors().ok().and_then(|mirrors| mirrors.proxy.clone());
        Proxy {
            http: variable(["http_proxy", "HTTP_PROXY"]).or(apt),
            https: variable(["https_proxy", "HTTPS_PROXY"]),
            no_proxy: variable(["no_proxy", "NO_PROXY"]),
        }
    }

    /// The proxies as variables, for a program that does its own fetching.
    pub(crate) fn proxy_variables(&self) -> Vec<(&'static str, String)> {
        let Proxy { http, https, no_proxy } = self.proxy();
        let named = [("http_proxy", http), ("https_proxy", https), ("no_proxy", no_proxy)];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn mirrors(&self) -> Outcome<&Mirrors> {
        if let Some(mirrors) = self.mirrors.get() {
            return Ok(mirrors);
        }
        let configured = std::env::var("OSIER_DEBIAN_MIRROR").ok();
        let found = discover(Path::new("/etc/apt"), configured.as_deref()).map_err(|error| {
            Problem::of(Code::NoMirror, error)
                .hint("set OSIER_DEBIAN_MIRROR to the base address of a Debian mirror")
        })?;
        Ok(self.mirrors.get_or_init(|| found))
    }

    fn fetcher(&self) -> Outcome<&Fetcher> {
        if let Some(fetcher) = self.fetcher.get() {
            return Ok(fetcher);
        }
        let (proxy, extra_ca_file) = (self.proxy(), self.extra_certificates());
        let settings = Settings { proxy, extra_ca_file, ..Settings::default() };
        let fetcher =
            Fetcher::new(settings).map_err(|error| Problem::of(Code::NotFetched, error))?;
        Ok(self.fetcher.get_or_init(|| fetcher))
    }

    /// Opens a suite of Debian's archive: its signed index is fetched and verified.
    pub(crate) fn archive(&self, suite: &str, architecture: &str) -> Outcome<Archive<'_>> {
        if self.offline {
            let message = format!(
                "the index of Debian's suite {suite} is needed to make pins, but --offline forbids fetching it"
            );
            return Err(Problem::of(Code::Offline, message));
        }
        self.mirrors()?;
        self.fetcher()?;
        let keyring = Keyring::debian().map_err(|error| Problem::of(Code::Untrusted, error))?;
        Archive::open(self, suite, architecture, &keyring, SystemTime::now())
            .map_err(|error| archive_problem(&error))
    }

    /// Says of each file whether a mirror serves it; of what the store has that is not asked.
    pub(crate) fn are_served(&self, downloads: &[Download]) -> Outcome<Vec<bool>> {
        let missing = |download: &&Download| !self.store.has_blob(&download.digest);
        let wants = downloads.iter().filter(missing).map(|download| Ok(self.want(download)?.0));
        let wants = wants.collect::<Outcome<Vec<_>>>()?;
        let mut answers = self.fetcher()?.serves(&wants).into_iter();
        let mut served = |download| match missing(&download) {
            true => answers.next().unwrap_or(Ok(true)).map_err(|error| failed(&error)),
            false => Ok(true),
        };
        downloads.iter().map(&mut served).collect()
    }

    /// Says whether every mirror answers that it does not have a file; downloads it where one does.
    fn is_served(&self, download: &Download) -> Outcome<bool> {
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

    /// Downloads a file whose size is not known, and gives its size. It may be neither huge nor fill the disk.
    pub(crate) fn fetched_size(&self, download: &Download) -> Outcome<u64> {
        let (want, place) = self.want(download)?;
        self.reporter.tell(&Event::FileStarted { file: download.name.clone() });
        let fetched = self.fetcher()?.fetch(&want, &self.parts(), &place, &|_| {});
        let fetched = fetched.map_err(|error| match failed(&error) {
            problem if error.is_too_big() => problem.hint(
                "if the file is meant to be that large, make room for it and write its `size` in bytes beside its `sha256`",
            ),
            problem if error.is_not_found() => problem.hint(moved_away(&download.wanted_by)),
            problem => problem,
        })?;
        Ok(fetched.size)
    }

    fn parts(&self) -> PathBuf {
        self.store.root().join("parts")
    }

    fn want(&self, download: &Download) -> Outcome<(Want, PathBuf)> {
        let places = match &download.from {
            Place::Urls(urls) => urls.clone(),
            Place::Git { .. } => Vec::new(),
            Place::Pool(path) => {
                self.mirrors()?.archive.iter().map(|mirror| format!("{mirror}/{path}")).collect()
            }
        };
        let want = Want {
            name: download.name.clone(),
            places,
            sha256: Some(download.digest.0),
            size: download.size,
            limit: MOST_UNSIZED
                .min(free_bytes(self.store.root()).unwrap_or(u64::MAX).saturating_sub(RESERVE)),
        };
        Ok((want, self.store.blob_path(&download.digest)))
    }

    /// Downloads what is not in the store yet, after saying how much that is. Git commits are counted, not fetched.
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
            return Err(not_fetched(&missing));
        }
        let all: u64 = missing.iter().filter_map(|download| download.size).sum();
        let needed = all.saturating_add(space);
        let free = free_bytes(self.store.root()).unwrap_or(u64::MAX);
        let commits = missing.iter().filter(|one| matches!(one.from, Place::Git { .. })).count();
        missing.retain(|download| !matches!(download.from, Place::Git { .. }));
        let total: u64 = missing.iter().filter_map(|download| download.size).sum();
        let rate = FetchRate::read(self.store);
        self.reporter.tell(&Event::FetchStarted {
            files: missing.len(),
            bytes: total,
            commits,
            expected: rate.expected(total),
            space,
            free,
        });
        if free < needed {
            let message = format!(
                "the build needs {} of disk, but only {} is free",
                bytes(needed),
                bytes(free)
            );
            return Err(Problem::of(Code::NoRoom, message)
                .hint("make room, or name another place with --store DIR"));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let folder = self.parts();
        std::fs::create_dir_all(&folder).map_err(|error| {
            Problem::of(Code::File, format!("cannot make {}: {error}", folder.display()))
        })?;
        let wants =
            missing.iter().map(|download| self.want(download)).collect::<Outcome<Vec<_>>>()?;
        let begun = Instant::now();
        let held = Mutex::new(Held { bytes: vec![None; wants.len()], told: rate.is_known() });
        let progress = |index: usize, progress: Progress<'_>| {
            let Progress::Held { held: now, .. } = progress else { return };
            let mut held = held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (first, _) = held.bytes[index].unwrap_or((now, now));
            held.bytes[index] = Some((first, now));
            let there: u64 = held.bytes.iter().flatten().map(|(_, now)| now).sum();
            self.reporter.download(there, total);
            let moved: u64 = held.bytes.iter().flatten().map(|(first, now)| now - first).sum();
            let rate = FetchRate { bytes: moved, seconds: begun.elapsed().as_secs_f64() };
            // Nothing was known beforehand; after some seconds it is.
            if !held.told && rate.seconds > FIRST_SECONDS {
                held.told = true;
                let left = rate.seconds_of(total.saturating_sub(there));
                self.reporter.tell(&Event::FetchEstimated { left });
            }
        };
        let results = self.fetcher()?.fetch_all(&wants, &folder, &progress);
        self.reporter.download(total, total);
        let moved = results.iter().flatten().map(|fetched| fetched.bytes_moved).sum();
        let seconds = begun.elapsed().as_secs_f64();
        rate.and(moved, seconds).write(self.store)?;
        let problems: Vec<(usize, FetchError)> = results
            .into_iter()
            .enumerate()
            .filter_map(|(index, result)| Some((index, result.err()?)))
            .collect();
        if problems.is_empty() {
            self.reporter.tell(&Event::FetchFinished { bytes: total, seconds });
            return Ok(());
        }
        Err(unfetched(&missing, &problems))
    }
}

/// Which files have come how far, while they are fetched.
struct Held {
    /// Of each file, the bytes that were there first and those that are there now.
    bytes: Vec<Option<(u64, u64)>>,
    /// Whether the person has been told how long it takes.
    told: bool,
}

/// How fast downloads into this store have been of late.
#[derive(Debug, Clone, Copy, PartialEq)]
struct FetchRate {
    bytes: u64,
    seconds: f64,
}

impl FetchRate {
    /// A store keeps it in one line: bytes and seconds.
    fn place(store: &Store) -> PathBuf {
        store.root().join("fetch-rate")
    }

    /// Nothing known where nothing readable is there.
    fn read(store: &Store) -> Self {
        let text = std::fs::read_to_string(Self::place(store)).unwrap_or_default();
        Self::parse(&text).unwrap_or(Self { bytes: 0, seconds: 0.0 })
    }

    fn parse(text: &str) -> Option<Self> {
        let (bytes, seconds) = text.trim().split_once(' ')?;
        let seconds: f64 = seconds.parse().ok().filter(|seconds: &f64| seconds.is_finite())?;
        Some(Self { bytes: bytes.parse().ok()?, seconds })
    }

    fn is_known(&self) -> bool {
        self.bytes > 0 && self.seconds > 0.0
    }

    /// Adds one fetch. What was before counts half, so that the newest weighs most; a small one tells nothing of the rate.
    fn and(self, bytes: u64, seconds: f64) -> Self {
        if bytes < SMALL_FETCH {
            return self;
        }
        Self { bytes: self.bytes / 2 + bytes, seconds: self.seconds / 2.0 + seconds }
    }

    fn write(self, store: &Store) -> Outcome<()> {
        if !self.is_known() || Self::read(store) == self {
            return Ok(());
        }
        let text = format!("{} {:.3}\n", self.bytes, self.seconds);
        Ok(store.put_note(&Self::place(store), text.as_bytes())?)
    }

    /// How many seconds so many bytes take at this rate.
    fn seconds_of(self, bytes: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = bytes as f64 * self.seconds / self.bytes.max(1) as f64;
        seconds
    }

    /// Tells before the first byte how long a download takes, where that is known.
    fn expected(self, bytes: u64) -> Option<f64> {
        self.is_known().then(|| self.seconds_of(bytes))
    }
}

fn not_fetched(missing: &[&Download]) -> Problem {
    let names: Vec<&str> = missing.iter().take(5).map(|download| download.name.as_str()).collect();
    let more =
        if missing.len() > 5 { format!(" and {} more", missing.len() - 5) } else { String::new() };
    let message =
        format!("not fetched yet, but --offline forbids fetching: {}{more}", names.join(", "));
    Problem::of(Code::Offline, message).hint("run `osier fetch` with a network first")
}

/// Says which files could not be fetched, and what to do.
fn unfetched(missing: &[&Download], problems: &[(usize, FetchError)]) -> Problem {
    let gone = problems.iter().all(|(index, error)| {
        error.is_not_found() && matches!(missing[*index].from, Place::Pool(_))
    });
    let mut problem = if gone {
        let recipes: Option<std::collections::BTreeSet<&str>> =
            problems.iter().map(|(index, _)| missing[*index].recipe.as_deref()).collect();
        // The pins of packages move together.
        let names = recipes.into_iter().flatten().fold(String::new(), |all, name| all + " " + name);
        let message = format!("no mirror serves {} pinned file(s) any more", problems.len());
        Problem::of(Code::NotServed, message)
            .hint(format!("run `osier update{names}` to move the pins to versions that are served"))
    } else {
        let message = format!("{} of {} files could not be fetched", problems.len(), missing.len());
        let moved = |(index, error): &&(usize, FetchError)| {
            error.is_not_found() && matches!(missing[*index].from, Place::Urls(_))
        };
        let problem = Problem::of(Code::NotFetched, message);
        match problems.iter().find(moved) {
            Some((index, _)) => problem.hint(moved_away(&missing[*index].wanted_by)),
            None => {
                problem.hint("osier keeps what has arrived; run the same command again to continue")
            }
        }
    };
    for (_, error) in problems {
        problem.body.push_str(&format!("  {error}\n"));
    }
    problem
}

/// What to do about a file that is at none of its addresses any more.
fn moved_away(recipe: &str) -> String {
    format!(
        "name another address of the same file in the recipe `{recipe}`; or, if you have a copy, run `osier fetch --import FILE`"
    )
}

/// Tells an archive that cannot be reached from one that cannot be trusted.
pub(crate) fn archive_problem(error: &ArchiveError) -> Problem {
    let code = match error {
        ArchiveError::Transport(_) => Code::NotFetched,
        _ => Code::Untrusted,
    };
    let problem = Problem::of(code, chain(error));
    match error {
        ArchiveError::Transport(TransportError::NotFound { .. }) => problem.hint(OTHER_MIRROR),
        _ => problem,
    }
}

fn failed(error: &FetchError) -> Problem {
    Problem::of(Code::NotFetched, error)
}

impl Transport for Network<'_> {
    fn get(&self, path: &str, expected: Option<(&str, u64)>) -> Result<Vec<u8>, TransportError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| TransportError::Failed {
            url: path.to_owned(),
            source,
        };
        let wrong = |problem: &Problem| failed(problem.message.clone().into());
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
                recipe: None,
            };
            let served = self.is_served(&download).map_err(|problem| wrong(&problem))?;
            if !served {
                return Err(TransportError::NotFound { url: path.to_owned() });
            }
            return self.store.read_blob(&digest).map_err(|error| failed(error.into()));
        }
        let mut last = TransportError::NotFound { url: path.to_owned() };
        for mirror in &mirrors.archive {
            match fetcher.get(&format!("{mirror}/{path}"), INDEX_LIMIT) {
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.is_not_found() => {}
                Err(error) => last = failed(error.into()),
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_is_told_from_earlier_downloads() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        let nothing = FetchRate::read(&store);
        assert_eq!(nothing.expected(5_000_000), None);
        // Too little to tell a rate from.
        nothing.and(1000, 9.0).write(&store).unwrap();
        assert!(!FetchRate::read(&store).is_known());
        nothing.and(10_000_000, 1.0).write(&store).unwrap();
        let expected = |bytes| FetchRate::read(&store).expected(bytes).map(f64::round);
        assert_eq!(expected(600_000_000), Some(60.0));
        assert_eq!(expected(83_000_000), Some(8.0));
        assert_eq!(expected(0), Some(0.0));
        // The line has become slower: the newest download counts most.
        FetchRate::read(&store).and(10_000_000, 10.0).write(&store).unwrap();
        assert_eq!(expected(100_000_000), Some(70.0));
        for damaged in ["", "x y", "5", "1 inf", "-1 2", "3 -2"] {
            std::fs::write(FetchRate::place(&store), damaged).unwrap();
            assert!(!FetchRate::read(&store).is_known(), "{damaged}");
        }
    }
}
