//! Commits of git repositories as sources: Debian's git, from pinned packages, run in the sandbox with the host's network.
//!
//! A commit becomes an uncompressed tar archive, which git makes of the same commit in the same bytes each time. The archive is
//! a blob like a downloaded one: its SHA-256 stands in the lock, and once it is in the store no git is needed any more.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use osier_recipe::{LockedFile, LockedSource, Pin, SourceKind};
use osier_sandbox::{Launcher, Mount, Network as Reach, Root, Spec, Status, Stdio};
use osier_store::{Digest, IoContext, Scratch, Store};

use super::Asked;
use super::tools::Tool;
use crate::engine::unbuilt;
use crate::network::{Download, Network, Place};
use crate::report::event::Event;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::Session;
use crate::signals::{INTERRUPTED, Looking, interrupted};

/// The packages that fetch commits.
const GIT: Tool<'static> = Tool { suite: None, packages: &["ca-certificates", "dash", "git"] };

/// The one folder of the sandbox that can be written and outlives each call.
const FOLDER: &str = "/fetch";

/// Where a repository of this machine appears.
const LOCAL: &str = "/repository";

/// Settings of git. Nothing is asked, nobody's identity is used; a connection that moves almost nothing for half a minute ends.
/// A repository bound in can belong to somebody else.
const SETTINGS: &str = "[safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[advice]\n\tdetachedHead = false\n\
[http]\n\tlowSpeedLimit = 100\n\tlowSpeedTime = 30\n\tsslCAInfo = /fetch/certificates\n";

/// Attributes that stand above those of the repository: an archive holds what the commit holds, whoever makes it and when.
const ATTRIBUTES: &str = "* -export-ignore -export-subst\n";

/// The bundle of certificates of an unpacked environment.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// One use of git: its root, and the folder that it works in.
struct Git<'a> {
    launcher: &'a Launcher,
    network: &'a Network<'a>,
    root: PathBuf,
    scratch: Scratch,
    /// A repository of this machine.
    local: Option<PathBuf>,
    calls: u32,
}

/// Pins a commit: fetches it, since the digest of its archive enters the lock.
pub(super) fn pin(session: &mut Session<'_>, asked: &Asked<'_>) -> Outcome<LockedSource> {
    let Asked { recipe, source, .. } = *asked;
    let SourceKind::Git { address, commit } = &source.kind else {
        return Err(Problem::defect("a source of another kind was taken for a commit of git"));
    };
    if session.network.is_offline() {
        let message = format!(
            "the commit {commit} of {address} is needed to pin `{recipe}`, but --offline forbids fetching it"
        );
        return Err(Problem::of(Code::Offline, message));
    }
    // Before anything is fetched that would be of no use.
    local_repository(address, commit)?;
    super::tools::pinned_tool(session, &GIT)?;
    let (digest, size) = archive(session, address, commit)?;
    Ok(LockedSource {
        recipe: recipe.to_owned(),
        name: source.name.value.clone(),
        pin: Pin::Git { address: address.value.clone(), commit: commit.value.clone() },
        files: vec![LockedFile {
            name: format!("{}-{}.tar", source.name, &commit[..12]),
            place: osier_recipe::Place::Made,
            size,
            sha256: digest.to_string(),
        }],
    })
}

/// Pins git itself where the archive of a commit is missing, so that [`fetch`] can make it.
pub(crate) fn prepare(session: &mut Session<'_>, downloads: &[Download]) -> Outcome<()> {
    if missing(session.store, downloads).next().is_some() && !session.network.is_offline() {
        super::tools::pinned_tool(session, &GIT)?;
    }
    Ok(())
}

/// Makes the archives of all commits that the store lacks; each must have the digest of the lock.
pub(crate) fn fetch(session: &Session<'_>, downloads: &[Download]) -> Outcome<()> {
    for (download, address, commit) in missing(session.store, downloads) {
        let (found, _) = archive(session, address, commit)?;
        if found != download.digest {
            let message = format!(
                "the archive of commit {commit} of {address}, which {} uses, has the SHA-256 {found}, expected {}",
                download.wanted_by, download.digest
            );
            return Err(Problem::of(Code::OtherCommit, message));
        }
    }
    Ok(())
}

/// The commits among some downloads whose archives are not in the store.
fn missing<'d>(
    store: &Store,
    downloads: &'d [Download],
) -> impl Iterator<Item = (&'d Download, &'d str, &'d str)> {
    downloads.iter().filter(|download| !store.has_blob(&download.digest)).filter_map(|download| {
        match &download.from {
            Place::Git { address, commit } => Some((download, address.as_str(), commit.as_str())),
            Place::Pool(_) | Place::Urls(_) => None,
        }
    })
}

