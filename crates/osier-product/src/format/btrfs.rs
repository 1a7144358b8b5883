//! A disk with a btrfs file system, which osier writes and btrfs-progs check.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use osier_build::MakeError;
use osier_image::{BTRFS_VERSION, BtrfsError, BtrfsIdentity, write_btrfs};
use osier_recipe::Image;
use osier_store::{Digest, IoContext as _};

use super::{IMAGE_TIME, Writer, Writing, identities};
use crate::content::content;

pub(super) static WRITER: Writer = Writer { version, write };

fn version(_: &Image) -> String {
    BTRFS_VERSION.to_owned()
}

/// The identities of the file system follow from what it is made of.
fn write(writing: &Writing<'_>) -> Result<Vec<String>, MakeError> {
    let [file_system, device] = identities("btrfs", &writing.made_of);
    let [chunks, _] = identities("btrfs chunks", &writing.made_of);
    let identity = BtrfsIdentity { file_system, device, chunks };
    let place = writing.file();
    let mut out = BufWriter::new(File::create(&place).at("make", &place)?);
    let open = |file: &Digest| content(writing.store(), file);
    let size = writing.image.size;
    match write_btrfs(&mut out, writing.tree, IMAGE_TIME, &identity, size, open) {
        // It says nothing of a sound image but what it did.
        Ok(_) => {
            out.flush().at("write", &place)?;
            Ok(vec![format!("btrfs check --readonly --check-data-csum {}", writing.quoted())])
        }
        Err(BtrfsError::Content(error)) => Err(writing.failed(&error)),
        Err(error) => Err(match writing.wrong(&error) {
            MakeError::Wrong(mut wrong) => {
                wrong.hint = Some("a larger `size` gives its files more room".to_owned());
                MakeError::Wrong(wrong)
            }
            error => error,
        }),
    }
}
