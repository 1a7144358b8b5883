//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Builds whole operating systems, and the software they are made of, from source.
#[derive(Debug, Parser)]
#[command(name = "osier", version, arg_required_else_help = false, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

fn target(text: &str) -> Result<osier_recipe::Target, String> {
    use osier_recipe::{Target, nearest};
    Target::parse(text).ok_or_else(|| {
        let known = Target::ALL.iter().flat_map(|target| [target.as_str(), target.debian()]);
        let near = nearest(text, known).map(|near| format!("; did you mean `{near}`?"));
        let all = Target::ALL.map(Target::as_str).join(" and ");
        format!("osier builds for {all}{}", near.unwrap_or_default())
    })
}

fn tune(text: &str) -> Result<osier_recipe::Tune, String> {
    use osier_recipe::{Tune, nearest};
    Tune::parse(text).ok_or_else(|| match nearest(text, Tune::names()) {
        Some(near) => format!("there is no such level; did you mean `{near}`?"),
        None => format!("the levels are: {}", Tune::names().collect::<Vec<_>>().join(", ")),
    })
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where results are kept; else OSIER_STORE, else osier's folder in the user's cache.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The project's folder; else the nearest folder upwards with an osier.toml.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Print events as JSON, one a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but errors and results.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// How many jobs may run at one time; else one for each processor.
    #[arg(long, short, global = true, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Build for this target: x86_64 (amd64) or aarch64 (arm64); several are built side by side. Else for this machine.
    #[arg(long = "target", global = true, value_name = "TARGET", value_parser = target)]
    pub(crate) targets: Vec<osier_recipe::Target>,
    /// Compile for this level of the target's processors: x86-64-v3, armv8.2-a …, or `native` for this machine's highest; one for
    /// each target, in the place of what the system or the project says.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = tune)]
    pub(crate) tune: Vec<osier_recipe::Tune>,
    /// Use what is fetched already; never the network.
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Refuse to add pins to osier.lock.
    #[arg(long, global = true)]
    pub(crate) locked: bool,
    /// Read every file of local sources and overlays anew, also those that look unchanged: for files that a program changed through
    /// a shared mapping.
    #[arg(long, global = true)]
    pub(crate) rehash: bool,
    /// Build also what does not depend on a step that failed.
    #[arg(long, global = true)]
    pub(crate) keep_going: bool,
    /// Build without namespaces and overlays, where this machine gives none: root only, weaker walls, a store of its own.
    #[arg(long, global = true)]
    pub(crate) degraded: bool,
}

