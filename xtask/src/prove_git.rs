//! Commits of git repositories as sources: from a folder, over plain files on HTTP, over git's own HTTP protocol.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::root;
use crate::workshop::Workshop;

/// Runs git of this host in a folder; gives what it printed.
fn git(folder: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_DATE", "2024-05-06T07:08:09Z")
        .env("GIT_COMMITTER_DATE", "2024-05-06T07:08:09Z")
        .output()
        .context("cannot run git")?;
    ensure!(
        output.status.success(),
        "`git {}` failed: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Makes a repository of two commits; gives the first one, which is the tip of nothing.
fn repository(folder: &Path) -> Result<String> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    git(folder, &["init", "--quiet", "--initial-branch=main"])?;
    for (name, value) in [("user.name", "Nobody"), ("user.email", "nobody@example.org")] {
        git(folder, &["config", name, value])?;
    }
    write("version.txt", "$Format:%H %ad$\n")?;
    write("tests.txt", "left out of releases\n")?;
    write(".gitattributes", "version.txt export-subst\ntests.txt export-ignore\n")?;
    write("run.sh", "#!/bin/sh\necho one\n")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("run.sh"), mode)?;
    git(folder, &["add", "."])?;
    let elsewhere = "160000,0123456789abcdef0123456789abcdef01234567,part";
    git(folder, &["update-index", "--add", "--cacheinfo", elsewhere])?;
    git(folder, &["commit", "--quiet", "-m", "one"])?;
    let first = git(folder, &["rev-parse", "HEAD"])?;
    write("run.sh", "#!/bin/sh\necho two\n")?;
    git(folder, &["commit", "--quiet", "-m", "two", "run.sh"])?;
    git(folder, &["update-server-info"])?;
    Ok(first)
}

fn recipe(name: &str, address: &str, commit: &str, salt: &str) -> String {
    format!(
        "name = \"{name}\"\nversion = \"1.0\"\nsource = {{ git = \"{address}\", commit = \"{commit}\" }}\n[[step]]\nname = \"install\"\nrun = \"\"\"\n# {salt}\ntest -x run.sh\ntest -d part\ntest \"$(cat version.txt)\" = '$Format:%H %ad$'\ncp run.sh version.txt tests.txt \"$OUTPUT\"\n\"\"\"\n"
    )
}

