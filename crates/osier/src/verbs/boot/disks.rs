//! The disks of a machine: whose image is on them, and the files that the guest writes to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use osier_boot::Bus;
use osier_recipe::{
    Backing, Code as RecipeCode, Diagnostic, Format, Image, MachineFile, Spanned, System, Target,
};
use osier_store::{Digest, Store};

use crate::beside::Beside;
use crate::beside::copy_with_holes;
use crate::project::library::Shelf;
use crate::project::{Goal, Project};
use crate::report::problem::diagnosed;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::Session;
use crate::system;

/// One disk before every boot: where its file is and what is on it.
pub(crate) struct ReadyDisk {
    pub(crate) disk: osier_boot::Disk,
    /// Whether what the guest writes is there at the next boot.
    keep: bool,
    content: Content,
}

enum Content {
    /// The image itself, which nothing writes to.
    Image,
    /// A copy of this image.
    Copy(PathBuf),
    /// Nothing, in so many bytes.
    Blank(u64),
}

fn wrong(project: &Project<'_>, error: Diagnostic) -> Problem {
    diagnosed(&[error], |file| project.text_of(file))
}

/// Finds the systems whose images are on the disks of a machine, each once.
pub(crate) fn systems(project: &Project<'_>, machine: &MachineFile) -> Outcome<Vec<System>> {
    let mut systems: Vec<System> = Vec::new();
    for disk in &machine.disks {
        let Backing::System { system: name, image } = &disk.backing else { continue };
        if !systems.iter().any(|system| system.name.value == name.value) {
            if project.library().find(Shelf::Systems, name)?.is_none() {
                let known = project.library().names(Shelf::Systems);
                let error = Diagnostic::unknown(
                    RecipeCode::UnknownName,
                    "system",
                    &machine.origin,
                    &name.span,
                    name,
                    known.iter().map(String::as_str),
                );
                return Err(wrong(project, error));
            }
            if let Goal::System(system, _) = project.goal(Some(name))? {
                systems.push(*system);
            }
        }
        let system = systems.iter().find(|system| system.name.value == name.value);
        let Some(system) = system else { continue };
        let span = image.as_ref().map_or(&name.span, |image| &image.span);
        let found = on_disk(system, image.as_ref().map(|image| image.as_str()));
        found.map_err(|message| {
            let error = machine.origin.error(RecipeCode::UnknownName, span, message);
            let images = system.images.iter().filter(|image| image.format != Format::Initramfs);
            let known: Vec<&str> = images.map(|image| image.name.as_str()).collect();
            wrong(
                project,
                match known.as_slice() {
                    [] => error.hint(format!(
                        "add an `[[image]]` of a disk's format to the system `{name}`, such as `ext4`"
                    )),
                    known => error.hint(format!("its disk images are: {}", known.join(", "))),
                },
            )
        })?;
    }
    Ok(systems)
}

/// Checks that the disks that boots leave out are the machine's.
pub(crate) fn left_out(
    project: &Project<'_>,
    system: &System,
    target: Target,
    machine: &MachineFile,
) -> Outcome<()> {
    let known = || machine.disks.iter().map(|disk| disk.name.as_str());
    let foreign = |name: &&Spanned<String>| known().all(|disk| disk != name.as_str());
    let effective = system.effective(target);
    let Some(name) = effective.runs.iter().flat_map(|run| &run.without).find(foreign) else {
        return Ok(());
    };
    let what = format!("disk of the machine `{}`", machine.name);
    let error = Diagnostic::unknown(
        RecipeCode::UnknownName,
        &what,
        &system.origin,
        &name.span,
        name,
        known(),
    );
    Err(wrong(project, error))
}

/// Finds the image of a system that goes onto a disk: the named one or the first that can.
fn on_disk<'s>(system: &'s System, name: Option<&str>) -> Result<&'s Image, String> {
    let Some(name) = name else {
        let first = system.images.iter().find(|image| image.format != Format::Initramfs);
        return first.ok_or_else(|| format!("the system `{}` has no disk image", system.name));
    };
    match system.image(name) {
        None => Err(format!("the system `{}` has no image `{name}`", system.name)),
        Some(image) if image.format == Format::Initramfs => {
            Err(format!("the image `{name}` of `{}` is an initramfs, not a disk", system.name))
        }
        Some(image) => Ok(image),
    }
}

