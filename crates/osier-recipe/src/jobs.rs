//! How a step gets its jobs.

use crate::Spanned;

/// How a step gets its jobs; how many there are is the build's business and stands in no recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jobs {
    /// It has one job, whatever the build has.
    One,
    /// It has one job and takes further ones as it goes, by GNU make's jobserver.
    #[default]
    Jobserver,
    /// It has a number of jobs that is set when it begins, in `$JOBS`.
    Share,
}

/// The two ways that `jobs` can be given.
pub(crate) const CHOICES: &[&str] = &["jobserver", "share"];

impl Jobs {
    /// Reads what `jobs` can be.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "jobserver" => Some(Self::Jobserver),
            "share" => Some(Self::Share),
            _ => None,
        }
    }
}

/// Says whether a script uses the variable JOBS, which only a step with a number of jobs has.
pub(crate) fn asks_for_a_number(script: &Spanned<String>) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let used = |start: &str| {
        script.match_indices(start).any(|(at, _)| {
            let next = script.as_bytes().get(at + start.len());
            !next.copied().is_some_and(word)
        })
    };
    used("$JOBS") || used("${JOBS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_found_and_no_other() {
        for (script, asks) in [
            ("ninja -j\"$JOBS\"", true),
            ("ninja -j${JOBS:-1}", true),
            ("test \"$JOBS\"", true),
            ("x $JOBS", true),
            ("$JOBS_FOLDER/x ${JOBSERVER} $MYJOBS", false),
            ("make", false),
        ] {
            assert_eq!(asks_for_a_number(&Spanned::new(script.to_owned(), 0..0)), asks, "{script}");
        }
        for choice in CHOICES {
            assert!(Jobs::parse(choice).is_some(), "{choice}");
        }
    }
}
