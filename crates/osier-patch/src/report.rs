//! How patches fit, as values and as text.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What to do about a patch that says no more of a file than that it differs.
pub const BINARY: &str = "make the patch again with `git diff --binary`, or put the file beside the recipe, name it in `files`, and let a step copy it";

/// How a patch fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Every hunk stands where the patch says.
    Clean,
    /// Every hunk fits, and some stand elsewhere.
    Offset,
    /// Its changes are there already: taking them back fits, or it changes nothing.
    Already,
    /// It does not fit.
    Conflict,
    /// Its text cannot be read.
    Unreadable,
}

/// What became of one patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchReport {
    /// The patch.
    pub name: String,
    /// How it fits.
    pub class: Class,
    /// The files with something to say: an offset or a conflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileReport>,
    /// What makes it unreadable, or what is odd about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What the recipe says about its conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waived>,
}

/// A conflict that the recipe lets pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waived {
    /// Whether the hunks that fit were applied; else nothing of the patch was.
    pub what_fits: bool,
    /// Why, as the recipe says.
    pub reason: String,
    /// Whether there was a conflict at all.
    pub needed: bool,
}

/// What became of one file of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// The file, relative to the source.
    pub path: String,
    /// The hunks with something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hunks: Vec<HunkReport>,
    /// Why the file as a whole cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<FileProblem>,
    /// An earlier patch of the row that is in conflict over the same file, of which this may be a consequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Why a file cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FileProblem {
    /// The file is not there.
    Missing {
        /// A place where it is, with other leading folders taken off.
        near: Option<String>,
    },
    /// A file that the patch makes is there.
    Exists {
        /// Whether it holds what the patch puts into it.
        already: bool,
    },
    /// A file that the patch removes holds more than the patch takes away.
    LeftOver,
    /// It is no regular file, or no symbolic link where the patch changes one.
    NotFile,
    /// The patch says that the file changes, and not how.
    Binary,
    /// The patch changes bytes that are not lines, and was made from another file.
    OtherBytes,
    /// The way there leads through something that is no folder.
    Blocked {
        /// What is in the way.
        by: String,
        /// Whether it is a symbolic link.
        link: bool,
    },
}

/// What became of one hunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HunkReport {
    /// Which of the file's hunks, counted from 1.
    pub number: usize,
    /// The line of its header in the patch, counted from 1.
    pub line: usize,
    /// How it fits.
    #[serde(flatten)]
    pub fit: HunkFit,
}

/// How a hunk fits. Lines are those of the file before the patch, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fit", rename_all = "snake_case")]
pub enum HunkFit {
    /// It fits.
    Fits {
        /// Its first line.
        at: usize,
        /// How many lines further down that is than the patch says.
        offset: i64,
        /// At how many other places it would fit.
        elsewhere: usize,
        /// It has no line behind its change, as at the end of a file, and does not stand there.
        not_at_end: bool,
    },
    /// It does not.
    Fails {
        /// The line where it was looked for first.
        expected: usize,
        /// Whether what it puts in is there.
        already: bool,
        /// How it differs from the place that is most like it.
        mismatch: Mismatch,
    },
}

/// How a hunk differs from the lines of the file that are most like it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The file's line of the first difference, counted from 1.
    pub at: usize,
    /// The lines that the patch expects.
    pub expected: Vec<String>,
    /// The lines that are there; fewer where the file ends.
    pub found: Vec<String>,
    /// Whether they differ only in spaces and line ends.
    pub blanks: bool,
    /// How many further lines differ.
    pub left_out: usize,
}

impl HunkReport {
    /// Whether the hunk stands where the patch says.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.fit, HunkFit::Fits { offset: 0, not_at_end: false, .. })
    }

    /// Whether the hunk fits nowhere.
    pub(crate) fn fails(&self) -> bool {
        matches!(self.fit, HunkFit::Fails { .. })
    }
}

impl FileReport {
    /// Whether the file is in conflict.
    pub fn fails(&self) -> bool {
        self.problem.is_some() || self.hunks.iter().any(HunkReport::fails)
    }

    /// How many lines the hunks stand away from where the patch says.
    pub(crate) fn distance(&self) -> u64 {
        let distance = |hunk: &HunkReport| match hunk.fit {
            HunkFit::Fits { offset, .. } => offset.unsigned_abs(),
            HunkFit::Fails { .. } => 0,
        };
        self.hunks.iter().map(distance).sum()
    }
}

impl PatchReport {
    /// Whether the build stops at this patch.
    pub fn stops(&self) -> bool {
        matches!(self.class, Class::Conflict | Class::Unreadable) && self.waived.is_none()
    }

    /// Says in one line what became of the patch.
    pub fn headline(&self) -> String {
        let word = self.class.words();
        let waived = match &self.waived {
            None => String::new(),
            Some(Waived { needed: false, .. }) => {
                "; the recipe waives a conflict of it, but there is none".to_owned()
            }
            Some(Waived { what_fits: true, reason, .. }) => {
                format!(", waived, what fits is applied: {reason}")
            }
            Some(Waived { reason, .. }) => format!(", waived, left out: {reason}"),
        };
        format!("{}: {word}{waived}", self.name)
    }

