//! Why a patch cannot be read.

/// Why a patch could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line of the text, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with the text of a patch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No diff is in it.
    #[error(
        "it contains no change: there is no line `--- a/FILE` followed by `+++ b/FILE`, and no `diff --git`"
    )]
    Empty,
    /// It is in UTF-16.
    #[error(
        "the file is in UTF-16, as PowerShell's `>` writes it; make it again with `git diff --output=FILE`, or turn it into UTF-8 with `iconv -f {encoding} -t UTF-8`"
    )]
    Wide {
        /// What `iconv` calls it.
        encoding: &'static str,
    },
    /// Its lines end as those of no system of today do.
    #[error("its lines end in CR alone; turn them into LF with `tr '\\r' '\\n'`")]
    LoneReturns,
    /// It is packed.
    #[error("it is compressed with {by}; decompress it, and name the resulting file")]
    Packed {
        /// By what.
        by: &'static str,
    },
    /// It is packed, and what comes out cannot be had.
    #[error("it is compressed with {by} and cannot be decompressed: {why}")]
    Damaged {
        /// By what.
        by: &'static str,
        /// Why not.
        why: String,
    },
    /// It is a web page.
    #[error(
        "this is a web page and not a patch; save the patch itself: many forges serve it at the page's address followed by `.patch`"
    )]
    Page,
    /// A line of a diff does not stand at the beginning of its line.
    #[error(
        "`{text}` is a line of a diff, but {before} come before it; remove them from every line of the diff"
    )]
    Moved {
        /// The line, without what stands before.
        text: String,
        /// What stands before.
        before: &'static str,
    },
    /// A line of git's header that nothing introduces.
    #[error(
        "`{text}` is a line of git's header, but no `diff --git` introduces it; put that line back above it, or remove this one"
    )]
    Orphan {
        /// The line.
        text: String,
    },
    /// The change of a submodule.
    #[error(
        "this moves a submodule to another commit, but osier's sources have no submodules; change the pin of that source instead"
    )]
    Submodule,
    /// A header of git with no change behind it.
    #[error(
        "git's header of a file ends here without the change that it announces; the patch may be cut short"
    )]
    NoChange,
    /// Bytes of git's binary form that are none.
    #[error(
        "git's binary form cannot be read here: {why}; make the patch again with `git diff --binary`"
    )]
    BinaryForm {
        /// What is wrong.
        why: &'static str,
    },
    /// A name would leave the source.
    #[error("the name `{name}` {what}, but a patch cannot change anything outside its source")]
    Hostile {
        /// The name as it stands there.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nothing is left of a name.
    #[error(
        "nothing is left of the name `{name}` without its {strip} leading folder(s); write another number into a list named `series`, as in `a.patch -p0`"
    )]
    TooShort {
        /// The name as it stands there.
        name: String,
        /// How many folders are taken off.
        strip: u32,
    },
    /// A name in quotes does not end, or has an escape that does not exist.
    #[error("the quoted name {name} cannot be read")]
    Quotes {
        /// The name as it stands there.
        name: String,
    },
    /// Another form of diff.
    #[error("a diff in {form} form is not supported; make it again with `diff -u` or `git diff`")]
    Form {
        /// Which.
        form: &'static str,
    },
    /// A mail whose text is packed.
    #[error(
        "the mail is written in {encoding}; let git unpack it: `git mailinfo message FILE.patch < MAIL`"
    )]
    Encoded {
        /// How it is packed.
        encoding: String,
    },
    /// A mail whose lines a mail program has broken.
    #[error(
        "the mail is `format=flowed`, which may have wrapped its lines; ask for the patch as an attachment, or fetch it from where it is published"
    )]
    Flowed,
    /// A mode of git that no source has.
    #[error(
        "the mode {mode} is not supported: a patch makes files (100644, 100755) and symbolic links (120000)"
    )]
    Mode {
        /// The mode.
        mode: String,
    },
    /// A header of git whose file cannot be told.
    #[error(
        "git's header ends here and does not say which file it is about; if the patch was made without `a/` and `b/`, name it in a list `series`, as `x.patch -p0`"
    )]
    NoName,
    /// A hunk without the header of a file.
    #[error("a hunk begins here, but no header says which file it changes")]
    HunkOfNoFile,
    /// The header of a file without a hunk.
    #[error("no hunk follows this header of a file")]
    NoHunk,
    /// The header of a hunk that is none.
    #[error("`{text}` is not a header of a hunk")]
    HunkHeader {
        /// The line.
        text: String,
    },
    /// A hunk that has fewer lines than its header says.
    #[error(
        "the hunk ends here, but its header counts {old} more line(s) before and {new} more after the change"
    )]
    Short {
        /// How many lines of the old file are missing.
        old: usize,
        /// How many lines of the new file are missing.
        new: usize,
    },
    /// A hunk that has more lines than its header says.
    #[error("the hunk has more lines than its header counts")]
    Long,
    /// A line that no hunk can have.
    #[error("a line of a hunk begins with a space, `-` or `+`, but this one does not: `{text}`")]
    HunkLine {
        /// The line.
        text: String,
    },
}
