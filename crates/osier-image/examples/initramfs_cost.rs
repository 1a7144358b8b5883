//! Packs a folder of this machine as an initramfs and tells what it cost.
//!
//! `cargo run --release --example initramfs_cost -- FOLDER OUT [LEVEL] [THREADS]`
//!
//! LEVEL is zstd's, 3 by default; 0 writes the archive uncompressed. To compare:
//! `cd FOLDER && time (find . | cpio -o -H newc | zstd -3 -T2 > OUT)`.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use osier_image::{
    Attributes, Compression, Compressor, CpioWriter, DeviceKind, FsTree, ImagePath, Node,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [folder, out, rest @ ..] = &arguments[..] else {
        return Err("usage: initramfs_cost FOLDER OUT [LEVEL] [THREADS]".into());
    };
    let number = |index: usize, default: u32| -> Result<u32, Box<dyn Error>> {
        match rest.get(index) {
            Some(text) => Ok(text.to_str().ok_or("not a number")?.parse()?),
            None => Ok(default),
        }
    };
    let compression = match u8::try_from(number(0, 3)?)? {
        0 => Compression::None,
        level => Compression::Zstd { level },
    };
    let threads = NonZeroU32::new(number(1, 2)?).ok_or("at least one thread is needed")?;

    let start = Instant::now();
    let mut nodes = Vec::new();
    collect(Path::new(folder), &ImagePath::root(), &mut nodes)?;
    let tree = FsTree::from_nodes(nodes).map_err(|errors| format!("{errors:?}"))?;
    let walked = cpu_seconds()?;

    let compressor = Compressor::new(File::create(out)?, compression, threads)?;
    let mut archive = CpioWriter::new(compressor, 0);
    archive.write_tree(&tree, |path: &PathBuf| File::open(path))?;
    let (compressor, archive_bytes) = archive.finish()?;
    let image_bytes = compressor.finish()?.metadata()?.len();
    println!(
        "{} nodes, {archive_bytes} bytes, {image_bytes} compressed\n\
         {walked:.2} CPU s to walk, {:.2} to write, {:.2} s in all",
        tree.node_count(),
        cpu_seconds()? - walked,
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn collect(
    folder: &Path,
    at: &ImagePath,
    nodes: &mut Vec<(ImagePath, Node<PathBuf>)>,
) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, place) = (entry.path(), at.join(entry.file_name().as_bytes())?);
        let metadata = entry.metadata()?;
        let mode = u16::try_from(metadata.mode() & 0o7777)?;
        let attributes = Attributes { mode, uid: metadata.uid(), gid: metadata.gid() };
        let kind = metadata.file_type();
        let device = |kind| {
            let number = metadata.rdev();
            let major = u32::try_from(number >> 8 & 0xfff)?;
            let minor = u32::try_from(number & 0xff | number >> 12 & 0xf_ff00)?;
            Ok::<_, Box<dyn Error>>(Node::Device { kind, major, minor, attributes })
        };
        let node = if kind.is_dir() {
            collect(&path, &place, nodes)?;
            Node::Folder { attributes }
        } else if kind.is_symlink() {
            Node::Symlink { target: fs::read_link(&path)?.into_os_string().into_vec() }
        } else if kind.is_char_device() {
            device(DeviceKind::Character)?
        } else if kind.is_block_device() {
            device(DeviceKind::Block)?
        } else if kind.is_fifo() {
            Node::Fifo { attributes }
        } else if kind.is_file() {
            Node::File { content: path, size: metadata.len(), attributes }
        } else {
            continue;
        };
        nodes.push((place, node));
    }
    Ok(())
}

/// Returns user and system time of the whole process: fields 14 and 15 of proc_pid_stat(5), in
/// hundredths of a second.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}
