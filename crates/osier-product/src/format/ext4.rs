//! A disk with an ext4 file system, made by mke2fs.

use osier_build::MakeError;
use osier_image::{Ext4Size, TAR_VERSION};
use osier_recipe::Image;

use super::{Writer, Writing, identities, text};

/// The version of the commands below.
const COMMANDS: u32 = 1;

pub(super) static WRITER: Writer = Writer { version, write };

fn version(_: &Image) -> String {
    format!("{TAR_VERSION} {COMMANDS}")
}

/// Nothing is left for the kernel to write at the first mount, and what mke2fs would draw by lot is given.
fn write(writing: &Writing<'_>) -> Result<Vec<String>, MakeError> {
    let archive = writing.archive()?;
    let [identity, seed] = identities("ext4", &archive).map(text);
    let fitting = || Ext4Size::fitting(writing.tree);
    let size = writing.image.size.map(|size| Ext4Size::given(writing.tree, size));
    let size = size.unwrap_or_else(fitting);
    let (blocks, inodes, file) = (size.bytes / 4096, size.inodes, writing.quoted());
    Ok(vec![
        format!(
            "mke2fs -q -F -t ext4 -b 4096 -I 256 -N {inodes} -m 0 -U {identity} \
             -E hash_seed={seed},lazy_itable_init=0,lazy_journal_init=0,nodiscard -d root.tar {file} {blocks}"
        ),
        format!("e2fsck -f -n {file}"),
    ])
}
