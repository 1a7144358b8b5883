//! Why something is built again, as a value.

use std::fmt;

use serde::Serialize;

use crate::key::Part;

/// Links of a chain of components that depend on one another that are told, before the rest is only counted.
const SHOWN_LINKS: usize = 5;

/// Why a component has to be built, or that it does not have to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It is built, and nothing that it is built from has changed.
    Unchanged {
        /// Which.
        component: String,
    },
    /// It was never built into this store.
    NeverBuilt {
        /// Which.
        component: String,
    },
    /// Something that it is built from has changed.
    PartChanged {
        /// Which component.
        component: String,
        /// What of it.
        part: Part,
        /// What it was, where that is short.
        before: Option<String>,
        /// What it is.
        now: Option<String>,
        /// Where it is written: a file, mostly with a line; empty where it is osier's own.
        place: String,
    },
    /// It is built from something more.
    PartAdded {
        /// Which component.
        component: String,
        /// What more.
        part: Part,
        /// Where it is written.
        place: String,
    },
    /// It is no longer built from something.
    PartGone {
        /// Which component.
        component: String,
        /// From what.
        part: Part,
        /// Where it was written.
        place: String,
    },
    /// All is as it was, but its result is no longer in the store.
    ResultGone {
        /// Which.
        component: String,
    },
    /// Something that it depends on has to be built first, and may turn out otherwise than it was.
    DependsOn {
        /// It, what it depends on, what that depends on, and so on.
        chain: Vec<String>,
        /// Why the last one has to be built.
        because: Box<Reason>,
    },
    /// What it was built from cannot be read.
    RecordUnreadable {
        /// Which.
        component: String,
    },
    /// What it is built from cannot be found out.
    Unknown {
        /// Which.
        component: String,
        /// Why not.
        error: String,
    },
}

impl Reason {
    /// The reason at the end of a chain of components that depend on one another.
    pub fn cause(&self) -> &Self {
        match self {
            Self::DependsOn { because, .. } => because.cause(),
            other => other,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, place: &str| match place {
            "" => Ok(()),
            place => write!(f, " ({place})"),
        };
        match self {
            Self::Unchanged { component } => {
                write!(f, "{component} is built, and nothing that it is built from has changed")
            }
            Self::NeverBuilt { component } => write!(f, "{component} has not been built before"),
            Self::PartChanged { component, part, before, now, place } => {
                write!(f, "{component} is built again because {part} changed")?;
                if let (Some(before), Some(now)) = (before, now) {
                    write!(f, ", from `{before}` to `{now}`")?;
                }
                at(f, place)
            }
            Self::PartAdded { component, part, place } => {
                write!(f, "{component} is built again because {part} is new")?;
                at(f, place)
            }
            Self::PartGone { component, part, place } => {
                write!(f, "{component} is built again because {part} is gone")?;
                at(f, place)
            }
            Self::ResultGone { component } => {
                write!(f, "{component} is built again because its result is no longer in the store")
            }
            Self::DependsOn { chain, because } => {
                let links = chain.len().saturating_sub(1);
                for (number, link) in chain.windows(2).enumerate() {
                    if number < SHOWN_LINKS || number + 1 == links {
                        let [it, first] = [&link[0], &link[1]];
                        write!(f, "{it} depends on {first}, which must be rebuilt first: ")?;
                    } else if number == SHOWN_LINKS {
                        write!(f, "and so on over {} more: ", links - 1 - SHOWN_LINKS)?;
                    }
                }
                because.fmt(f)
            }
            Self::RecordUnreadable { component } => write!(
                f,
                "{component} is built again; the record of its last build is damaged or was written by another version of osier, so \
                 what has changed is not known"
            ),
            Self::Unknown { component, error } => {
                write!(f, "{component} is built again, but osier cannot find out why: {error}")
            }
        }
    }
}
