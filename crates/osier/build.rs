//! Packs the library of recipes, kinds, systems and machines into the program.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

fn main() {
    let root =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let root = root.canonicalize().expect("the crate lies in its workspace");
    let mut files = Vec::new();
    for folder in ["kinds", "machines", "recipes", "systems"] {
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
        collect(&root, Path::new(folder), &mut files);
    }
    files.sort();
    let mut text = String::from("pub(super) static FILES: &[super::PackedFile] = &[\n");
    for (path, executable) in files {
        let host = root.join(&path);
        println!("cargo::rerun-if-changed={}", host.display());
        let _ = writeln!(
            text,
            "    super::PackedFile {{ path: {path:?}, executable: {executable}, content: include_bytes!({host:?}) }},"
        );
    }
    text.push_str("];\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("library.rs"), text).expect("the output folder can be written");
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, bool)>) {
    for entry in std::fs::read_dir(root.join(folder)).expect("the library can be read") {
        let entry = entry.expect("the library can be read");
        let path = folder.join(entry.file_name());
        let metadata = entry.metadata().expect("the library can be read");
        if metadata.is_dir() {
            collect(root, &path, files);
        } else {
            let path = path.to_str().expect("names of the library are UTF-8").to_owned();
            files.push((path, metadata.permissions().mode() & 0o111 != 0));
        }
    }
}
