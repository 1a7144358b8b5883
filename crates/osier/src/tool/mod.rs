//! Programs that osier itself runs from pinned packages, in the sandbox.

pub(crate) mod emulator;
pub(crate) mod terminal;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use osier_sandbox::{Root, Spec};
use osier_store::{FileError, IoContext, Scratch};

/// Says what a tool needs to run in the root that its packages were unpacked to.
///
/// An upper layer of its own, in `scratch`, takes the mount points and what the tool writes, so
/// that the packages' root stays as it is.
pub(crate) fn tool_spec(
    root: &Path,
    scratch: &Scratch,
    command: Vec<OsString>,
) -> Result<Spec, FileError> {
    let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
    for folder in [&upper, &work] {
        fs::create_dir_all(folder).at("make", folder)?;
    }
    let mut spec =
        Spec::new(Root::Overlay { lowers: vec![root.to_path_buf()], upper, work }, command);
    spec.environment = vec![
        ("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("LC_ALL".into(), "C".into()),
        ("HOME".into(), "/tmp".into()),
    ];
    Ok(spec)
}
