//! Opening a file: what it is, and readers for it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::compression::{Compression, MAGIC};
use crate::content::{Content, Entry, ReadError};
use crate::format::{Container, Format, HEAD, ISO, container_of, foreign, inner_name, is_zip};
use crate::{ar, cpio, rpm, tar, zip};

/// Why a file cannot be read as an archive.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can be told what it is, and that is not read.
    #[error("is {what}, which osier does not unpack")]
    Foreign {
        /// What it is.
        what: &'static str,
    },
    /// It is no archive, and not compressed.
    #[error("is neither an archive nor a compressed file that osier knows")]
    Unknown,
    /// Nothing is in it.
    #[error("is empty")]
    Empty,
    /// It is something else than its name or the recipe says.
    #[error("should be {said}, but is {found}")]
    Other {
        /// What is said.
        said: String,
        /// What it is.
        found: String,
    },
    /// It could not be read, or its compressed bytes are damaged.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// A file that was opened.
pub enum Opened {
    /// An archive.
    Archive(Archive),
    /// One compressed file.
    File {
        /// The name of what lies in it.
        name: String,
        /// Its bytes.
        reader: Box<dyn Read + Send>,
    },
}

/// An archive that can be read.
pub struct Archive {
    container: Container,
    input: Input,
}

enum Input {
    Stream(Box<dyn Read + Send>),
    File(File),
}

impl Archive {
    /// Reads it to its end, and gives each entry with its content.
    ///
    /// # Errors
    /// [`ReadError`], and those of `each`.
    pub fn read<E: From<ReadError>>(
        self,
        each: impl FnMut(&Entry, &mut Content<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match (self.container, self.input) {
            (Container::Tar, Input::Stream(reader)) => tar::read_tar(reader, each),
            (Container::Cpio, Input::Stream(reader)) => cpio::read(reader, each),
            (Container::Ar, Input::Stream(reader)) => ar::read(reader, each),
            (Container::Rpm, Input::Stream(reader)) => rpm::read(reader, each),
            (_, Input::File(file)) => zip::read(file, each),
            (Container::Zip, Input::Stream(_)) => Ok(()),
        }
    }
}

/// Opens a file, which is told by its content: its name matters only where that cannot tell. What a recipe says
/// (see [`Format::parse`]) must be so.
///
/// # Errors
/// [`OpenError`].
pub fn open(mut file: File, name: &str, said: Option<&str>) -> Result<Opened, OpenError> {
    let mut head = Vec::new();
    file.by_ref().take(ISO as u64 + 16).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    if head.is_empty() {
        return Err(OpenError::Empty);
    }
    let by_recipe = said.and_then(Format::parse);
    let format = by_recipe.unwrap_or_else(|| Format::of_name(name));
    let other = |found: String| OpenError::Other { said: words(format), found };

    let compression = Compression::of_bytes(&head[..head.len().min(MAGIC)]);
    // A tar archive can begin with a name that looks like a compressed file.
    let compression = compression.filter(|_| container_of(&head) != Some(Container::Tar));
    let by_content = |found: Option<Compression>| Format { container: None, compression: found };
    if by_recipe.is_some() && format.compression.is_some() && format.compression != compression {
        let found = match (compression, foreign(&head)) {
            (Some(compression), _) => format!("compressed with {compression}"),
            (None, Some(what)) => what.to_owned(),
            (None, None) => "not compressed".to_owned(),
        };
        return Err(other(found));
    }
    // A zip archive is found from its end, so that anything can stand before it.
    let says_zip = by_recipe.is_some_and(|format| format.container == Some(Container::Zip));
    if is_zip(&head) || says_zip && compression.is_none() && container_of(&head).is_none() {
        return match by_recipe {
            Some(Format { container: Some(Container::Zip), .. }) | None => {
                Ok(Opened::Archive(Archive { container: Container::Zip, input: Input::File(file) }))
            }
            Some(_) => Err(other("zip".to_owned())),
        };
    }
    let Some(compression) = compression else {
        let container =
            container_of(&head).or_else(|| is_blank(&head, format).then_some(Container::Tar));
        let Some(container) = container else {
            return Err(match foreign(&head) {
                Some(what) => OpenError::Foreign { what },
                None if format == by_content(None) => OpenError::Unknown,
                None => other("neither an archive nor compressed".to_owned()),
            });
        };
        if by_recipe.is_some() && format.container != Some(container) {
            return Err(other(container.to_string()));
        }
        return Ok(Opened::Archive(Archive {
            container,
            input: Input::Stream(Box::new(ahead(file))),
        }));
    };
    let mut reader = ahead(compression.reader(file));
    let mut head = Vec::new();
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let found = container_of(&head).or_else(|| is_blank(&head, format).then_some(Container::Tar));
    let reader = Box::new(io::Cursor::new(head).chain(reader));
    match (found, format.container) {
        // The recipe says that it is one file, whatever that is.
        (_, None) if by_recipe.is_some() => {
            Ok(Opened::File { name: inner_name(name).to_owned(), reader })
        }
        (Some(found), Some(said)) if by_recipe.is_some() && said != found => {
            Err(other(format!("{found}, compressed with {compression}")))
        }
        (Some(container), _) => {
            Ok(Opened::Archive(Archive { container, input: Input::Stream(reader) }))
        }
        (None, None) => Ok(Opened::File { name: inner_name(name).to_owned(), reader }),
        (None, Some(_)) => Err(other(format!("something else, compressed with {compression}"))),
    }
}

/// Says whether nothing but zeros is where a tar archive should be: an empty one.
fn is_blank(head: &[u8], format: Format) -> bool {
    format.container == Some(Container::Tar)
        && head.len() >= HEAD
        && head[..HEAD].iter().all(|byte| *byte == 0)
}

fn words(format: Format) -> String {
    match format {
        Format { container: Some(container), compression: Some(compression) } => {
            format!("{container}, compressed with {compression}")
        }
        Format { container: Some(container), compression: None } => container.to_string(),
        Format { container: None, compression: Some(compression) } => {
            format!("compressed with {compression}")
        }
        Format { container: None, compression: None } => "an archive".to_owned(),
    }
}

/// Bytes that pass from the reading thread at a time.
const CHUNK: usize = 1 << 18;

/// Reads, and decompresses, ahead on a thread of its own, so that unpacking uses two processors.
fn ahead(mut reader: impl Read + Send + 'static) -> Ahead {
    let (sender, receiver) = sync_channel(8);
    std::thread::spawn(move || {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
            // What came before an error is still good.
            if !chunk.is_empty() && sender.send(Ok(chunk)).is_err() {
                return;
            }
            match read {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return drop(sender.send(Err(error))),
            }
        }
    });
    Ahead { receiver, current: Vec::new(), position: 0 }
}

struct Ahead {
    receiver: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    position: usize,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            match self.receiver.recv() {
                Ok(chunk) => {
                    self.current = chunk?;
                    self.position = 0;
                }
                Err(_) => return Ok(0),
            }
        }
        let count = (&self.current[self.position..]).read(buffer)?;
        self.position += count;
        Ok(count)
    }
}
