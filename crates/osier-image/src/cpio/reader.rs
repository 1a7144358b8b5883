//! Reads newc archives from anywhere.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::{
    BLOCK, CHARACTER, FIFO, FILE, FOLDER, HEADER_BYTES, KIND_MASK, MAGIC, SYMLINK, TRAILER,
};
use crate::path::{ImagePath, PathError, Shown};
use crate::tree::{Attributes, DeviceKind, FsTree, Node, TreeError};

/// The most bytes of a name with its NUL: the kernel skips entries with longer ones.
const NAME_BYTES: u32 = 4096;

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CpioReadError {
    /// The bytes could not be read.
    #[error("cannot read the archive at byte {at}")]
    Read {
        /// The offset in bytes.
        at: u64,
        /// The cause.
        source: io::Error,
    },
    /// The archive ends in the middle.
    #[error("archive ends at byte {at}, inside {inside}")]
    Truncated {
        /// The offset in bytes.
        at: u64,
        /// What is cut.
        inside: &'static str,
    },
    /// There is no newc header where one should be.
    #[error("no newc header (070701) at byte {at} but `{}`", Shown(found))]
    Magic {
        /// The offset in bytes.
        at: u64,
        /// What is there.
        found: [u8; 6],
    },
    /// A number is not eight hexadecimal digits.
    #[error("number {index} of the header at byte {at} is not hexadecimal")]
    Number {
        /// The offset of the header in bytes.
        at: u64,
        /// Which number, counted from 1.
        index: usize,
    },
    /// A name is empty, longer than 4095 bytes, or does not end with its only NUL.
    #[error("unsound name in the header at byte {at}")]
    Name {
        /// The offset of the header in bytes.
        at: u64,
    },
    /// Something other than zeros or a newc header follows an archive.
    #[error("byte {at}, after the end of an archive, is neither zero nor begins another archive")]
    Rest {
        /// The offset in bytes.
        at: u64,
    },
    /// A body is larger than the limit.
    #[error("body of `{name}` makes more than {limit} bytes")]
    Limit {
        /// The entry's name, shown as text.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// An entry's name is no sound path.
    #[error("entry `{name}`: {error}")]
    Path {
        /// The entry's name, shown as text.
        name: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// An entry's type is none that a tree can hold.
    #[error("`{path}` has type bits {bits:o}, which a tree cannot hold")]
    Kind {
        /// The entry.
        path: ImagePath,
        /// The upper bits of its mode.
        bits: u32,
    },
    /// The entries do not make a tree.
    #[error("the entries make no tree: {0}")]
    Tree(#[from] TreeError),
}

/// The header of an entry with its name; all numbers as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpioEntry {
    /// The name as it is written, without NUL.
    pub name: Vec<u8>,
    /// The inode number; entries with equal ones and `links` above 1 are one file.
    pub inode: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names there are.
    pub links: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// The size of the body in bytes.
    pub size: u32,
    /// Major and minor number of the device that the inode is on.
    pub on_device: (u32, u32),
    /// Major and minor number of a device node.
    pub device: (u32, u32),
}

/// A newc archive that is being read.
///
/// It makes no assumption about the bytes: faults are errors, and memory stays within what the
/// caller allows. `Read` gives the body of the entry that came last.
pub struct CpioReader<R> {
    input: R,
    at: u64,
    body_left: u32,
    padding: u32,
    /// The first byte of a header was read, to tell it from zeros.
    begun: bool,
}

impl<R: Read> CpioReader<R> {
    /// Begins to read; `input` should be buffered.
    pub fn new(input: R) -> Self {
        CpioReader { input, at: 0, body_left: 0, padding: 0, begun: false }
    }

    /// Reads the next header, skipping what is left of the body before. `None` is the trailer.
    pub fn next_entry(&mut self) -> Result<Option<CpioEntry>, CpioReadError> {
        self.skip_body()?;
        let mut header = [b'0'; HEADER_BYTES];
        let begun = usize::from(std::mem::take(&mut self.begun));
        self.fill(&mut header[begun..], "a header")?;
        self.entry(&header)
    }

    /// Goes on after a trailer, over zeros, to the archive that follows, as the kernel does.
    /// Tells whether there is one; its entries come from [`Self::next_entry`].
    pub fn next_archive(&mut self) -> Result<bool, CpioReadError> {
        self.skip_body()?;
        let mut byte = [0];
        loop {
            if self.some(&mut byte)? == 0 {
                return Ok(false);
            }
            match byte[0] {
                0 => {}
                b'0' if (self.at - 1).is_multiple_of(4) => {
                    self.begun = true;
                    return Ok(true);
                }
                _ => return Err(CpioReadError::Rest { at: self.at - 1 }),
            }
        }
    }

    /// Reads what is left of the current body, at most `limit` bytes.
    pub fn read_body(&mut self, entry: &CpioEntry, limit: u64) -> Result<Vec<u8>, CpioReadError> {
        if u64::from(self.body_left) > limit {
            let name = Shown(&entry.name).to_string();
            return Err(CpioReadError::Limit { name, limit });
        }
        let mut body = Vec::new();
        let mut chunk = [0; 16 * 1024];
        // The declared size is not trusted with memory: the body grows as it comes.
        while self.body_left > 0 {
            let read = self.body(&mut chunk)?;
            body.extend_from_slice(&chunk[..read]);
        }
        Ok(body)
    }

    fn entry(&mut self, header: &[u8; HEADER_BYTES]) -> Result<Option<CpioEntry>, CpioReadError> {
        let at = self.at - HEADER_BYTES as u64;
        if !header.starts_with(MAGIC) {
            let mut found = [0; 6];
            found.copy_from_slice(&header[..6]);
            return Err(CpioReadError::Magic { at, found });
        }
        let mut numbers = [0; 13];
        for (index, digits) in header[MAGIC.len()..].chunks_exact(8).enumerate() {
            numbers[index] =
                hexadecimal(digits).ok_or(CpioReadError::Number { at, index: index + 1 })?;
        }
        let [inode, mode, uid, gid, links, mtime, size, d0, d1, r0, r1, name_bytes, _] = numbers;
        if !(2..=NAME_BYTES).contains(&name_bytes) {
            return Err(CpioReadError::Name { at });
        }
        let mut name = vec![0; name_bytes as usize];
        self.fill(&mut name, "a name")?;
        if name.iter().position(|&byte| byte == 0) != Some(name.len() - 1) {
            return Err(CpioReadError::Name { at });
        }
        name.pop();
        // Padding counts from the header, which is where the kernel counts from as well.
        let mut padding = [0; 3];
        let header_bytes = HEADER_BYTES + name.len() + 1;
        self.fill(&mut padding[..(4 - header_bytes % 4) % 4], "a name's padding")?;
        self.body_left = size;
        self.padding = (4 - size % 4) % 4;
        let (on_device, device) = ((d0, d1), (r0, r1));
        let entry =
            CpioEntry { name, inode, mode, uid, gid, links, mtime, size, on_device, device };
        Ok((entry.name != TRAILER).then_some(entry))
    }

    fn skip_body(&mut self) -> Result<(), CpioReadError> {
        let mut chunk = [0; 16 * 1024];
        while self.body_left > 0 {
            self.body(&mut chunk)?;
        }
        let padding = std::mem::take(&mut self.padding) as usize;
        self.fill(&mut chunk[..padding], "a body's padding")
    }

    /// Reads a piece of the body; nothing only at its end.
    fn body(&mut self, chunk: &mut [u8]) -> Result<usize, CpioReadError> {
        let most = chunk.len().min(self.body_left as usize);
        let read = self.some(&mut chunk[..most])?;
        if read == 0 && most > 0 {
            return Err(CpioReadError::Truncated { at: self.at, inside: "a body" });
        }
        self.body_left -= u32::try_from(read).expect("no more than was left");
        Ok(read)
    }

    fn fill(&mut self, buffer: &mut [u8], inside: &'static str) -> Result<(), CpioReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.some(&mut buffer[filled..])? {
                0 => return Err(CpioReadError::Truncated { at: self.at, inside }),
                read => filled += read,
            }
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, CpioReadError> {
        loop {
            match self.input.read(buffer) {
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CpioReadError::Read { at: self.at, source }),
            }
        }
    }
}

impl<R: Read> Read for CpioReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body(buffer).map_err(|error| match error {
            CpioReadError::Read { source, .. } => source,
            other => io::Error::new(io::ErrorKind::UnexpectedEof, other),
        })
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number: u32, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

/// Reads the first archive of `input` into a tree with the contents in memory, `limit` bytes of
/// them at most.
///
/// Names may begin with `./`, and `.` is the root, as common tools write them. The first name of a
/// hard-link group in the order of paths becomes the file.
pub fn read_tree(input: impl Read, limit: u64) -> Result<FsTree<Vec<u8>>, CpioReadError> {
    let mut reader = CpioReader::new(input);
    let mut left = limit;
    let mut nodes = Vec::new();
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while let Some(entry) = reader.next_entry()? {
        let path = path(&entry)?;
        let body = reader.read_body(&entry, left).map_err(|error| match error {
            CpioReadError::Limit { name, .. } => CpioReadError::Limit { name, limit },
            other => other,
        })?;
        left -= body.len() as u64;
        let bits = entry.mode & KIND_MASK;
        let mode = u16::try_from(entry.mode & 0o7777).expect("12 bits");
        let attributes = Attributes { mode, uid: entry.uid, gid: entry.gid };
        let (major, minor) = entry.device;
        let device = |kind| Node::Device { kind, major, minor, attributes };
        let node = match bits {
            FILE => Node::File { content: body, size: u64::from(entry.size), attributes },
            FOLDER => Node::Folder { attributes },
            SYMLINK => Node::Symlink { target: body },
            CHARACTER => device(DeviceKind::Character),
            BLOCK => device(DeviceKind::Block),
            FIFO => Node::Fifo { attributes },
            _ => return Err(CpioReadError::Kind { path, bits }),
        };
        if bits == FILE && entry.links > 1 {
            groups.entry((entry.on_device, entry.inode)).or_default().push((path, node));
        } else {
            nodes.push((path, node));
        }
    }
    for group in groups.into_values() {
        let mut names = Vec::with_capacity(group.len());
        let mut file = None;
        for (path, node) in group {
            names.push(path);
            // The body comes with one name only, mostly the last.
            if file.is_none() || matches!(node, Node::File { size, .. } if size > 0) {
                file = Some(node);
            }
        }
        names.sort();
        let mut names = names.into_iter();
        if let (Some(first), Some(file)) = (names.next(), file) {
            nodes.extend(names.map(|path| (path, Node::HardLink { file: first.clone() })));
            nodes.push((first, file));
        }
    }
    FsTree::from_nodes(nodes).map_err(|mut errors| CpioReadError::Tree(errors.remove(0)))
}

/// Reads an entry's name as a path.
fn path(entry: &CpioEntry) -> Result<ImagePath, CpioReadError> {
    let name = entry.name.strip_prefix(b"./").unwrap_or(&entry.name);
    if name == b"." || name.is_empty() {
        return Ok(ImagePath::root());
    }
    ImagePath::new(name)
        .map_err(|error| CpioReadError::Path { name: Shown(&entry.name).to_string(), error })
}
