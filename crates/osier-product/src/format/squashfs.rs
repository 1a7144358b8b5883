//! A disk with a squashfs file system, made by mksquashfs.

use osier_build::MakeError;
use osier_image::{Attributes, ImagePath, Node, TAR_VERSION};
use osier_recipe::{Compression, Image};

use super::{IMAGE_TIME, Writer, Writing};

pub(super) static WRITER: Writer = Writer { version, write };

/// The version of the commands below.
const COMMANDS: u32 = 1;

fn version(image: &Image) -> String {
    format!("{TAR_VERSION} {COMMANDS} {}", compression(image))
}

/// The check reads every file. Neither it nor mksquashfs has a file system's identity to be given.
fn write(writing: &Writing<'_>) -> Result<Vec<String>, MakeError> {
    writing.archive()?;
    let (file, compression) = (writing.quoted(), compression(writing.image));
    // It passes over the archive's entry of the root.
    let root = writing.tree.get(&ImagePath::root()).and_then(Node::attributes);
    let Attributes { mode, uid, gid } = root.unwrap_or(Attributes::FOLDER);
    // The variable that all steps have and the options of the time exclude each other.
    Ok(vec![
        "unset SOURCE_DATE_EPOCH".to_owned(),
        format!(
            "mksquashfs - {file} -tar -quiet -no-progress -noappend -no-exports -no-xattrs -reproducible -processors 1 \
             -root-mode {mode:o} -root-uid {uid} -root-gid {gid} \
             -mkfs-time {IMAGE_TIME} -all-time {IMAGE_TIME} {compression} < root.tar"
        ),
        format!("unsquashfs -strict-errors -no-progress -pf /dev/null {file}"),
    ])
}

/// The options that ask for a compression.
fn compression(image: &Image) -> String {
    match (image.compression, image.level) {
        // It names a compressor in any case.
        (Compression::None, _) => "-comp gzip -noI -noId -noD -noF -noX".to_owned(),
        (compression, None) => format!("-comp {}", compression.as_str()),
        (compression, Some(level)) => {
            format!("-comp {} -Xcompression-level {level}", compression.as_str())
        }
    }
}
