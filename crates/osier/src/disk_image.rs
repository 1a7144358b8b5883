//! Disk images of a system's root file system, made by pinned tools in the sandbox, or checked by them.
//!
//! The tool is given the root file system as a tar archive, so that owners, modes and devices are the
//! manifest's although nothing here has the right to make them. Where a tool takes no archive osier writes the image
//! and the tool checks it.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use osier_build::Environment;
use osier_image::{
    BTRFS_VERSION, BtrfsError, BtrfsIdentity, Ext4Size, FsTree, TAR_VERSION, write_btrfs, write_tar,
};
use osier_recipe::{Compression, Format, Image};
use osier_sandbox::Launcher;
use osier_store::{Digest, IoContext, Key, KeyBuilder, Record, Store};

use crate::compose::{self, IMAGE_TIME, Parts};
use crate::engine;
use crate::project::Project;
use crate::report::problem::{Exit, Outcome, Problem};
use crate::source::network::Network;
use crate::source::tools::Tool;
use crate::tool::Bench;

/// The first stable suite whose mke2fs (1.47.1) and mkfs.erofs (1.6) read a tar archive.
const SUITE: Option<&str> = Some("trixie");
/// mke2fs loads the library that reads archives while it runs, so nothing depends on it.
static E2FSPROGS: Tool<'static> =
    Tool { suite: SUITE, packages: &["e2fsprogs", "libarchive13t64"] };
static EROFS_UTILS: Tool<'static> = Tool { suite: SUITE, packages: &["erofs-utils"] };
static BTRFS_PROGS: Tool<'static> = Tool { suite: SUITE, packages: &["btrfs-progs"] };

/// Where the tool sees the archive and the image.
const INSIDE: &str = "/image";

/// The tool that makes images of a format; none for what osier writes itself.
pub(crate) fn tool(format: Format) -> Option<&'static Tool<'static>> {
    match format {
        Format::Initramfs => None,
        Format::Ext4 => Some(&E2FSPROGS),
        Format::Erofs => Some(&EROFS_UTILS),
        Format::Btrfs => Some(&BTRFS_PROGS),
    }
}

/// The key of a disk image that the tool of this environment makes.
pub(crate) fn key(environment: &Environment, parts: &Parts, image: &Image) -> Key {
    let (format, compression) = (image.format.as_str(), erofs_compression(image));
    let size = image.size.map_or_else(|| "fitting".to_owned(), |size| size.to_string());
    let writer = match image.format {
        Format::Btrfs => BTRFS_VERSION,
        Format::Initramfs | Format::Ext4 | Format::Erofs => TAR_VERSION,
    };
    let fields: [(&str, &[u8]); 4] = [
        ("tar", writer.as_bytes()),
        ("tool", &environment.key.0),
        ("compression", compression.as_deref().unwrap_or("none").as_bytes()),
        ("size", size.as_bytes()),
    ];
    compose::image_key(parts, format, &fields)
}

/// Gives a disk image of a system, from the store where it was made before.
pub(crate) fn make(
    project: &mut Project<'_>,
    tool: &Tool<'_>,
    parts: &Parts,
    image: &Image,
    network: &Network<'_>,
    launcher: &Launcher,
) -> Outcome<(Digest, u64)> {
    let environment = crate::source::tools::pinned_tool(project, tool, network)?;
    let (format, compression) = (image.format.as_str(), erofs_compression(image));
    let key = key(&environment, parts, image);
    if let Some(known) = compose::known(project.store, &key) {
        return Ok(known);
    }
    project.workplace.reporter.say(format!("   image  {}", image.file_name()));
    let environment = crate::source::tools::tool(project, tool, network)?;
    let (workplace, store) = (project.workplace, project.store);
    let events = |event| workplace.reporter.event(event);
    let engine = engine::engine(workplace, store, launcher, &events);
    let root = engine.root(&environment).map_err(engine::build_problem)?;

    let tree = compose::composition(store, parts)?.tree;
    let scratch = store.scratch("image")?;
    let folder = scratch.path().join("files");
    fs::create_dir(&folder).at("make", &folder)?;
    let place = folder.join("disk");
    let commands = match image.format {
        Format::Btrfs => {
            btrfs(store, &tree, &place, image, &Digest(key.0))?;
            // It says nothing of a sound image but what it did.
            vec!["btrfs check --readonly --check-data-csum disk".to_owned()]
        }
        Format::Ext4 | Format::Erofs | Format::Initramfs => {
            let digest = archive(store, &tree, &folder.join("root.tar"))?;
            File::create(&place).at("make", &place)?;
            let [identity, seed] = identities(format, &digest).map(text);
            if image.format == Format::Erofs {
                erofs(compression.as_deref(), &identity)
            } else {
                let fitting = || Ext4Size::fitting(&tree);
                let size = image.size.map_or_else(fitting, |size| Ext4Size::given(&tree, size));
                ext4(size, &identity, &seed)
            }
        }
    };
    let bench = Bench { launcher, store, root, folder: &folder, inside: INSIDE, time: IMAGE_TIME };
    for command in &commands {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        bench.run(&words).map_err(|mut problem| {
            problem.message =
                format!("{} could not be made: {}", image.file_name(), problem.message);
            if image.size.is_some() {
                problem = problem.hint("a larger `size` gives its files more room");
            }
            problem
        })?;
    }
    let mut made = File::open(&place).at("open", &place)?;
    let (digest, bytes) = Digest::of_reader(&mut made).at("read", &place)?;
    store.adopt_file(&place, &digest)?;
    store.index().append(Record::File(key, digest, bytes))?;
    Ok((digest, bytes))
}

