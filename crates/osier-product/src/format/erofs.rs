//! A disk with an EROFS file system, made by mkfs.erofs.

use osier_build::MakeError;
use osier_image::TAR_VERSION;
use osier_recipe::{Compression, Image};

use super::{IMAGE_TIME, Writer, Writing, identities, text};

/// The version of the commands below.
const COMMANDS: u32 = 1;

pub(super) static WRITER: Writer = Writer { version, write };

fn version(image: &Image) -> String {
    format!("{TAR_VERSION} {COMMANDS} {}", compression(image).unwrap_or_default())
}

/// The check reads every compressed block.
fn write(writing: &Writing<'_>) -> Result<Vec<String>, MakeError> {
    let archive = writing.archive()?;
    let [identity, _] = identities("erofs", &archive).map(text);
    let compress = compression(writing.image).map_or_else(String::new, |how| format!(" -z{how}"));
    let file = writing.quoted();
    // A fixed number of workers, because large files are cut for several of them and not for one.
    Ok(vec![
        format!(
            "mkfs.erofs --quiet --tar=f -b4096 -x-1 -T{IMAGE_TIME} -U{identity} --workers=2{compress} {file} root.tar"
        ),
        format!("fsck.erofs --extract {file}"),
    ])
}

/// The name that mkfs.erofs gives a compression; none for no compression.
fn compression(image: &Image) -> Option<String> {
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
