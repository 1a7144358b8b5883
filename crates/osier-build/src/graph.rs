//! Components and steps as values, with everything in them that a key covers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use osier_check::{CheckError, Finding};
use osier_recipe::Jobs;
use osier_store::{Digest, Key, LayerStack, TreeNode};

use crate::make::Make;

/// Names a component of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub u32);

/// Names a step of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub u32);

/// All components and steps of a build. Acyclic: a step's `below` and a component's inputs come before it.
#[derive(Debug, Default)]
pub struct Graph {
    /// The components, each after those that it uses.
    pub components: Vec<Component>,
    /// The steps, each after the one below it.
    pub steps: Vec<Step>,
    /// The components that were asked for, in that order.
    pub goals: Vec<ComponentId>,
    /// The step to end with: of its component nothing more is wanted, so its outputs stay unknown.
    pub until: Option<StepId>,
}

/// A recipe in one role, for one target, in one profile.
#[derive(Debug, Clone)]
pub struct Component {
    /// The recipe's name, the target where a toolchain compiles it, the level that it is tuned to: `busybox`,
    /// `busybox@aarch64`, `busybox@x86_64@x86-64-v3`.
    pub name: String,
    /// The recipe's name.
    pub recipe: String,
    /// The version, for people and for the steps' environment.
    pub version: String,
    /// The target it is for; what runs in the build is for the machine that builds.
    pub target: String,
    /// The recipe's file, for messages.
    pub origin: String,
    /// Its own steps, in order; the last one's layer holds the output.
    pub steps: Vec<StepId>,
    /// What it links with: composed at `/proto`.
    pub needs: Vec<Input>,
    /// What runs in its build: each at `/tools/NAME`, its `bin` folders first in `PATH`.
    pub tools: Vec<Input>,
    /// Named outputs beside `main`.
    pub outputs: Vec<Output>,
    /// The root file system that its steps run in.
    pub environment: Arc<Environment>,
    /// Variables of its steps, by name.
    pub variables: BTreeMap<String, String>,
    /// Files beside the recipe that the steps see under `/files`.
    pub files: Vec<FileInput>,
}

/// One output of another component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Whose.
    pub component: ComponentId,
    /// Which of its outputs; `main` where nothing is said.
    pub output: String,
}

/// A named part of what a component installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Which paths of the installed tree it takes: `*`, `?` and `**` as in a shell.
    pub patterns: Vec<String>,
}

/// A file beside a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInput {
    /// The path below the recipe's folder.
    pub path: String,
    /// What it holds.
    pub content: Arc<[u8]>,
    /// Where it lies, for messages.
    pub origin: String,
    /// Whether it may be run.
    pub executable: bool,
}

/// A root file system made of pinned Debian packages.
#[derive(Debug, PartialEq, Eq)]
pub struct Environment {
    /// Covers the packages and the way they are unpacked.
    pub key: Key,
    /// The list that was asked for, for messages.
    pub request: Vec<String>,
    /// The packages, in the order of unpacking.
    pub packages: Vec<Package>,
}

/// One pinned file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its file name, for messages.
    pub name: String,
    /// Its bytes.
    pub digest: Digest,
    /// How many.
    pub size: u64,
}

/// One stage of a component.
#[derive(Debug, Clone)]
pub struct Step {
    /// Whose stage it is.
    pub component: ComponentId,
    /// Its name: unpack, patch, configure, build, install, …
    pub name: String,
    /// The step whose layer it starts from.
    pub below: Option<StepId>,
    /// What it does.
    pub work: Work,
    /// What it sees of its component.
    pub view: View,
    /// From which earlier runs it may go on instead of starting clean; not in the key.
    pub reuse: Option<Reuse>,
    /// What is checked after it, before its layer is taken as done.
    pub checks: Vec<Check>,
    /// Where it was written, for messages.
    pub origin: String,
}

