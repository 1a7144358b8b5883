//! What can be wrong with a composition.

use std::fmt;

use super::area::Difference;
use crate::path::{ImagePath, Shown};
use crate::tree::{Resolution, TreeError};

/// Who says that something is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the manifest.
    Line {
        /// The manifest's name.
        manifest: String,
        /// Counted from 1.
        number: usize,
        /// What the line says.
        text: String,
    },
    /// An area, by name.
    Area(String),
    /// Nobody: a folder that something delivered lies in.
    Implied,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { manifest, number, text } => write!(out, "{manifest}:{number} (`{text}`)"),
            Place::Area(name) => out.write_str(name),
            Place::Implied => out.write_str("a path below it"),
        }
    }
}

/// A reason why no tree can be composed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// A line stands for nothing.
    #[error("{place}: nothing matches `{pattern}`")]
    MatchesNothing {
        /// The line.
        place: Place,
        /// Its pattern.
        pattern: String,
        /// A near miss.
        hint: Option<String>,
    },
    /// A line names something that is found but is of another type.
    #[error("{place}: `{path}` is {found} in {area}, not {wanted}")]
    OtherKind {
        /// The line.
        place: Place,
        /// The path.
        path: ImagePath,
        /// What it is, with article.
        found: &'static str,
        /// What the line says, with article.
        wanted: &'static str,
        /// Where it is found.
        area: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// A user or group has no number.
    #[error("{place}: unknown {what} `{name}`")]
    UnknownAccount {
        /// The line.
        place: Place,
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
        /// A near miss, or what to do.
        hint: Option<String>,
    },
    /// Two components deliver one path, and not the same.
    #[error("{first} and {second} deliver `{path}` differently: {difference}")]
    ComponentsDiffer {
        /// The path.
        path: ImagePath,
        /// The one that was found first.
        first: String,
        /// The other one.
        second: String,
        /// How they differ.
        difference: Difference,
    },
    /// Two places say different things of one path.
    #[error("`{path}` is delivered differently by {first} and by {second}")]
    DeliveredTwice {
        /// The path.
        path: ImagePath,
        /// The earlier place.
        first: Place,
        /// The later place.
        second: Place,
        /// What to do.
        hint: Option<String>,
    },
    /// What is above a path is not a folder.
    #[error("`{path}` ({place}) cannot be inside `{parent}`, which is {kind} ({parent_place})")]
    ParentNotFolder {
        /// The path.
        path: ImagePath,
        /// Who delivers it.
        place: Place,
        /// What is above.
        parent: ImagePath,
        /// What that is, with article.
        kind: &'static str,
        /// Who delivers that.
        parent_place: Place,
    },
    /// A hard link's target is not a delivered regular file.
    #[error("{place}: hard link `{path}` leads to `{file}`, which is {found}")]
    HardLink {
        /// The line.
        place: Place,
        /// The link.
        path: ImagePath,
        /// Its target.
        file: ImagePath,
        /// What the target is, with article, or `not delivered`.
        found: &'static str,
        /// What to do.
        hint: Option<String>,
    },
    /// A symlink leads nowhere.
    #[error("dangling symlink `{path}` -> `{}` ({place}): {resolution}", Shown(target))]
    Dangling {
        /// The symlink.
        path: ImagePath,
        /// What it says.
        target: Vec<u8>,
        /// Who delivers it.
        place: Place,
        /// Where its way ends.
        resolution: Resolution,
        /// What to do.
        hint: Option<String>,
    },
    /// An entry of an area is unsound, such as a mode of more than 12 bits.
    #[error("{place}: {error}")]
    Unsound {
        /// Who delivers it.
        place: Place,
        /// What is wrong.
        error: TreeError,
    },
}

impl ComposeError {
    /// Says what to do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ComposeError::MatchesNothing { hint, .. }
            | ComposeError::OtherKind { hint, .. }
            | ComposeError::UnknownAccount { hint, .. }
            | ComposeError::DeliveredTwice { hint, .. }
            | ComposeError::HardLink { hint, .. }
            | ComposeError::Dangling { hint, .. } => hint.as_deref(),
            ComposeError::ComponentsDiffer { .. } => {
                Some("exclude the path with an `x` line, or put the right one in an overlay")
            }
            ComposeError::ParentNotFolder { .. } | ComposeError::Unsound { .. } => None,
        }
    }
}
