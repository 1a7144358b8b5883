//! How the bytes of images are made: a module for each format of `osier-recipe`'s table.
//!
//! A tool is given the root file system as a tar archive, so that owners, modes and devices are the manifest's although
//! nothing here has the right to make them. Where a tool takes no archive osier writes the image and the tool checks it.

mod btrfs;
mod erofs;
mod ext4;
mod fat;
mod initramfs;
mod squashfs;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use osier_build::{MakeError, MakePlace, NotMade, ProductPart};
use osier_image::{FsTree, write_tar};
use osier_recipe::{Format, Image};
use osier_store::{Digest, IoContext as _, KeyBuilder, Store};

use crate::content::{content, damaged};

/// The time of everything in an image.
const IMAGE_TIME: u32 = osier_build::SOURCE_DATE;

/// Where the step of the tool finds its commands.
pub(crate) const COMMANDS: &str = "commands";

/// An image that is being written.
pub(crate) struct Writing<'a> {
    /// The root file system; empty for a format of files.
    pub(crate) tree: &'a FsTree<Digest>,
    /// The files of a format of files.
    pub(crate) files: &'a [TakenBytes],
    /// The digest of the record of what it is made of: equal ones make equal images.
    pub(crate) made_of: Digest,
    pub(crate) image: &'a Image,
    pub(crate) place: &'a MakePlace<'a>,
}

/// A file for an image of files.
#[derive(Debug, Clone)]
pub(crate) struct TakenBytes {
    /// Its path in the image.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) content: Digest,
    /// How many there are.
    pub(crate) size: u64,
}

/// What a module of a format gives.
struct Writer {
    /// Gives the version of what writes an image: other versions may give other bytes, so that it belongs into keys.
    version: fn(&Image) -> String,
    /// Writes an image, or what its tool makes it of; gives the commands of the tool, where there is one.
    write: fn(&Writing<'_>) -> Result<Vec<String>, MakeError>,
}

fn writer(format: Format) -> &'static Writer {
    match format {
        Format::Initramfs => &initramfs::WRITER,
        Format::Ext4 => &ext4::WRITER,
        Format::Erofs => &erofs::WRITER,
        Format::Btrfs => &btrfs::WRITER,
        Format::Squashfs => &squashfs::WRITER,
        Format::Fat => &fat::WRITER,
    }
}

/// Gives the version of what writes an image.
pub(crate) fn version(image: &Image) -> String {
    (writer(image.format).version)(image)
}

/// Writes an image, or what its tool makes it of; gives the commands of the tool.
pub(crate) fn write(writing: &Writing<'_>) -> Result<Vec<String>, MakeError> {
    (writer(writing.image.format).write)(writing)
}

impl Writing<'_> {
    fn store(&self) -> &Store {
        self.place.store
    }

    /// Where the image is to lie.
    fn file(&self) -> PathBuf {
        self.place.output.join(self.image.file_name())
    }

    /// The same for the commands of a tool.
    fn quoted(&self) -> String {
        quoted(&format!("/output/{}", self.image.file_name()))
    }

    /// Writes the tree as the archive that tools read; gives its digest.
    fn archive(&self) -> Result<Digest, MakeError> {
        let place = self.place.build.join("root.tar");
        let mut out = BufWriter::new(File::create(&place).at("make", &place)?);
        let open = |file: &Digest| content(self.store(), file);
        write_tar(&mut out, self.tree, IMAGE_TIME, open).map_err(|error| self.failed(&error))?;
        out.flush().at("write", &place)?;
        let mut written = File::open(&place).at("open", &place)?;
        Ok(Digest::of_reader(&mut written).at("read", &place)?.0)
    }

    /// Says why the image could not be written.
    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> MakeError {
        if let Some(error) = damaged(self.store(), error) {
            return error;
        }
        let causes = std::iter::successors(Some(error), |error| error.source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        self.wrong(causes.join(": "))
    }

    fn wrong(&self, why: impl std::fmt::Display) -> MakeError {
        let message = format!("cannot write {}: {why}", self.image.file_name());
        MakeError::Wrong(NotMade {
            part: ProductPart::Image,
            message,
            lines: Vec::new(),
            hint: None,
        })
    }
}

/// Writes a word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Leaves commands for the step of the tool.
pub(crate) fn leave(commands: &[String], build: &Path) -> Result<(), MakeError> {
    let place = build.join(COMMANDS);
    let text: String = commands.iter().map(|command| format!("{command}\n")).collect();
    Ok(fs::write(&place, text).at("write", &place)?)
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