/// What a step sees of its component; for a script all of it is in the step's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Nothing but its own work.
    Nothing,
    /// These files; and for a person who enters it the component's identity, but no variable of its kind, no need and
    /// no tool.
    Patches(Vec<String>),
    /// Files, variables, needs and tools.
    All,
}

/// The variables of a component that say what it is, not how it is built.
pub const IDENTITY: [&str; 4] = ["NAME", "VERSION", "TARGET", "SOURCE"];

/// Which earlier runs of a step with the same sources, script and inputs it may go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reuse {
    /// Files of the step below, as paths in the root, that may differ: they are given a new time.
    pub files: Vec<PathBuf>,
    /// Variables that may differ, and with them the files beside the recipe that they name.
    pub variables: Vec<String>,
    /// Whether files of the source may differ while a person edits it.
    pub edits: bool,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Lays out a source at `/build/NAME`.
    Unpack(SourceTree),
    /// Puts patches on the sources.
    Patch(Patching),
    /// Lays what a person has changed over the source.
    Edit(SourceEdit),
    /// Runs a shell script in the sandbox.
    Script {
        /// The text, given to `sh -eu`.
        text: String,
        /// The working folder.
        folder: String,
        /// How it gets its jobs.
        jobs: Jobs,
        /// Most bytes of memory that all its processes use together, where that is known; not in the key.
        memory: Option<u64>,
        /// Minutes of CPU time without a word after which it is ended, 0 for none; not in the key.
        silence: Option<u64>,
        /// Whether what the steps below left is copied into its own layer first.
        flat: bool,
    },
    /// Makes something of what its component needs, without a program: a part of a product.
    Make(Arc<dyn Make>),
}

/// The patches of a component.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patching {
    /// The sources, as folders below `/build`, on which Debian's own patches are put first.
    pub debian: Vec<String>,
    /// Those in other sources of the component, in order; they are known once these are unpacked.
    pub fetched: Vec<FetchedPatches>,
    /// The recipe's own, in order.
    pub own: Vec<OwnPatch>,
    /// The source, as a folder below `/build`, that the recipe's own are made for.
    pub source: String,
    /// What of them may fail to fit.
    pub waivers: Vec<Waiver>,
}

/// Patches that lie in a source of their component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPatches {
    /// The source, as a folder below `/build`.
    pub source: String,
    /// Which of its files: those that match, by name, or in the order of a list `series` among them.
    pub pattern: String,
}

/// A patch beside a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPatch {
    /// Its path below the recipe's folder; the bytes are among the component's files.
    pub file: String,
    /// How many leading folders of its names are left off.
    pub strip: u32,
    /// Whether it is taken back instead of applied.
    pub reverse: bool,
}

/// What a recipe says of patches that do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The pattern of their names.
    pub pattern: String,
    /// Whether what fits of such a patch is applied; else nothing of it is.
    pub what_fits: bool,
    /// Why; not in the key, as it changes no file.
    pub reason: String,
}

/// What differs between a patched source and the folder in which a person edits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEdit {
    /// The folder below `/build` that the source is unpacked into.
    pub name: String,
    /// The changes, in the order of their paths.
    pub changes: Vec<Change>,
}

/// One changed path of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path below the source's folder, without a leading slash.
    pub path: Vec<u8>,
    /// What is there now; nothing where it is gone.
    pub node: Option<TreeNode>,
}

/// The bytes of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    /// The folder below `/build` it is unpacked into.
    pub name: String,
    /// The archives, unpacked in order, the later ones into folders of their own.
    pub archives: Vec<Archive>,
    /// A folder beside the recipe, as a stored tree, in place of archives.
    pub folder: Option<Digest>,
}

/// One archive of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its file name.
    pub file: String,
    /// How it is packed, where the recipe says so; else its content tells.
    pub format: Option<String>,
    /// Its bytes.
    pub digest: Digest,
    /// How many.
    pub size: u64,
    /// The folder below the source's that it goes to; empty for the source's own.
    pub into: String,
    /// Which leading folders of its names are left off; nothing for a file that is no archive and lies there as it is.
    pub strip: Option<Strip>,
}