/// Fetches a commit and puts its archive into the store.
fn archive(session: &Session<'_>, address: &str, commit: &str) -> Outcome<(Digest, u64)> {
    let (workplace, store) = (session.workplace, session.store);
    let local = local_repository(address, commit)?;
    let environment = super::tools::locked_tool(&session.project, &GIT).ok_or_else(|| {
        Problem::of(Code::MissingPin, "osier.lock lacks the packages of git")
            .hint("run `osier fetch` for what you build; it pins them")
    })?;
    super::tools::fetch_tool(session, &environment)?;
    let launcher = session.launcher()?;
    let events = |event| workplace.reporter.event(event);
    let root = session.engine(&events)?.root(&environment).map_err(unbuilt)?;
    workplace
        .reporter
        .tell(&Event::CommitStarted { address: address.to_owned(), commit: commit.to_owned() });
    let scratch = store.scratch("git")?;
    let mut git = Git { launcher, network: &session.network, root, scratch, local, calls: 0 };
    git.set_up()?;
    git.fetch(address, commit)?;
    let out = format!("--output={FOLDER}/archive.tar");
    git.must(&["archive", "--format=tar", "--prefix=source/", &out, commit], address, commit)?;
    for path in git.submodules(address, commit)? {
        workplace.reporter.tell(&Event::SubmoduleLeftOut { address: address.to_owned(), path });
    }
    let made = git.folder().join("archive.tar");
    let mut file = File::open(&made).at("open", &made)?;
    let (digest, size) = Digest::of_reader(&mut file).at("read", &made)?;
    store.adopt_file(&made, &digest)?;
    workplace.reporter.tell(&Event::CommitFinished { commit: commit.to_owned(), bytes: size });
    Ok((digest, size))
}

/// Gives the folder of a repository of this machine; nothing for one elsewhere.
fn local_repository(address: &str, commit: &str) -> Outcome<Option<PathBuf>> {
    if address.starts_with("ssh://") {
        let reason = "ssh needs a key, but osier does not use your keys";
        return Err(unfetched(address, commit, reason)
            .hint("name the repository with https, or your own clone with file://"));
    }
    match osier_fetch::local_path(address) {
        None => Ok(None),
        Some(Err(cause)) => Err(unfetched(address, commit, &cause.to_string())),
        Some(Ok(path)) if path.is_dir() => Ok(Some(path)),
        Some(Ok(path)) => {
            Err(unfetched(address, commit, &format!("{} is not a folder", path.display())))
        }
    }
}

fn unfetched(address: &str, commit: &str, reason: &str) -> Problem {
    let message = format!("commit {commit} of {address} could not be fetched");
    let mut problem = Problem::of(Code::NotFetched, message);
    for line in reason.lines().filter(|line| !line.trim().is_empty()) {
        problem.body.push_str(&format!("    | {line}\n"));
    }
    problem
}

