//! Writes trees as newc archives.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::{BLOCK, CHARACTER, FIFO, FILE, FOLDER, HEADER_BYTES, MAGIC, SYMLINK, TRAILER};
use crate::content::{ContentError, copy_content};
use crate::path::ImagePath;
use crate::tree::{Attributes, DeviceKind, FsTree, Node};

/// Names what this writer's bytes depend on, besides its arguments. It belongs into cache keys
/// and moves when the same tree gives other bytes.
pub const NEWC_VERSION: &str = "newc 1";

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// The bytes of a file did not get into the archive.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A file is larger than the format can say.
    #[error("`{path}` has {size} bytes; newc holds files of at most 4294967295 bytes")]
    TooLarge {
        /// The file.
        path: ImagePath,
        /// Its size in bytes.
        size: u64,
    },
    /// A node has the name that ends an archive.
    #[error("`{path}` has the name that ends a cpio archive")]
    ReservedName {
        /// The node.
        path: ImagePath,
    },
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

/// A newc archive that is being written.
///
/// The bytes are a function of the trees and the time alone: nodes in the order of their paths,
/// inode numbers counted from 1, device 0. Of a hard-link group all entries share the inode number
/// and link count; the body comes with the last, as cpio(5) says and `gen_init_cpio` of Linux does
/// (the kernel takes it with any of them).
pub struct CpioWriter<W: Write> {
    out: W,
    mtime: u32,
    inode: u32,
    written: u64,
}