/// Which leading folders of an archive's names are left off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strip {
    /// So many, and no entry may be outside them.
    Folders(u32),
    /// The one that all is in, where there is one, as dpkg-source does.
    Lone,
}

/// A check that runs after a step, by name, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The name it is registered under.
    pub name: String,
    /// Its arguments.
    pub arguments: BTreeMap<String, String>,
}

/// A check of a step's result; the program registers them by name.
pub trait StepCheck: Sync {
    /// The name that kinds and recipes use.
    fn name(&self) -> &'static str;
    /// Its version, which enters the key of the steps that use it.
    fn version(&self) -> u32;
    /// Looks at the layers of a step that has just ended well; the step fails with what is found.
    fn run(
        &self,
        check: &Check,
        component: &Component,
        layers: &LayerStack,
    ) -> Result<Vec<Finding>, CheckError>;
}

impl Graph {
    /// Gives the places of all components.
    pub fn ids(&self) -> impl Iterator<Item = ComponentId> + use<> {
        let count =
            u32::try_from(self.components.len()).expect("a graph has fewer than 2^32 nodes");
        (0..count).map(ComponentId)
    }

    /// Gives a component.
    pub fn component(&self, id: ComponentId) -> &Component {
        &self.components[id.0 as usize]
    }

    /// Gives a step.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0 as usize]
    }

    /// Gives the chain of steps from the bottom up to and with this one.
    pub fn chain(&self, id: StepId) -> Vec<StepId> {
        let mut chain = vec![id];
        while let Some(below) = self.step(chain[chain.len() - 1]).below {
            chain.push(below);
        }
        chain.reverse();
        chain
    }

    /// Finds a component by its name.
    pub fn find(&self, name: &str) -> Option<ComponentId> {
        let position = self.components.iter().position(|component| component.name == name)?;
        Some(ComponentId(u32::try_from(position).ok()?))
    }

    /// Finds a step of a component by name.
    pub fn find_step(&self, component: ComponentId, name: &str) -> Option<StepId> {
        self.component(component).steps.iter().copied().find(|id| self.step(*id).name == name)
    }

    /// Gives the label of a step: `linux:configure`.
    pub fn label(&self, id: StepId) -> String {
        let step = self.step(id);
        format!("{}:{}", self.component(step.component).name, step.name)
    }
}

impl Component {
    /// Gives the files beside the recipe that a step sees.
    pub fn files_of<'c>(&'c self, step: &'c Step) -> impl Iterator<Item = &'c FileInput> {
        self.files.iter().filter(|file| match &step.view {
            View::Nothing => false,
            View::Patches(patches) => patches.contains(&file.path),
            View::All => true,
        })
    }

    /// Gives the variables that a step sees.
    pub fn variables_of<'c>(
        &'c self,
        step: &'c Step,
    ) -> impl Iterator<Item = (&'c String, &'c String)> {
        self.variables.iter().filter(|(name, _)| match step.view {
            View::Nothing => false,
            View::Patches(_) => IDENTITY.contains(&name.as_str()),
            View::All => true,
        })
    }
}

impl Step {
    /// Says whether the step runs programs of the build environment.
    pub fn runs_programs(&self) -> bool {
        matches!(self.work, Work::Script { .. })
    }

    /// Says whether the step sees its component's needs, tools and outputs.
    pub fn sees_inputs(&self) -> bool {
        self.view == View::All
    }

    /// Gives the paths of files that the step reads, for messages about its script.
    pub fn folder(&self) -> PathBuf {
        match &self.work {
            Work::Script { folder, .. } => PathBuf::from(folder),
            Work::Unpack(SourceTree { name, .. }) | Work::Edit(SourceEdit { name, .. }) => {
                PathBuf::from(format!("/build/{name}"))
            }
            Work::Patch(patching) => PathBuf::from(format!("/build/{}", patching.source)),
            Work::Make(_) => PathBuf::from("/build"),
        }
    }
}