/// The name and the SHA-256 of the archive of a recipe in the lock.
fn locked(shop: &Workshop, recipe: &str) -> Result<String> {
    let lock = std::fs::read_to_string(shop.project.join("osier.lock"))?;
    let entry = lock
        .split("[[source]]")
        .find(|entry| entry.contains(&format!("recipe = \"{recipe}\"")))
        .context("the recipe has no entry in the lock")?;
    let digest = entry.split("sha256 = \"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(digest.context("the entry has no digest")?.to_owned())
}

fn blob(shop: &Workshop, digest: &str) -> PathBuf {
    shop.store.join("blobs").join(&digest[..2]).join(digest)
}

/// Fetches one commit by three ways, again, offline, and when the lock or the repository is wrong.
pub(crate) fn run(store: &Path) -> Result<()> {
    let shop = Workshop::new("git", store)?;
    let folder = root().join("target/proofs/git-repository");
    let commit = repository(&folder)?;
    let server = Server::start(folder.clone())?;
    let local = format!("file://{}", folder.display());
    let write = |name: &str, address: &str, commit: &str, salt: &str| {
        shop.write(&format!("recipes/{name}.toml"), &recipe(name, address, commit, salt))
    };

    write("local", &local, &commit, "")?;
    let text = shop.good(&["build", "local"])?;
    ensure!(text.contains("part of file://") && text.contains("is a submodule"), "{text}");
    let output = shop.digest("local")?;
    let archive = locked(&shop, "local")?;
    for (name, address) in [
        // A name, so that names are resolved in the sandbox.
        ("plain", format!("http://localhost:{}/plain/.git", server.port)),
        ("smart", format!("http://127.0.0.1:{}/smart/.git", server.port)),
    ] {
        write(name, &address, &commit, "")?;
        // The archive is there already, by its digest: git has to make the same one once more.
        std::fs::remove_file(blob(&shop, &archive))?;
        let text = shop.good(&["build", name])?;
        ensure!(text.contains("fetch  commit"), "{text}");
        ensure!(locked(&shop, name)? == archive, "{name}: the same commit gave another archive");
        ensure!(shop.digest(name)? == output, "{name}: the same source gave another output");
    }
    ensure!(server.requests("/smart/.git/git-upload-pack") > 0, "git's protocol was not used");
    println!("prove git: one commit by three ways gave one archive, {archive}");

    // An archive that is gone is made again; one that is there needs neither git nor a network.
    std::fs::remove_file(blob(&shop, &archive))?;
    let text = shop.bad(&["--offline", "--locked", "fetch", "local"], 3, &["error[F003]"])?;
    ensure!(text.contains(&format!("local-{}.tar", &commit[..12])), "{text}");
    shop.good(&["--locked", "fetch", "local"])?;
    ensure!(blob(&shop, &archive).is_file(), "the archive should have been made again");
    let second = git(&folder, &["rev-parse", "HEAD"])?;
    write("other", &local, &second, "")?;
    shop.good(&["fetch", "other"])?;
    shop.good(&["--offline", "--locked", "build", "other"])?;
    ensure!(shop.digest("other")? != output, "another commit should give another output");
    println!("prove git: after `osier fetch`, --offline builds");

    // A lock that expects other bytes, a commit that is nowhere, a repository that is nowhere.
    let lock = shop.project.join("osier.lock");
    let good = std::fs::read_to_string(&lock)?;
    let wrong = "0".repeat(64);
    std::fs::write(&lock, good.replace(&archive, &wrong))?;
    shop.bad(&["--locked", "fetch", "local"], 3, &["error[F007]", &archive, &wrong])?;
    std::fs::write(&lock, &good)?;
    let nowhere = "f".repeat(40);
    for (address, words) in [
        (local.clone(), "no branch or tag"),
        (format!("{local}-nowhere"), "is not a folder"),
        (format!("http://127.0.0.1:{}/nowhere", server.port), "not found"),
        ("http://127.0.0.1:9/repository".to_owned(), "Failed to connect"),
        ("ssh://git@localhost/repository".to_owned(), "does not use your keys"),
    ] {
        write("wrong", &address, &nowhere, "")?;
        shop.bad(&["build", "wrong"], 3, &["error[F001]", words])?;
        ensure!(std::fs::read_to_string(&lock)? == good, "{address}: the lock was changed");
    }
    println!("prove git: wrong commits, repositories and locks are told");
    Ok(())
}

/// Serves one folder on the loopback: below `/plain` its files, below `/smart` by git's own program.
struct Server {
    port: u16,
    log: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Server {
    fn start(folder: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let log = std::sync::Arc::default();
        let seen = std::sync::Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away ends only its own connection.
                let _ = answer(stream, &folder, &seen);
            }
        });
        Ok(Self { port, log })
    }

    fn requests(&self, path: &str) -> usize {
        let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        log.iter().filter(|target| target.starts_with(path)).count()
    }
}

/// Answers the one request of a connection.
fn answer(stream: TcpStream, folder: &Path, log: &std::sync::Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(target.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if let Some(path) = path.strip_prefix("/plain/") {
        let Ok(content) = std::fs::read(folder.join(path)) else { return not_found(&mut out) };
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", content.len())?;
        write!(out, "Connection: close\r\n\r\n")?;
        return Ok(out.write_all(&content)?);
    }
    let Some(path) = path.strip_prefix("/smart/") else { return not_found(&mut out) };
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{path}"))
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", length.to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    backend.stdin.take().context("a pipe")?.write_all(&body)?;
    let output = backend.wait_with_output()?;
    // Its first lines are headers, the status among them where it is not 200.
    let status = if output.stdout.starts_with(b"Status: ") {
        let first = output.stdout.split(|byte| *byte == b'\r').next().unwrap_or_default();
        String::from_utf8_lossy(&first[8..]).into_owned()
    } else {
        "200 OK".to_owned()
    };
    write!(out, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
    Ok(out.write_all(&output.stdout)?)
}

fn not_found(out: &mut TcpStream) -> Result<()> {
    Ok(write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?)
}