/// The numbers of a header that differ from node to node.
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    uid: u32,
    gid: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> CpioWriter<W> {
    /// Begins an archive whose nodes all have the time `mtime`, in seconds since 1970.
    ///
    /// Headers and bodies are written piece by piece: `out` should be buffered, as
    /// [`Compressor`](crate::Compressor) is.
    pub fn new(out: W, mtime: u32) -> Self {
        CpioWriter { out, mtime, inode: 0, written: 0 }
    }

    /// Writes all nodes of a tree, the root as `.`.
    ///
    /// `open` leads from a file's handle to its bytes. It is asked once for each file that is not
    /// empty, in the order of paths.
    pub fn write_tree<'t, C, R: Read>(
        &mut self,
        tree: &'t FsTree<C>,
        mut open: impl FnMut(&'t C) -> io::Result<R>,
    ) -> Result<(), CpioError> {
        self.nodes(tree, true, &mut open)
    }

    /// Ends the archive and returns what it was written to and its size in bytes, a multiple of 4.
    ///
    /// An archive that is dropped instead has no end, which readers notice.
    pub fn finish(mut self) -> Result<(W, u64), CpioError> {
        let header =
            Header { inode: 0, mode: 0, links: 1, uid: 0, gid: 0, size: 0, device: (0, 0) };
        self.mtime = 0;
        self.header(TRAILER, &header)?;
        Ok((self.out, self.written))
    }

    fn nodes<'t, C, R: Read>(
        &mut self,
        tree: &'t FsTree<C>,
        with_root: bool,
        open: &mut impl FnMut(&'t C) -> io::Result<R>,
    ) -> Result<(), CpioError> {
        let mut groups = hard_link_groups(tree);
        for (path, node) in tree.iter() {
            if path.is_root() && !with_root {
                continue;
            }
            let (file, is_file) = match node {
                Node::HardLink { file } => (file, true),
                other => (path, matches!(other, Node::File { .. })),
            };
            if is_file {
                self.file(tree, path, file, groups.get_mut(file), open)?;
            } else {
                self.other(path, node)?;
            }
        }
        Ok(())
    }

    /// Writes one name of a regular file, the body only with its last name.
    fn file<'t, C, R: Read>(
        &mut self,
        tree: &'t FsTree<C>,
        path: &ImagePath,
        file: &ImagePath,
        group: Option<&mut Group>,
        open: &mut impl FnMut(&'t C) -> io::Result<R>,
    ) -> Result<(), CpioError> {
        let Some(Node::File { content, size, attributes }) = tree.get(file) else {
            unreachable!("a tree has the files of its hard links");
        };
        let (inode, links, is_last) = match group {
            None => (self.next_inode(), 1, true),
            Some(group) => {
                let inode = *group.inode.get_or_insert_with(|| self.next_inode());
                group.names_left -= 1;
                (inode, group.links, group.names_left == 0)
            }
        };
        let body = u32::try_from(*size)
            .map_err(|_| CpioError::TooLarge { path: file.clone(), size: *size })?;
        let size = if is_last { body } else { 0 };
        self.node(path, inode, FILE, links, *attributes, size, (0, 0))?;
        if size > 0 {
            self.body(file, content, u64::from(size), open)?;
        }
        Ok(())
    }

    fn other<C>(&mut self, path: &ImagePath, node: &Node<C>) -> Result<(), CpioError> {
        let inode = self.next_inode();
        let attributes = node.attributes().unwrap_or(Attributes::SYMLINK);
        match node {
            Node::Folder { .. } => self.node(path, inode, FOLDER, 2, attributes, 0, (0, 0)),
            Node::Fifo { .. } => self.node(path, inode, FIFO, 1, attributes, 0, (0, 0)),
            Node::Device { kind, major, minor, .. } => {
                let kind = match kind {
                    DeviceKind::Character => CHARACTER,
                    DeviceKind::Block => BLOCK,
                };
                self.node(path, inode, kind, 1, attributes, 0, (*major, *minor))
            }
            Node::Symlink { target } => {
                let size = u32::try_from(target.len()).expect("a target has at most 4095 bytes");
                self.node(path, inode, SYMLINK, 1, attributes, size, (0, 0))?;
                self.put(target)?;
                self.pad()
            }
            Node::File { .. } | Node::HardLink { .. } => unreachable!("see `file`"),
        }
    }

    fn next_inode(&mut self) -> u32 {
        // A tree of 2^32 nodes does not fit into memory.
        self.inode += 1;
        self.inode
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of a header")]
    fn node(
        &mut self,
        path: &ImagePath,
        inode: u32,
        kind: u32,
        links: u32,
        Attributes { mode, uid, gid }: Attributes,
        size: u32,
        device: (u32, u32),
    ) -> Result<(), CpioError> {
        if path.as_bytes() == TRAILER {
            return Err(CpioError::ReservedName { path: path.clone() });
        }
        let name = if path.is_root() { b"." } else { path.as_bytes() };
        let mode = kind | u32::from(mode);
        self.header(name, &Header { inode, mode, links, uid, gid, size, device })
    }

    fn header(&mut self, name: &[u8], header: &Header) -> Result<(), CpioError> {
        let name_bytes = u32::try_from(name.len() + 1).expect("a name has at most 4095 bytes");
        let numbers = [
            header.inode,
            header.mode,
            header.uid,
            header.gid,
            header.links,
            self.mtime,
            header.size,
            0,
            0,
            header.device.0,
            header.device.1,
            name_bytes,
            0,
        ];
        let mut bytes = Vec::with_capacity(HEADER_BYTES + name.len() + 4);
        bytes.extend_from_slice(MAGIC);
        for number in numbers {
            for shift in (0..8).rev() {
                bytes.push(b"0123456789ABCDEF"[(number >> (4 * shift)) as usize & 15]);
            }
        }
        bytes.extend_from_slice(name);
        bytes.push(0);
        self.put(&bytes)?;
        self.pad()
    }

    fn body<'t, C, R: Read>(
        &mut self,
        path: &ImagePath,
        content: &'t C,
        declared: u64,
        open: &mut impl FnMut(&'t C) -> io::Result<R>,
    ) -> Result<(), CpioError> {
        copy_content(path, content, declared, open, &mut self.out)?;
        self.written += declared;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CpioError> {
        self.out.write_all(bytes).map_err(CpioError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), CpioError> {
        let over = self.written % 4;
        if over > 0 { self.put(&[0; 3][..4 - over as usize]) } else { Ok(()) }
    }
}

/// A file with several names, while they are written.
struct Group {
    inode: Option<u32>,
    links: u32,
    names_left: u32,
}

fn hard_link_groups<C>(tree: &FsTree<C>) -> BTreeMap<&ImagePath, Group> {
    let mut groups = BTreeMap::new();
    for (_, node) in tree.iter() {
        if let Node::HardLink { file } = node {
            let group =
                groups.entry(file).or_insert(Group { inode: None, links: 1, names_left: 1 });
            group.links += 1;
            group.names_left += 1;
        }
    }
    groups
}

/// Writes an uncompressed archive that follows an initramfs of `image_bytes` bytes, compressed or
/// not, and returns how many bytes were added.
///
/// The kernel unpacks one after the other, and a later file replaces an earlier one. It wants the
/// archive at a multiple of four bytes, so zeros come first. The root of `tree` is left out, but
/// any other folder in it passes its mode and owner to the folder of the first archive.
pub fn append_archive<'t, C, R: Read>(
    mut out: impl Write,
    image_bytes: u64,
    tree: &'t FsTree<C>,
    mtime: u32,
    mut open: impl FnMut(&'t C) -> io::Result<R>,
) -> Result<u64, CpioError> {
    let padding = (4 - image_bytes % 4) % 4;
    out.write_all(&[0; 3][..padding as usize]).map_err(CpioError::Write)?;
    let mut archive = CpioWriter::new(out, mtime);
    archive.nodes(tree, false, &mut open)?;
    let (_, bytes) = archive.finish()?;
    Ok(padding + bytes)
}