    /// Says in full what became of the patch, each line with its end; at most so many lines of each mismatch.
    pub fn text(&self, most: usize) -> String {
        let mut text = self.headline() + "\n";
        if let Some(problem) = &self.problem {
            let _ = writeln!(text, "  {problem}");
        }
        for file in &self.files {
            file.write(&mut text, most);
        }
        text
    }
}

impl Class {
    /// The class in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Offset => "at an offset",
            Self::Already => "already in the source",
            Self::Conflict => "in conflict",
            Self::Unreadable => "unreadable",
        }
    }
}

impl FileReport {
    fn write(&self, text: &mut String, most: usize) {
        if let Some(problem) = &self.problem {
            let _ = writeln!(text, "  {}: {}", self.path, problem.words());
        }
        for hunk in &self.hunks {
            hunk.write(text, &self.path, most);
        }
        if let Some(after) = &self.after {
            let _ = writeln!(text, "    {after} comes first and also conflicts over this file");
        }
    }
}

impl FileProblem {
    fn words(&self) -> String {
        match self {
            Self::Missing { near: None } => "there is no such file".into(),
            Self::Missing { near: Some(near) } => format!(
                "there is no such file, but there is {near}: if another number of leading folders must be removed, write it into a list named `series`, as in `a.patch -p0`"
            ),
            Self::Exists { already: true } => "already exists, as the patch makes it".into(),
            Self::Exists { already: false } => {
                "already exists, with different content than the patch gives it".into()
            }
            Self::LeftOver => "contains more than the patch removes, so it stays".into(),
            Self::NotFile => "is not the kind of file that the patch changes".into(),
            Self::Binary => {
                format!("is binary, but the patch does not say how it changes: {BINARY}")
            }
            Self::OtherBytes => {
                "is binary, and differs from the file that the patch was made from".into()
            }
            Self::Blocked { by, link: true } => {
                format!("{by} is a symbolic link, and no patch is applied through one")
            }
            Self::Blocked { by, link: false } => format!("{by} is not a folder"),
        }
    }
}

impl HunkReport {
    fn write(&self, text: &mut String, path: &str, most: usize) {
        let number = self.number;
        match &self.fit {
            HunkFit::Fits { at, offset, elsewhere, not_at_end } => {
                let _ = write!(text, "  {path}: hunk {number} fits at line {at}");
                if *offset != 0 {
                    let way = if *offset > 0 { "further down" } else { "further up" };
                    let lines = count(offset.unsigned_abs(), "line");
                    let _ = write!(text, ", {lines} {way}");
                }
                if *not_at_end {
                    text.push_str(", which is not the end of the file as it was");
                }
                if *elsewhere > 0 {
                    let _ = write!(
                        text,
                        " (and at {} as well)",
                        count(*elsewhere as u64, "other place")
                    );
                }
                text.push('\n');
            }
            HunkFit::Fails { expected, already, mismatch } => {
                let _ = write!(
                    text,
                    "  {path}: hunk {number} (line {} of the patch) does not fit at line {expected} or elsewhere",
                    self.line
                );
                if *already {
                    text.push_str("; what it adds is already there");
                }
                text.push('\n');
                mismatch.write(text, most);
            }
        }
    }
}

impl Mismatch {
    fn write(&self, text: &mut String, most: usize) {
        let mut lines = |word: &str, lines: &[String]| {
            for (number, line) in lines.iter().take(most).enumerate() {
                let _ = writeln!(text, "    {:>6}  {word}  |{line}", self.at + number);
            }
        };
        lines("expected", &self.expected);
        lines("found   ", &self.found);
        // Only at the end of a file are there fewer lines than a hunk asks for.
        if self.found.len() < self.expected.len() && self.found.len() < most {
            let _ = writeln!(text, "    {:>6}  the file ends", self.at + self.found.len());
        }
        let shown = self.expected.len().max(self.found.len());
        let left = self.left_out + shown.saturating_sub(most);
        if left > 0 {
            let _ = writeln!(text, "            and {} more", count(left as u64, "line"));
        }
        if self.blanks {
            text.push_str("            they differ only in spaces and line ends\n");
        }
    }
}

fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// Counts the patches of each class: `3 patches: 2 clean, 1 at an offset`.
pub fn summary(reports: &[PatchReport]) -> String {
    let classes = [Class::Clean, Class::Offset, Class::Already, Class::Conflict, Class::Unreadable];
    let counts = classes.iter().filter_map(|class| {
        let number = reports.iter().filter(|report| report.class == *class).count();
        (number > 0).then(|| format!("{number} {}", class.words()))
    });
    let all = match reports.len() {
        1 => "1 patch".to_owned(),
        number => format!("{number} patches"),
    };
    if reports.is_empty() {
        all
    } else {
        format!("{all}: {}", counts.collect::<Vec<_>>().join(", "))
    }
}

/// Writes down what became of a row of patches, in full.
pub fn text(reports: &[PatchReport]) -> String {
    let mut text: String = reports.iter().map(|report| report.text(usize::MAX)).collect();
    let _ = writeln!(text, "{}", summary(reports));
    text
}

/// The patches at which the build stops.
pub fn conflicts(reports: &[PatchReport]) -> impl Iterator<Item = &PatchReport> {
    reports.iter().filter(|report| report.stops())
}
