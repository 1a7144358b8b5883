//! `osier new`: a project that builds and boots as it is.

use std::fs;
use std::path::Path;

use osier_store::IoContext;

use crate::report::problem::{Code, Outcome, Problem};
use crate::workplace::Workplace;

/// The files of a new project; `@NAME@` stands for its name.
const FILES: &[(&str, bool, &str)] = &[
    ("osier.toml", false, include_str!("../../templates/osier.toml")),
    ("systems/@NAME@/system.toml", false, include_str!("../../templates/system.toml")),
    ("systems/@NAME@/manifest", false, include_str!("../../templates/manifest")),
    ("systems/@NAME@/overlay/init", true, include_str!("../../templates/init")),
    ("systems/@NAME@/overlay/etc/passwd", false, "root:x:0:0:root:/root:/bin/sh\n"),
    ("systems/@NAME@/overlay/etc/group", false, "root:x:0:\n"),
    ("systems/@NAME@/overlay/etc/motd", false, include_str!("../../templates/motd")),
    (".gitignore", false, "/out\n"),
];

/// Writes the files of a new project into a folder that is not there yet, or is empty.
pub(crate) fn run(workplace: &Workplace, folder: &Path) -> Outcome<()> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let fits = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "+._-".contains(letter)
    };
    if name.is_empty()
        || !name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        || !name.chars().all(fits)
    {
        let message = format!(
            "`{name}` cannot be a system's name: it can have only a-z, 0-9, `+`, `.`, `_`, `-`"
        );
        return Err(Problem::of(Code::Usage, message));
    }
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("{} already exists and is not empty", folder.display());
        return Err(Problem::of(Code::Usage, message).hint("name a new folder"));
    }
    for (path, executable, text) in FILES {
        let place = folder.join(path.replace("@NAME@", name));
        let parent = place.parent().unwrap_or(folder);
        fs::create_dir_all(parent).at("make", parent)?;
        fs::write(&place, text.replace("@NAME@", name)).at("write", &place)?;
        if *executable {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&place, mode).at("set the mode of", &place)?;
        }
    }
    workplace.reporter.result(format!(
        "made {}: `cd {} && osier boot` builds and boots it",
        folder.display(),
        folder.display()
    ));
    Ok(())
}
