//! A cpio archive that the kernel unpacks into memory.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::num::NonZeroU32;

use osier_build::MakeError;
use osier_image::{Compression, Compressor, CpioWriter, NEWC_VERSION};
use osier_recipe::{Compression as Named, Image};
use osier_store::IoContext as _;

use super::{IMAGE_TIME, Writer, Writing};
use crate::content::content;

pub(super) static WRITER: Writer = Writer { version, write };

fn version(image: &Image) -> String {
    let compression = compression(image);
    format!("{NEWC_VERSION} {compression:?} {}", compression.encoder_version())
}

fn write(writing: &Writing<'_>) -> Result<Vec<String>, MakeError> {
    let compression = compression(writing.image);
    compression.check().map_err(|error| writing.wrong(error))?;
    let threads = u32::try_from(writing.place.jobs).ok().and_then(NonZeroU32::new);
    let threads = threads.unwrap_or(NonZeroU32::MIN);
    let place = writing.file();
    let file = BufWriter::new(File::create(&place).at("make", &place)?);
    let compressor = Compressor::new(file, compression, threads).at("write", &place)?;
    let mut writer = CpioWriter::new(compressor, IMAGE_TIME);
    let written = writer.write_tree(writing.tree, |digest| content(writing.store(), digest));
    written.map_err(|error| writing.failed(&error))?;
    let (compressor, _) = writer.finish().map_err(|error| writing.failed(&error))?;
    let mut file = compressor.finish().at("write", &place)?;
    file.flush().at("write", &place)?;
    Ok(Vec::new())
}

/// How the archive is compressed.
fn compression(image: &Image) -> Compression {
    let level = |usual: u8| image.level.unwrap_or(usual);
    match image.compression {
        Named::None | Named::Lz4 => Compression::None,
        Named::Gzip => Compression::Gzip { level: level(6) },
        Named::Xz => Compression::Xz { level: level(6) },
        Named::Zstd => Compression::Zstd { level: level(3) },
    }
}

#[cfg(test)]
mod tests {
    use osier_recipe::{Format, Spanned};

    use super::*;

    #[test]
    fn the_levels_of_an_initramfs_are_those_of_its_writer() {
        for row in Format::Initramfs.row().compressions {
            for level in 0..=u8::MAX {
                let name = Spanned::new("initrd".to_owned(), 0..0);
                let (format, compression) = (Format::Initramfs, row.compression);
                let (size, file, label) = (None, None, None);
                let contents = Vec::new();
                let image = Image {
                    name,
                    format,
                    compression,
                    level: Some(level),
                    size,
                    label,
                    file,
                    contents,
                };
                let read = row.levels.as_ref().map(|levels| levels.contains(&level));
                let written = super::compression(&image).check().is_ok();
                let unpacked = row.compression == Named::None;
                assert_eq!(read.unwrap_or(unpacked), written, "{compression:?} {level:?}");
            }
        }
    }
}
