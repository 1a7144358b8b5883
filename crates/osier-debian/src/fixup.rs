//! What packages leave to their maintainer scripts, done without running them.
//!
//! Found by unpacking build environments and looking at what was missing; each item is done only where what it
//! needs is there and what it makes is not.

use crate::tree::{EntryError, FIXED_TIME, Meta, Tree};
use crate::version::Version;

/// Folders that every root has, with their modes: mount points of the kernel's file systems and of the build.
const FOLDERS: [(&str, u32); 14] = [
    ("etc", 0o755),
    ("dev", 0o755),
    ("proc", 0o755),
    ("run", 0o755),
    ("sys", 0o755),
    ("root", 0o700),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
    ("build", 0o755),
    ("files", 0o755),
    ("output", 0o755),
    ("proto", 0o755),
    ("tools", 0o755),
];

/// Links of a merged `/usr`, with the folders they lead to.
const MERGED: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")];

/// Links that `update-alternatives` would make: folder, name, and what it may stand for, best first.
///
/// A star at the end stands for the highest version that is there.
const ALTERNATIVES: [(&str, &str, &[&str]); 24] = [
    ("usr/bin", "sh", &["dash", "bash"]),
    ("usr/bin", "awk", &["gawk", "mawk", "original-awk"]),
    ("usr/bin", "nawk", &["gawk", "mawk", "original-awk"]),
    ("usr/bin", "cc", &["gcc", "clang"]),
    ("usr/bin", "c++", &["g++", "clang++"]),
    ("usr/bin", "c89", &["c89-gcc"]),
    ("usr/bin", "c99", &["c99-gcc"]),
    ("usr/lib", "cpp", &["../bin/cpp"]),
    ("usr/bin", "yacc", &["bison.yacc", "byacc"]),
    ("usr/bin", "which", &["which.debianutils"]),
    ("usr/bin", "pager", &["less", "more"]),
    ("usr/bin", "lzma", &["xz"]),
    ("usr/bin", "unlzma", &["unxz"]),
    ("usr/bin", "lzcat", &["xzcat"]),
    ("usr/bin", "nc", &["nc.openbsd", "nc.traditional"]),
    ("usr/bin", "fakeroot", &["fakeroot-sysv", "fakeroot-tcp"]),
    ("usr/bin", "automake", &["automake-*"]),
    ("usr/bin", "aclocal", &["aclocal-*"]),
    ("usr/bin", "rpmbuild", &["rpmbuild-*"]),
    ("usr/bin", "ex", &["vim.basic", "vim.tiny", "nvi"]),
    ("usr/bin", "vi", &["vim.basic", "vim.tiny", "nvi"]),
    ("usr/bin", "editor", &["vim.basic", "nano", "vim.tiny"]),
    ("usr/sbin", "rmt", &["rmt-tar"]),
    ("usr/sbin", "iptables", &["iptables-nft", "iptables-legacy"]),
];

/// Files that a package keeps in another place until its script copies them.
const COPIES: [(&str, &str); 3] = [
    ("usr/share/base-passwd/passwd.master", "etc/passwd"),
    ("usr/share/base-passwd/group.master", "etc/group"),
    ("usr/share/base-files/nsswitch.conf", "etc/nsswitch.conf"),
];

/// Files that every root has, for the case that no package brought them.
const FILES: [(&str, &str); 4] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
    ("etc/hostname", "localhost\n"),
];

const CERTIFICATES: &str = "usr/share/ca-certificates/mozilla";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Makes the links of a merged `/usr`; to be done before the first package, whose folders would take their names.
pub(crate) fn merge_usr(tree: &mut Tree) -> Result<(), EntryError> {
    for (link, folder) in MERGED {
        tree.add_folder(folder.as_bytes(), Meta { mode: 0o755, mtime: FIXED_TIME })?;
        tree.keep_symlink(link.as_bytes(), folder.as_bytes())?;
    }
    Ok(())
}

/// Does what the maintainer scripts would have done; returns the paths that were added.
pub(crate) fn fix_up(tree: &mut Tree) -> Result<Vec<String>, EntryError> {
    let mut added = Vec::new();
    for (path, mode) in FOLDERS {
        if !tree.is_taken(path.as_bytes()) {
            added.push(path.to_owned());
        }
        tree.add_folder(path.as_bytes(), Meta { mode, mtime: FIXED_TIME })?;
    }
    for (folder, name, targets) in ALTERNATIVES {
        let path = format!("{folder}/{name}");
        if !tree.is_taken(path.as_bytes())
            && let Some(target) = targets.iter().find_map(|target| present(tree, folder, target))
        {
            tree.add_symlink(path.as_bytes(), target.as_bytes(), FIXED_TIME)?;
            added.push(path);
        }
    }
    for (from, to) in COPIES {
        if let Some(content) = read(tree, from)? {
            add_file(tree, to, &content, &mut added)?;
        }
    }
    for (path, content) in FILES {
        add_file(tree, path, content.as_bytes(), &mut added)?;
    }
    let bundle = certificates(tree)?;
    if !bundle.is_empty() {
        add_file(tree, BUNDLE, &bundle, &mut added)?;
    }
    Ok(added)
}

/// Returns the link's target if what it names is there.
fn present(tree: &Tree, folder: &str, target: &str) -> Option<String> {
    if let Some(prefix) = target.strip_suffix('*') {
        let names = tree.names_with(folder.as_bytes(), prefix.as_bytes());
        let versions = names
            .filter_map(|name| std::str::from_utf8(name).ok()?.strip_prefix(prefix))
            .filter(|version| version.starts_with(|first: char| first.is_ascii_digit()));
        return versions.map(Version::new).max().map(|version| format!("{prefix}{version}"));
    }
    tree.exists(format!("{folder}/{target}").as_bytes()).then(|| target.to_owned())
}

fn add_file(
    tree: &mut Tree,
    path: &str,
    content: &[u8],
    added: &mut Vec<String>,
) -> Result<(), EntryError> {
    if tree.is_taken(path.as_bytes()) {
        return Ok(());
    }
    let meta = Meta { mode: 0o644, mtime: FIXED_TIME };
    tree.add_file(path.as_bytes(), meta, content.len() as u64, &mut &*content)?;
    added.push(path.to_owned());
    Ok(())
}

fn read(tree: &Tree, path: &str) -> Result<Option<Vec<u8>>, EntryError> {
    tree.read(path.as_bytes()).transpose().map_err(EntryError::Read)
}

/// Joins the certificates of the package ca-certificates into one bundle, as `update-ca-certificates` does.
fn certificates(tree: &Tree) -> Result<Vec<u8>, EntryError> {
    let mut bundle = Vec::new();
    let names: Vec<Vec<u8>> =
        tree.names_with(CERTIFICATES.as_bytes(), b"").map(<[u8]>::to_vec).collect();
    for name in names.iter().filter(|name| name.ends_with(b".crt")) {
        let path = [CERTIFICATES.as_bytes(), b"/", name].concat();
        if let Some(content) = tree.read(&path).transpose().map_err(EntryError::Read)? {
            bundle.extend(&content);
            if !content.ends_with(b"\n") {
                bundle.push(b'\n');
            }
        }
    }
    Ok(bundle)
}