/// Says how the disks of a machine are attached, with their files in a folder.
pub(crate) fn attached(machine: &MachineFile, folder: &Path) -> Vec<ReadyDisk> {
    let attach = |disk: &osier_recipe::Disk| ReadyDisk {
        disk: osier_boot::Disk {
            name: disk.name.value.clone(),
            file: folder.join(&disk.name.value),
            bus: match disk.bus {
                "sata" => Bus::Ahci,
                "nvme" => Bus::Nvme,
                _ => Bus::Virtio,
            },
            read_only: disk.read_only,
            serial: None,
            wwn: None,
        },
        keep: disk.keep,
        content: match disk.backing {
            Backing::Blank { size } => Content::Blank(size),
            Backing::System { .. } => Content::Image,
        },
    };
    machine.disks.iter().map(attach).collect()
}

/// Builds the systems whose images are on the disks, and puts the images there.
///
/// A disk that the guest can only read is the stored image itself; of any other it has a copy.
pub(crate) fn fill(
    session: &mut Session<'_>,
    target: Target,
    machine: &MachineFile,
    disks: &mut [ReadyDisk],
) -> Outcome<()> {
    for system in systems(&session.project, machine)? {
        let built = system::build(session, &system, target)?;
        for (disk, ready) in machine.disks.iter().zip(&mut *disks) {
            let Backing::System { system: name, image } = &disk.backing else { continue };
            if name.value != system.name.value {
                continue;
            }
            let image = on_disk(&system, image.as_ref().map(|image| image.as_str()))
                .map_err(|message| Problem::of(Code::NotBootable, message))?;
            let digest = built.image(&image.file_name()).ok_or_else(|| {
                let message = format!("the system `{name}` has no image `{}`", image.name);
                Problem::of(Code::NotBootable, message)
            })?;
            let place = verified(session.store, digest)?;
            if ready.disk.read_only {
                ready.disk.file = place;
            } else {
                ready.content = Content::Copy(place);
            }
        }
    }
    Ok(())
}

fn verified(store: &Store, digest: &Digest) -> Outcome<PathBuf> {
    store.verify_blob(digest).map_err(|error| crate::engine::unread(store, error))?;
    Ok(store.blob_path(digest))
}

impl ReadyDisk {
    /// Makes the disk's file as the guest must find it at its next boot.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let file = &self.disk.file;
        match &self.content {
            Content::Copy(_) | Content::Blank(_) if self.keep && file.exists() => Ok(()),
            Content::Image => Ok(()),
            // A disk that is kept counts as whole once it has its name.
            Content::Copy(image) if self.keep => {
                whole(file, |to| copy_with_holes(image, to).map(drop))
            }
            Content::Blank(size) if self.keep => whole(file, |to| File::create(to)?.set_len(*size)),
            Content::Copy(image) => copy_with_holes(image, file).map(drop),
            Content::Blank(size) => File::create(file)?.set_len(*size),
        }
    }
}

/// Writes a file beside its place, and renames it once it is on the disk.
fn whole(place: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let beside = Beside::file(place).map_err(|error| error.source)?;
    write(beside.path())?;
    beside.keep().map_err(|error| error.source)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn ready(file: PathBuf, keep: bool, content: Content) -> ReadyDisk {
        let disk = osier_boot::Disk {
            name: "d".to_owned(),
            file,
            bus: Bus::Virtio,
            read_only: false,
            serial: None,
            wwn: None,
        };
        ReadyDisk { disk, keep, content }
    }

    #[test]
    fn a_copy_has_the_same_bytes_and_holes_for_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let mut bytes = vec![0; 4 << 20];
        bytes[3 << 20] = 7;
        bytes.extend(b"odd end");
        fs::write(&from, &bytes).unwrap();
        fs::write(&to, b"something longer that was there").unwrap();
        assert_eq!(copy_with_holes(&from, &to).unwrap(), bytes.len() as u64);
        assert!(fs::read(&to).unwrap() == bytes);
        let used = fs::metadata(&to).unwrap().blocks() * 512;
        assert!(used < 1 << 20, "{used}");
    }

    #[test]
    fn a_kept_disk_stays_and_any_other_is_new_at_each_boot() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::write(&image, b"as built").unwrap();
        for keep in [false, true] {
            let blank = ready(folder.path().join(format!("blank-{keep}")), keep, Content::Blank(8));
            let copy = ready(
                folder.path().join(format!("copy-{keep}")),
                keep,
                Content::Copy(image.clone()),
            );
            for (disk, first) in [(blank, &[0; 8]), (copy, b"as built")] {
                disk.renew().unwrap();
                assert_eq!(&fs::read(&disk.disk.file).unwrap(), first);
                fs::write(&disk.disk.file, b"by guest").unwrap();
                disk.renew().unwrap();
                let second: &[u8] = if keep { b"by guest" } else { first };
                assert_eq!(fs::read(&disk.disk.file).unwrap(), second);
            }
        }
        assert_eq!(fs::read(&image).unwrap(), b"as built");
    }
}
