//! Proves what the sandbox promises, by steps that try to break it.
//!
//! The steps are C programs, compiled here with the host's `cc`. `cargo xtask test` runs everything twice where it is root: as root, and as
//! an ordinary user.
#![allow(clippy::unwrap_used)] // also in functions that are not tests themselves

mod attacks;
mod degraded;
mod failures;
mod host;
mod lifetime;
mod ordinary;
mod roots;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The user that has no rights anywhere.
const NOBODY: u32 = 65534;

#[test]
#[ignore = "needs root; `cargo xtask test` runs it"]
fn as_an_ordinary_user() {
    // The build folder may be out of that user's reach.
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = scratch.path().join("tests");
    let mut install = Command::new("install");
    assert!(
        install
            .args(["-m", "755"])
            .arg(std::env::current_exe().unwrap())
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    let folder = scratch.path().join("tmp");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();

    let output = Command::new(&program)
        .args(["--skip", "as_an_ordinary_user"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir(&folder)
        .env_clear()
        .env("TMPDIR", &folder)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test result: ok.") && !text.contains(" 0 passed"), "{text}");
}