impl Git<'_> {
    /// The host's side of [`FOLDER`].
    fn folder(&self) -> PathBuf {
        self.scratch.path().join("fetch")
    }

    /// Writes the files that git reads: settings, certificates, how names are resolved; and makes an empty repository.
    fn set_up(&mut self) -> Outcome<()> {
        let folder = self.folder();
        for name in ["", "tmp", "repository"] {
            let folder = folder.join(name);
            fs::create_dir(&folder).at("make", &folder)?;
        }
        let bundle = self.root.join(CERTIFICATES);
        let mut certificates = fs::read(&bundle).at("read", &bundle)?;
        if let Some(extra) = self.network.extra_certificates() {
            certificates.push(b'\n');
            certificates.extend(fs::read(&extra).at("read", &extra)?);
        }
        let or_nothing = |path: &str| fs::read(path).unwrap_or_default();
        for (name, content) in [
            ("settings", SETTINGS.into()),
            ("certificates", certificates),
            // Modules of the host's own list may not be there in the sandbox.
            ("nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n".to_vec()),
            // Often links to places that the sandbox does not have, so copies.
            ("resolv.conf", or_nothing("/etc/resolv.conf")),
            ("hosts", or_nothing("/etc/hosts")),
        ] {
            let place = folder.join(name);
            fs::write(&place, content).at("write", &place)?;
        }
        self.run(&["init", "--quiet", "--bare", "."])?
            .map_err(|said| Problem::of(Code::NoSandbox, said.trim()))?;
        let place = folder.join("repository/info/attributes");
        Ok(fs::write(&place, ATTRIBUTES).at("write", &place)?)
    }

    /// Brings the commit: alone where the server gives a bare commit, else with all branches and tags.
    fn fetch(&mut self, address: &str, commit: &str) -> Outcome<()> {
        let local = format!("file://{LOCAL}");
        let from = if self.local.is_some() { local.as_str() } else { address };
        let alone = ["fetch", "--quiet", "--no-tags", "--depth=1", from, commit];
        if self.run(&alone)?.is_err() {
            let (branches, tags) = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*");
            self.must(&["fetch", "--quiet", "--no-tags", from, branches, tags], address, commit)?;
        }
        let kind = format!("{commit}^{{commit}}");
        if self.run(&["cat-file", "-e", &kind])?.is_err() {
            let reason = "no branch or tag of the repository leads to this commit";
            return Err(unfetched(address, commit, reason));
        }
        Ok(())
    }

    /// Lists the paths of a commit that stand for commits of other repositories.
    fn submodules(&mut self, address: &str, commit: &str) -> Outcome<Vec<String>> {
        let listed = self.must(&["ls-tree", "-r", "--full-tree", commit], address, commit)?;
        let lines = listed.lines().filter(|line| line.starts_with("160000 "));
        Ok(lines.filter_map(|line| line.split_once('\t')).map(|(_, path)| path.into()).collect())
    }

    /// Runs git, which must succeed; gives what it wrote.
    fn must(&mut self, arguments: &[&str], address: &str, commit: &str) -> Outcome<String> {
        self.run(arguments)?.map_err(|said| unfetched(address, commit, &said))
    }

    /// Runs git once; gives what it wrote to its streams, apart for success and failure.
    fn run(&mut self, arguments: &[&str]) -> Outcome<Result<String, String>> {
        let base = self.scratch.path().join(format!("call-{}", self.calls));
        self.calls += 1;
        let (upper, work) = (base.join("upper"), base.join("work"));
        for folder in [&base, &upper, &work] {
            fs::create_dir(folder).at("make", folder)?;
        }
        let root = Root::Overlay { lowers: vec![self.root.clone()], upper, work };
        let mut command = vec![OsString::from("git")];
        command.extend(arguments.iter().map(OsString::from));
        let mut spec = Spec::new(root, command);
        spec.network = Reach::Host;
        spec.folder = Path::new(FOLDER).join("repository");
        let bind = |source: PathBuf, target: &str, writable| Mount::Bind {
            source,
            target: target.into(),
            writable,
        };
        let folder = self.folder();
        spec.mounts.push(bind(folder.clone(), FOLDER, true));
        for name in ["nsswitch.conf", "resolv.conf", "hosts"] {
            spec.mounts.push(bind(folder.join(name), &format!("/etc/{name}"), false));
        }
        if let Some(local) = &self.local {
            spec.mounts.push(bind(local.clone(), LOCAL, false));
        }
        let fixed = [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/fetch/tmp"),
            ("TMPDIR", "/fetch/tmp"),
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/fetch/settings"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", "http:https:git:file"),
        ];
        let fixed = fixed.map(|(name, value)| (name.into(), value.into()));
        let proxies = self.network.proxy_variables();
        let proxies = proxies.into_iter().map(|(name, value)| (name.into(), value.into()));
        spec.environment = fixed.into_iter().chain(proxies).collect();

        let said = base.join("said");
        let file = File::create(&said).at("make", &said)?;
        let again = file.try_clone().at("open", &said)?;
        let stdio =
            Stdio { stdout: Some(file.into()), stderr: Some(again.into()), ..Stdio::default() };
        let broken = |error: &dyn std::fmt::Display| {
            Problem::of(Code::NoSandbox, format!("git could not be run: {error}"))
        };
        let _looking = Looking::begin();
        let mut running = self.launcher.spawn(&spec, stdio).map_err(|error| broken(&error))?;
        let exit = loop {
            if INTERRUPTED.load(Ordering::Relaxed) {
                running.kill();
                return Err(interrupted());
            }
            let ended = running.wait_timeout(Duration::from_millis(200));
            if let Some(exit) = ended.map_err(|error| broken(&error))? {
                break exit;
            }
        };
        let text = fs::read(&said).at("read", &said)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(match exit.status {
            Status::Code(0) => Ok(text),
            status => Err(format!("{text}git {} ended with {status}", arguments[0])),
        })
    }
}
