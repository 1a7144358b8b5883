//! The walls of ARCHITECTURE.md, as far as the sources show them: what only some crates may use.
//!
//! Imports are followed, so that another name for `std::fs` opens no gate. Tests and examples may use what they like.

use std::path::Path;

use anyhow::Result;

use super::sources::{self, Leads};

/// Something that only some crates may use. A crate that is not named may not, and so a new crate may use nothing of it.
struct Wall {
    what: &'static str,
    /// Paths with every import written out; what lies below a path is meant too. A macro ends in `!`, a method begins with `.`.
    paths: &'static [&'static str],
    only: &'static [&'static str],
}

const WALLS: &[Wall] = &[
    Wall {
        what: "the clock",
        paths: &["std::time::Instant", "std::time::SystemTime::now", "rustix::time", "nix::time"],
        // osier-patch gives up on the smallest difference of two large files after some seconds.
        only: &[
            "osier",
            "osier-boot",
            "osier-build",
            "osier-patch",
            "osier-sandbox",
            "osier-store",
        ],
    },
    Wall {
        what: "the network",
        paths: &[
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "ureq",
        ],
        only: &["osier-fetch"],
    },
    Wall {
        what: "sockets within the machine",
        paths: &["std::os::unix::net", "rustix::net", "nix::sys::socket", "libc::socket"],
        only: &["osier-sandbox"],
    },
    Wall {
        what: "processes",
        paths: &[
            "std::process::Command",
            "std::os::unix::process",
            "libc::execve",
            "libc::fork",
            "libc::posix_spawn",
            "nix::unistd",
            "rustix::process::chroot",
            "rustix::process::kill_process",
            "rustix::process::pivot_root",
            "rustix::process::wait",
            "rustix::process::waitpid",
            "rustix::runtime",
        ],
        only: &["osier-sandbox"],
    },
    Wall {
        what: "the end of the process",
        paths: &["std::process::abort", "std::process::exit", "libc::_exit"],
        only: &["osier", "osier-sandbox"],
    },
    Wall {
        what: "printing",
        paths: &[
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
            "std::io::stderr",
            "std::io::stdout",
            "rustix::stdio",
        ],
        only: &["osier"],
    },
    Wall {
        what: "the environment of the process",
        paths: &[
            "std::env::args",
            "std::env::args_os",
            "std::env::current_dir",
            "std::env::current_exe",
            "std::env::home_dir",
            "std::env::temp_dir",
            "std::env::var",
            "std::env::var_os",
            "std::env::vars",
            "std::env::vars_os",
        ],
        only: &["osier"],
    },
    Wall {
        what: "random numbers",
        paths: &[
            "fastrand",
            "getrandom",
            "libc::getrandom",
            "rand",
            "rustix::rand",
            "std::collections::hash_map::RandomState",
            "std::hash::RandomState",
        ],
        // A guest is asked something that it cannot know beforehand.
        only: &["osier-boot"],
    },
    Wall { what: "TOML", paths: &["toml", "toml_edit"], only: &["osier-recipe"] },
    // What is planned and built arrives parsed.
    Wall {
        what: "the text of recipes",
        paths: &[
            "osier_recipe::Kind::parse",
            "osier_recipe::Lock::parse",
            "osier_recipe::MachineFile::parse",
            "osier_recipe::Project::parse",
            "osier_recipe::Recipe::parse",
            "osier_recipe::System::parse",
        ],
        only: &["osier"],
    },
    Wall {
        what: "writing files",
        paths: &[
            "rustix::fs",
            "std::fs::File::create",
            "std::fs::File::create_new",
            "std::fs::File::options",
            "std::fs::OpenOptions",
            "std::fs::copy",
            "std::fs::create_dir",
            "std::fs::create_dir_all",
            "std::fs::hard_link",
            "std::fs::remove_dir",
            "std::fs::remove_dir_all",
            "std::fs::remove_file",
            "std::fs::rename",
            "std::fs::set_permissions",
            "std::fs::write",
            "std::os::unix::fs::chown",
            "std::os::unix::fs::lchown",
            "std::os::unix::fs::symlink",
            "tempfile",
        ],
        only: FILES,
    },
    Wall {
        what: "files by their path",
        paths: &[
            "std::fs::File::open",
            "std::fs::canonicalize",
            "std::fs::exists",
            "std::fs::metadata",
            "std::fs::read",
            "std::fs::read_dir",
            "std::fs::read_link",
            "std::fs::read_to_string",
            "std::fs::symlink_metadata",
            "walkdir",
            ".canonicalize",
            ".exists",
            ".is_symlink",
            ".read_dir",
            ".read_link",
            ".symlink_metadata",
            ".try_exists",
        ],
        only: FILES,
    },
];

