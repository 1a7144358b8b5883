//! A file of patches, which may be packed, as quilt reads them too.

use std::borrow::Cow;
use std::io::Read;

use osier_archive::Compression;
use osier_patch::{ParseError, Patch, Problem, packed};

/// The name of a quilt list.
pub(crate) const LIST: &str = "series";

/// A patch is named for this version of its component, which has another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is for version {0}")]
pub struct OtherVersion(pub String);

/// Checks which version a patch is named for, where its name has the form `NAME-VERSION.patch` or `NAME-VERSION-….patch`.
///
/// One that is named for another version than its component's was made for another source.
pub fn patch_fits(patch: &str, component: &str, version: &str) -> Result<(), OtherVersion> {
    let file = patch.rsplit('/').next().unwrap_or(patch);
    let Some(rest) = file.strip_prefix(component).and_then(|rest| rest.strip_prefix('-')) else {
        return Ok(());
    };
    if !rest.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Ok(());
    }
    let stem = rest.strip_suffix(".patch").or_else(|| rest.strip_suffix(".diff")).unwrap_or(rest);
    let named = stem.split('-').next().unwrap_or(stem);
    if named == version { Ok(()) } else { Err(OtherVersion(named.to_owned())) }
}

/// Most bytes that a packed file may hold.
const LARGEST: u64 = 1 << 28;

/// Reads a file of patches, packed or not. The lines that an error names are those of what is unpacked.
pub(crate) fn read(name: &str, bytes: &[u8], strip: u32) -> Result<Vec<Patch>, ParseError> {
    let text = unpacked(bytes).map_err(|problem| ParseError { line: 1, problem })?;
    Patch::parse(name, &text, strip)
}

/// Unpacks what its first bytes say is packed, whatever its name is.
fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let Some(by) = packed(bytes) else { return Ok(Cow::Borrowed(bytes)) };
    let damaged = |why: String| Problem::Damaged { by, why };
    let Some(compression) = Compression::of_bytes(bytes) else {
        // Said by the reader of the text.
        return Ok(Cow::Borrowed(bytes));
    };
    let reader = compression.reader(bytes);
    let mut text = Vec::new();
    let read = reader.take(LARGEST + 1).read_to_end(&mut text);
    let length = read.map_err(|error| damaged(error.to_string()))?;
    if length as u64 > LARGEST {
        return Err(damaged(format!("it contains more than {} MiB", LARGEST >> 20)));
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const PATCH: &[u8] = b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2\n";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_patches_are_read_whatever_their_name_is() {
        let plain = read("x.patch", PATCH, 1).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(PATCH).unwrap();
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz.write_all(PATCH).unwrap();
        let zst = zstd::stream::encode_all(PATCH, 1).unwrap();
        for bytes in [gzip(PATCH), xz.finish().unwrap(), bz.finish().unwrap(), zst, PATCH.to_vec()]
        {
            assert_eq!(read("x.patch", &bytes, 1).unwrap(), plain);
        }
    }

    #[test]
    fn damaged_and_oversized_ones_say_so() {
        let whole = gzip(PATCH);
        let problem = |bytes: &[u8]| read("x", bytes, 1).unwrap_err().problem.to_string();
        let cut = problem(&whole[..whole.len() - 6]);
        assert!(
            cut.starts_with("it is compressed with gzip and cannot be decompressed: "),
            "{cut}"
        );
        let bomb = gzip(&vec![b'\n'; (1 << 28) + 1]);
        assert!(problem(&bomb).ends_with("it contains more than 256 MiB"));
        let cut = problem(b"LZIP\x01");
        assert!(
            cut.starts_with("it is compressed with lzip and cannot be decompressed: "),
            "{cut}"
        );
        assert_eq!(
            problem(&gzip(&whole)),
            "it is compressed with gzip; decompress it, and name the resulting file"
        );
    }

    #[test]
    fn patches_are_matched_with_versions_by_name() {
        assert_eq!(
            patch_fits("patches/kbd-2.6.1-backspace.patch", "kbd", "2.6.2"),
            Err(OtherVersion("2.6.1".to_owned()))
        );
        assert_eq!(patch_fits("patches/kbd-2.6.2.patch", "kbd", "2.6.2"), Ok(()));
        assert_eq!(patch_fits("patches/0001-fix.patch", "kbd", "2.6.2"), Ok(()));
        assert_eq!(patch_fits("patches/kbd-fix.patch", "kbd", "2.6.2"), Ok(()));
    }
}