/// What osier does.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a project that builds and boots.
    New {
        /// The folder to make.
        name: PathBuf,
    },
    /// Move pins in osier.lock, and print old and new.
    Update {
        /// Recipes whose pins to move; all where none is named.
        names: Vec<String>,
    },
    /// Download everything that a system or component needs.
    Fetch {
        /// The system or component; the project's default where none is named.
        name: Option<String>,
        /// Take this file by its SHA-256 in place of a download.
        #[arg(long, value_name = "FILE")]
        import: Option<PathBuf>,
    },
    /// Build a system or a component.
    Build {
        /// The system or component; the project's default where none is named.
        name: Option<String>,
        /// Where the images and the kernel go.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Build what went on from an earlier build's objects again, clean, and compare.
        #[arg(long)]
        clean_check: bool,
    },
    /// Build a system, boot it and give a verdict.
    Boot {
        /// The system; the project's default where none is named.
        name: Option<String>,
        /// Give the console to you; Ctrl-] leaves.
        #[arg(long, short)]
        interactive: bool,
        /// Where the images, the kernel and the log go.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Enter a step's sandbox: the failed step of a component, or the step that is named.
    Shell {
        /// COMPONENT or COMPONENT:STEP.
        step: String,
        /// What to do when the shell ends, in place of asking.
        #[arg(long, value_name = "WHAT")]
        then: Option<Then>,
        /// Run this instead of a shell.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Change a component's configuration by its own menu, and save the difference as a fragment.
    Config {
        /// The component.
        component: String,
        /// Write the changes to this fragment alone; else to local.config beside the recipe, which then lists it.
        #[arg(long, value_name = "FILE")]
        fragment: Option<PathBuf>,
    },
    /// Edit a component's source in a folder of yours: builds use it, until --finish makes a patch of the changes.
    Edit {
        /// The component.
        component: Option<String>,
        /// The folder for the unpacked and patched source; it must not be there yet, or be empty.
        folder: Option<PathBuf>,
        /// Make a patch of the changes, add it to the recipe, and build what the recipe says again.
        #[arg(long, conflicts_with_all = ["folder", "drop", "afresh", "list"])]
        finish: bool,
        /// What the patch is for, in a few words: its first line and its name.
        #[arg(long, short, value_name = "TEXT")]
        message: Option<String>,
        /// Build what the recipe says again; the folder stays as it is.
        #[arg(long, conflicts_with_all = ["folder", "afresh", "list"])]
        drop: bool,
        /// Let the next build start clean from the edited source, without an earlier build's objects.
        #[arg(long, conflicts_with_all = ["folder", "list"])]
        afresh: bool,
        /// Show what is edited, and where.
        #[arg(long, conflicts_with_all = ["component", "folder"])]
        list: bool,
    },
    /// Print the log of a step: as it was written, or on a terminal with all but its colours made harmless.
    Log {
        /// COMPONENT or COMPONENT:STEP; the last failed step where none is named.
        step: Option<String>,
    },
    /// Say what is built, what is not, and what failed.
    Status {
        /// The system or component; the project's default where none is named.
        name: Option<String>,
    },
    /// Say in one sentence why a component, or an image of a system, has to be built again.
    Why {
        /// The component or system.
        name: String,
    },
    /// Show what a system or a component is built from: components, steps, recorded times, sizes, what is built.
    Graph {
        /// The system or component; the project's default where none is named.
        name: Option<String>,
        /// How; as text where nothing is said, and as one line of JSON with --json.
        #[arg(long, short, value_name = "FORMAT")]
        format: Option<GraphFormat>,
        /// Write it to this file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show what the images of a system are made of: bytes by component and by folder.
    Size {
        /// The system; the project's default where none is named.
        name: Option<String>,
        /// Show so many of the largest files as well, 20 where no number is given.
        #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "20")]
        files: Option<usize>,
    },
    /// Remove what no build has used for long; builds may run meanwhile.
    ///
    /// Without a limit: what was not used for 30 days. In any case the oldest goes until osier's reserve of 1 GiB of
    /// disk is free.
    Gc {
        /// Remove results until the store is no larger than this, as in 20G.
        #[arg(long, value_name = "SIZE")]
        size: Option<String>,
        /// Remove results that no build has used for so many days.
        #[arg(long, value_name = "DAYS")]
        age: Option<u64>,
        /// Remove the whole store, folders that `rm` cannot remove included.
        #[arg(long)]
        all: bool,
    },
    /// Read everything that the store holds, and say what is damaged; the next build makes it again.
    Verify,
    /// Try what this machine gives, and say what is missing.
    Doctor,
    /// Explain an error code.
    Explain {
        /// The code, as in S001; all codes where none is named.
        code: Option<String>,
    },
    /// Write completions for a shell to standard output.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual page to standard output.
    Man,
    /// Write a page of the reference to standard output.
    #[command(hide = true)]
    Reference {
        /// Which.
        kind: ReferenceKind,
    },
}

/// What follows a shell in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Then {
    /// Try the step again from here; what comes of it serves this build alone.
    Retry,
    /// Start the step afresh, from the clean layer below it.
    Afresh,
    /// Leave.
    Leave,
}

/// How `osier graph` shows a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum GraphFormat {
    /// Lines for people.
    Text,
    /// One object.
    Json,
    /// For Graphviz.
    Dot,
    /// A drawing, in one file that needs nothing else.
    Svg,
}

/// What `osier reference` writes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ReferenceKind {
    /// The command line, in Markdown.
    Commands,
    /// The error codes, in Markdown.
    Codes,
    /// The exit statuses, in Markdown.
    ExitStatus,
    /// The events that --json prints, in Markdown.
    Events,
    /// The keys of recipes, kinds, systems, machines and projects, in Markdown.
    Keys,
    /// The JSON schema of recipes.
    RecipeSchema,
    /// The JSON schema of kinds.
    KindSchema,
    /// The JSON schema of systems.
    SystemSchema,
    /// The JSON schema of machines.
    MachineSchema,
    /// The JSON schema of projects.
    ProjectSchema,
    /// The JSON schema of locks.
    LockSchema,
}