const FILES: &[&str] = &[
    "osier",
    "osier-boot",
    "osier-build",
    "osier-debian",
    "osier-fetch",
    "osier-product",
    "osier-sandbox",
    "osier-store",
];

/// Finds what a crate uses and may not, from the file of its root on: one line for each place.
pub(crate) fn of(name: &str, root: &Path) -> Result<Vec<String>> {
    let modules = sources::read(root)?;
    let mut wrong = Vec::new();
    for (from, module) in &modules {
        for named in &module.named {
            let Leads::Outside(path) = sources::follow(&modules, from, &named.path) else {
                continue;
            };
            let path = path.join("::");
            let barred = WALLS.iter().filter(|wall| !wall.only.contains(&name));
            for wall in barred.filter(|wall| wall.paths.iter().any(|top| lies_below(&path, top))) {
                wrong.push(format!(
                    "{}:{} uses `{path}`: {} is a matter of {}, not of {name} (ARCHITECTURE.md, xtask/src/check/walls.rs)",
                    module.file.display(),
                    named.line,
                    wall.what,
                    wall.only.join(", "),
                ));
            }
        }
    }
    Ok(wrong)
}

/// Tells whether a path is another, lies below it, or takes it in with all that lies beside it.
fn lies_below(path: &str, top: &str) -> bool {
    if top.ends_with('!') {
        return path.rsplit("::").next() == Some(top);
    }
    if let Some(above) = path.strip_suffix("::*") {
        return lies_below(above, top) || top.starts_with(&format!("{above}::"));
    }
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, source: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("lib.rs");
        std::fs::write(&root, source).unwrap();
        of(name, &root).unwrap()
    }

    #[test]
    fn what_a_crate_may_not_use_is_found_however_it_is_imported() {
        for source in [
            "fn f() { std::fs::read(\"x\"); }",
            "use std::fs; fn f() { fs::read(\"x\"); }",
            "use std::{fs as disk, io}; fn f() { disk::read(\"x\"); }",
            "use std::fs::*; fn f() { read(\"x\"); }",
            "use std::fs::read as look; fn f() { look(\"x\"); }",
            "use std as core_; fn f() { core_::fs::read(\"x\"); }",
            "mod a { pub(crate) use std::fs; } fn f() { a::fs::read(\"x\"); }",
            "fn f(path: &std::path::Path) -> bool { path.exists() }",
            "fn f(path: &std::path::Path) { assert!(path.exists()); }",
            "fn f() { assert!(std::fs::read(\"x\").is_ok()); }",
            "struct S; impl S { fn f() { let _ = std::time::SystemTime::now(); } }",
            "use std::time::SystemTime; fn f() { let now = SystemTime::now; }",
            "fn f() { println!(\"x\"); }",
            "fn f() { std::eprintln!(\"x\"); }",
            "fn f() { let _ = std::process::Command::new(\"sh\"); }",
            "fn f() { let _ = std::net::TcpStream::connect(\"x\"); }",
            "fn f() { let _ = std::env::var(\"HOME\"); }",
            "fn f() { let _ = toml::from_str(\"\"); }",
            "use osier_recipe::{Kind, Recipe as R}; fn f() { R::parse(\"\"); }",
            "fn f() { use std::fs; fs::write(\"x\", \"\"); }",
        ] {
            assert!(!found("osier-image", source).is_empty(), "{source}");
        }
    }

    #[test]
    fn what_it_may_use_and_what_only_its_tests_use_is_passed_over() {
        for source in [
            "use std::path::Path; fn f(path: &Path) -> bool { path.is_absolute() }",
            "fn f(file: std::fs::File) {} use std::io::Read;",
            "#[cfg(test)] mod tests { fn f() { println!(\"x\"); std::fs::read(\"x\"); } }",
            "mod fs { pub fn read() {} } fn f() { fs::read(); crate::fs::read(); }",
            "/// `println!`, std::fs::read\nfn f() { let text = \"std::fs::read\"; }",
        ] {
            assert_eq!(found("osier-image", source), [""; 0], "{source}");
        }
        assert_eq!(found("osier", "fn f() { println!(\"x\"); std::fs::read(\"x\"); }"), [""; 0]);
    }
}