/// The commands that make an ext4 image and check it.
///
/// Nothing is left for the kernel to write at the first mount, and what mke2fs would draw by lot is given.
fn ext4(size: Ext4Size, identity: &str, seed: &str) -> Vec<String> {
    let blocks = size.bytes / 4096;
    let inodes = size.inodes;
    vec![
        format!(
            "mke2fs -q -F -t ext4 -b 4096 -I 256 -N {inodes} -m 0 -U {identity} \
             -E hash_seed={seed},lazy_itable_init=0,lazy_journal_init=0,nodiscard -d root.tar disk {blocks}"
        ),
        "e2fsck -f -n disk".to_owned(),
    ]
}

/// The commands that make an EROFS image and check it, every compressed block included.
fn erofs(compression: Option<&str>, identity: &str) -> Vec<String> {
    let compress = compression.map_or_else(String::new, |how| format!(" -z{how}"));
    // A fixed number of workers, because large files are cut for several of them and not for one.
    vec![
        format!(
            "mkfs.erofs --quiet --tar=f -b4096 -x-1 -T{IMAGE_TIME} -U{identity} --workers=2{compress} disk root.tar"
        ),
        "fsck.erofs --extract disk".to_owned(),
    ]
}

/// The name that mkfs.erofs gives a compression; none for no compression.
fn erofs_compression(image: &Image) -> Option<String> {
    let (name, level) = match (image.compression, image.level) {
        (Compression::None | Compression::Gzip, _) => return None,
        (Compression::Lz4, None) => ("lz4", None),
        (Compression::Lz4, level) => ("lz4hc", level),
        (Compression::Xz, level) => ("lzma", level),
        (Compression::Zstd, level) => ("zstd", level),
    };
    let level = level.map_or_else(String::new, |level| format!(",level={level}"));
    Some(format!("{name}{level}"))
}

/// Writes a tree as the archive that tools read; gives its digest.
fn archive(store: &Store, tree: &FsTree<Digest>, place: &Path) -> Outcome<Digest> {
    let mut out = BufWriter::new(File::create(place).at("make", place)?);
    if let Err(error) = write_tar(&mut out, tree, IMAGE_TIME, |file| compose::content(store, file))
    {
        return Err(compose::write_problem(store, &error)?);
    }
    out.flush().at("write", place)?;
    let mut written = File::open(place).at("open", place)?;
    Ok(Digest::of_reader(&mut written).at("read", place)?.0)
}

/// Writes a tree as a btrfs image, whose identities follow from what it is made of.
fn btrfs(
    store: &Store,
    tree: &FsTree<Digest>,
    place: &Path,
    image: &Image,
    made_of: &Digest,
) -> Outcome<()> {
    let [file_system, device] = identities("btrfs", made_of);
    let [chunks, _] = identities("btrfs chunks", made_of);
    let identity = BtrfsIdentity { file_system, device, chunks };
    let mut out = BufWriter::new(File::create(place).at("make", place)?);
    let open = |file: &Digest| compose::content(store, file);
    match write_btrfs(&mut out, tree, IMAGE_TIME, &identity, image.size, open) {
        Ok(_) => Ok(()),
        Err(BtrfsError::Content(error)) => Err(compose::write_problem(store, &error)?),
        Err(error) => {
            let message = format!("{} could not be made: {error}", image.file_name());
            Err(Problem::new("I003", Exit::Failed, message)
                .hint("a larger `size` gives its files more room"))
        }
    }
}

/// Draws two UUIDs from the content of an image: equal content has equal ones.
fn identities(format: &str, content: &Digest) -> [[u8; 16]; 2] {
    let mut key = KeyBuilder::new("image-identity", 1);
    key.field("format", format.as_bytes()).field("archive", &content.0);
    let drawn = key.finish().0;
    let mut halves = [[0; 16]; 2];
    for (half, drawn) in halves.iter_mut().zip(drawn.chunks_exact(16)) {
        half.copy_from_slice(drawn);
        // Version 8 of RFC 9562, the one for values of one's own making.
        half[6] = half[6] & 0x0f | 0x80;
        half[8] = half[8] & 0x3f | 0x80;
    }
    halves
}

/// Writes a UUID the usual way.
fn text(identity: [u8; 16]) -> String {
    let hex: String = identity.iter().map(|byte| format!("{byte:02x}")).collect();
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_uuids_that_follow_the_content() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let [identity, seed] = identities("ext4", &one);
        assert_ne!(identity, seed);
        assert_eq!([identity, seed], identities("ext4", &one));
        assert_ne!(identity, identities("ext4", &other)[0]);
        assert_ne!(identity, identities("erofs", &one)[0]);
        let identity = text(identity);
        let shape: String =
            identity.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert_eq!(&identity[14..15], "8");
    }
}
