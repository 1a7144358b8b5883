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
    /// Where to keep results. Default: OSIER_STORE, or osier's folder in your cache.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The project's folder. Default: the nearest folder upwards that has an osier.toml.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Print events as JSON, one per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only errors and results.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// How many jobs may run at the same time. Default: one for each processor.
    #[arg(long, short, global = true, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Build for this target: x86_64 (amd64) or aarch64 (arm64). Repeat it to build for several. Default: this machine.
    #[arg(long = "target", global = true, value_name = "TARGET", value_parser = target)]
    pub(crate) targets: Vec<osier_recipe::Target>,
    /// Compile for this processor level: x86-64-v3, armv8.2-a …, or `native` for the highest that this machine supports. Give one
    /// for each target. It overrides the levels of systems and of the project.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = tune)]
    pub(crate) tune: Vec<osier_recipe::Tune>,
    /// Use only what is already fetched, never the network.
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Refuse to add pins to osier.lock.
    #[arg(long, global = true)]
    pub(crate) locked: bool,
    /// Read every file of local sources and overlays again, even if it looks unchanged. This finds what a program changed through a
    /// shared mapping.
    #[arg(long, global = true)]
    pub(crate) rehash: bool,
    /// After a failure, go on with everything that does not depend on the failed step.
    #[arg(long, global = true)]
    pub(crate) keep_going: bool,
    /// Build on a machine without namespaces and overlays. Needs root, isolates steps less, and uses a separate store.
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
    /// Move pins in osier.lock to the newest versions, and print the old and the new ones.
    Update {
        /// The recipes whose pins to move. Default: all.
        names: Vec<String>,
    },
    /// Download everything that a system or component needs.
    Fetch {
        /// The system or component. Default: the project's.
        name: Option<String>,
        /// Use this file instead of a download; osier identifies it by its SHA-256.
        #[arg(long, value_name = "FILE")]
        import: Option<PathBuf>,
    },
    /// Build a system or a component.
    Build {
        /// The system or component. Default: the project's.
        name: Option<String>,
        /// Where to put the images and the kernel.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Build everything clean that reused an earlier build's objects, and compare the results.
        #[arg(long)]
        clean_check: bool,
    },
    /// Build a system, boot it and say whether it booted.
    Boot {
        /// The system. Default: the project's.
        name: Option<String>,
        /// Use the console yourself; Ctrl-] leaves.
        #[arg(long, short)]
        interactive: bool,
        /// Where to put the images, the kernel and the log.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Enter the sandbox of a component's failed step, or of the step that you name.
    Shell {
        /// COMPONENT or COMPONENT:STEP.
        step: String,
        /// What to do when the shell ends. Default: ask.
        #[arg(long, value_name = "WHAT")]
        then: Option<Then>,
        /// Run this instead of a shell.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Change a component's configuration in its own menu, and save the difference as a fragment.
    Config {
        /// The component.
        component: String,
        /// Write the changes only to this fragment. Default: local.config beside the recipe, which osier adds to the recipe.
        #[arg(long, value_name = "FILE")]
        fragment: Option<PathBuf>,
    },
    /// Edit a component's source in a folder of yours. Builds use that folder until --finish makes a patch of your changes.
    Edit {
        /// The component.
        component: Option<String>,
        /// The folder for the unpacked and patched source. It must be new or empty.
        folder: Option<PathBuf>,
        /// Make a patch of the changes, add it to the recipe, and build from the recipe again.
        #[arg(long, conflicts_with_all = ["folder", "drop", "afresh", "list"])]
        finish: bool,
        /// What the patch is for, in a few words. They become its first line and its name.
        #[arg(long, short, value_name = "TEXT")]
        message: Option<String>,
        /// Build from the recipe again, and leave the folder as it is.
        #[arg(long, conflicts_with_all = ["folder", "afresh", "list"])]
        drop: bool,
        /// Make the next build start clean from the edited source, without an earlier build's objects.
        #[arg(long, conflicts_with_all = ["folder", "list"])]
        afresh: bool,
        /// List all edits, with their folders.
        #[arg(long, conflicts_with_all = ["component", "folder"])]
        list: bool,
    },
    /// Print the log of a step. On a terminal, colours work and all other control characters are escaped.
    Log {
        /// COMPONENT or COMPONENT:STEP. Default: the step that failed last.
        step: Option<String>,
    },
    /// Show what is built, what is not, and what failed.
    Status {
        /// The system or component. Default: the project's.
        name: Option<String>,
    },
    /// Say in one sentence why a component, or an image of a system, must be built again.
    Why {
        /// The component or system.
        name: String,
    },
    /// Show what a system or component is built from: components, steps, their times and sizes, and what is built.
    Graph {
        /// The system or component. Default: the project's.
        name: Option<String>,
        /// The format. Default: text, or one line of JSON with --json.
        #[arg(long, short, value_name = "FORMAT")]
        format: Option<GraphFormat>,
        /// Write to this file. Default: standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show what the images of a system are made of: bytes by component and by folder.
    Size {
        /// The system. Default: the project's.
        name: Option<String>,
        /// Also list the N largest files, 20 if you give no number.
        #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "20")]
        files: Option<usize>,
    },
    /// Remove what no build has used for a long time. Builds can run at the same time.
    ///
    /// Without a limit, it removes what was not used for 30 days. In any case it removes the oldest results until 1 GiB of disk is
    /// free, osier's reserve.
    Gc {
        /// Remove results until the store is no larger than this, such as 20G.
        #[arg(long, value_name = "SIZE")]
        size: Option<String>,
        /// Remove results that no build has used for this many days.
        #[arg(long, value_name = "DAYS")]
        age: Option<u64>,
        /// Remove the whole store, including folders that `rm` cannot remove.
        #[arg(long)]
        all: bool,
    },
    /// Read everything in the store and list what is damaged. The next build makes it again.
    Verify,
    /// Test whether this machine has what builds need, and say what is missing.
    Doctor,
    /// Explain an error code.
    Explain {
        /// The code, such as S001. Default: list all codes.
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
    /// Try the step again from here. Only this build uses the result.
    Retry,
    /// Start the step again from the clean layer below it.
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
