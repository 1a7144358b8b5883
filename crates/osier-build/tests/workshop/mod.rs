//! A store, a sandbox and a small root for tests, without any network.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests: a failure here is a failure of the test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use osier_build::{
    BuildError, CleanCheck, Component, ComponentId, ComponentResult, Desk, Engine, Environment,
    Event, ExecuteError, Executed, Executor, Graph, Input, Local, Order, Provision, ProvisionError,
    Results, Reuse, Settings, Step, StepId, View, Work,
};
use osier_patch::PatchReport;
use osier_recipe::Jobs;
use osier_sandbox::{Isolation, Launcher};
use osier_store::{Key, Store, TreeNode};

/// Copies a few programs of the host, with their libraries, as the tests' build environment.
struct HostPrograms;

impl Provision for HostPrograms {
    fn unpack(&self, _: &Environment, _: &Store, into: &Path) -> Result<(), ProvisionError> {
        for folder in [
            "build",
            "output",
            "proto",
            "files",
            "tools",
            "tmp",
            "dev",
            "proc",
            "sys",
            "usr/bin",
            "usr/lib",
            "usr/lib64",
        ] {
            std::fs::create_dir_all(into.join(folder)).unwrap();
        }
        for link in ["bin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), into.join(link)).unwrap();
        }
        let programs = "sh perl cat chgrp chmod chown cp date env head hostname id ln ls install make mkdir mkfifo mknod mv nproc rm sleep stat tar touch";
        for program in programs.split(' ') {
            let found =
                Command::new("sh").arg("-c").arg(format!("command -v {program}")).output().unwrap();
            let host = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
            let host = if host.is_absolute() { host } else { Path::new("/usr/bin").join(program) };
            std::fs::copy(host.canonicalize().unwrap(), into.join("usr/bin").join(program))
                .unwrap();
            let libraries = Command::new("ldd").arg(&host).output().unwrap();
            for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
                if word.starts_with('/') {
                    let inside = into.join(word.trim_start_matches('/'));
                    std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
                    std::fs::copy(word, inside).unwrap();
                }
            }
        }
        Ok(())
    }
}

/// An executor that several workshops share.
struct Shared(Arc<dyn Executor + Send>);

impl Executor for Shared {
    fn execute(&self, order: &Order, desk: &dyn Desk) -> Result<Executed, ExecuteError> {
        self.0.execute(order, desk)
    }
}

/// One launcher for the whole test program.
pub(crate) fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| Launcher::start().unwrap())
}

/// Components by name: what each needs, and the scripts of its steps; those with `# reusable` in them may go on from
/// an earlier run, `# share` and `# one job` say how they get their jobs, `# memory BYTES` what they need.
#[derive(Default)]
pub(crate) struct Plan(Vec<(String, Vec<String>, Vec<String>)>);

impl Plan {
    pub(crate) fn component(mut self, name: &str, needs: &[&str], scripts: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        self.0.push((name.to_owned(), owned(needs), owned(scripts)));
        self
    }
}

pub(crate) struct Workshop {
    _folder: Option<tempfile::TempDir>,
    pub(crate) store: Store,
    pub(crate) interrupted: AtomicBool,
    pub(crate) isolation: Isolation,
    pub(crate) jobs: usize,
    pub(crate) keep_going: bool,
    pub(crate) memory: u64,
    pub(crate) silence: std::time::Duration,
    ran: Mutex<Vec<String>>,
    warned: Mutex<Vec<String>>,
    damaged: Mutex<Vec<String>>,
    busy: Mutex<Option<(usize, f64, f64)>>,
    reused: AtomicUsize,
    /// Runs the steps in the place of the sandbox of this machine.
    pub(crate) executor: Option<Arc<dyn Executor + Send>>,
    /// What became of patches, by step.
    pub(crate) patched: Mutex<Vec<(String, Vec<PatchReport>)>>,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        Self::with(store, Some(folder))
    }

    /// Opens a store that others may use as well.
    pub(crate) fn at(store: &Path) -> Self {
        Self::with(Store::open(store, "boot").unwrap(), None)
    }

    /// Opens a store that others may use as well, in another boot of the machine.
    pub(crate) fn in_boot(store: &Path, boot: &str) -> Self {
        Self::with(Store::open(store, boot).unwrap(), None)
    }

    /// Gives what was found damaged, and forgets it.
    pub(crate) fn damages(&self) -> Vec<String> {
        std::mem::take(&mut self.damaged.lock().unwrap())
    }

    fn with(store: Store, folder: Option<tempfile::TempDir>) -> Self {
        Self {
            _folder: folder,
            store,
            interrupted: AtomicBool::new(false),
            isolation: Isolation::Full,
            jobs: 2,
            keep_going: false,
            memory: u64::MAX,
            silence: std::time::Duration::ZERO,
            ran: Mutex::default(),
            warned: Mutex::default(),
            damaged: Mutex::default(),
            busy: Mutex::default(),
            reused: AtomicUsize::new(0),
            executor: None,
            patched: Mutex::default(),
        }
    }

    pub(crate) fn graph(&self, plan: &Plan) -> Graph {
        let environment =
            Arc::new(Environment { key: Key([7; 32]), request: Vec::new(), packages: Vec::new() });
        let mut graph = Graph::default();
        for (name, needs, scripts) in &plan.0 {
            let id = ComponentId(u32::try_from(graph.components.len()).unwrap());
            let needs = needs
                .iter()
                .map(|need| Input { component: graph.find(need).unwrap(), output: "main".into() })
                .collect();
            let mut steps = Vec::new();
            for (number, script) in scripts.iter().enumerate() {
                let step = StepId(u32::try_from(graph.steps.len()).unwrap());
                graph.steps.push(Step {
                    component: id,
                    name: format!("step-{number}"),
                    below: steps.last().copied(),
                    work: Work::Script {
                        text: script.clone(),
                        folder: "/build".into(),
                        jobs: match script {
                            share if share.contains("# share") => Jobs::Share,
                            one if one.contains("# one job") => Jobs::One,
                            _ => Jobs::Jobserver,
                        },
                        memory: script
                            .split("# memory ")
                            .nth(1)
                            .map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap()),
                        silence: script.contains("# never silent").then_some(1),
                        flat: script.contains("# flat"),
                    },
                    view: View::All,
                    reuse: script.contains("# reusable").then(|| Reuse {
                        files: vec!["/build/.config".into()],
                        variables: Vec::new(),
                        edits: false,
                    }),

                    checks: Vec::new(),
                    origin: format!("{name}.toml:{number}"),
                });
                steps.push(step);
            }
            graph.components.push(Component {
                name: name.clone(),
                recipe: name.clone(),
                version: "1".into(),
                target: "x86_64".into(),
                origin: format!("{name}.toml"),
                steps,
                needs,
                tools: Vec::new(),
                outputs: Vec::new(),
                environment: Arc::clone(&environment),
                variables: BTreeMap::from([("NAME".to_owned(), name.clone())]),
                files: Vec::new(),
            });
        }
        graph
    }

    pub(crate) fn run(&self, graph: &Graph) -> Result<Results, BuildError> {
        self.with_engine(|engine| engine.run(graph))
    }

    pub(crate) fn clean_check(&self, graph: &Graph) -> Vec<CleanCheck> {
        self.with_engine(|engine| engine.clean_check(graph).unwrap().1)
    }

    /// How many steps went on from an earlier build since this was last asked.
    pub(crate) fn reused(&self) -> usize {
        self.reused.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn with_engine<T>(&self, work: impl FnOnce(&mut Engine<'_>) -> T) -> T {
        let events = |event: Event| {
            let label = match event {
                Event::StepReused { .. } => {
                    self.reused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Event::StepPatched { component, step, patches } => {
                    let label = format!("{component}:{step}");
                    self.patched.lock().unwrap().push((label, patches));
                    return;
                }
                Event::StepFinished { component, step, .. } => format!("{component}:{step}"),
                Event::StepWarned { component, message, .. } => {
                    self.warned.lock().unwrap().push(format!("{component} {message}"));
                    return;
                }
                Event::Damaged { message } => {
                    self.damaged.lock().unwrap().push(message);
                    return;
                }
                Event::StepsEnded { processors, seconds, cpu, .. } => {
                    *self.busy.lock().unwrap() = Some((processors, seconds, cpu));
                    return;
                }
                Event::StepFailed { failure } => format!("{}:{}", failure.component, failure.step),
                _ => return,
            };
            self.ran.lock().unwrap().push(label);
        };
        let mut engine = Engine {
            store: &self.store,
            executor: Some(match &self.executor {
                Some(other) => Box::new(Shared(Arc::clone(other))),
                None => Box::new(Local::new(launcher(), self.isolation)),
            }),
            provision: &HostPrograms,
            checks: &[],
            events: &events,
            interrupted: &self.interrupted,
            settings: Settings {
                jobs: self.jobs,
                memory: self.memory,
                keep_going: self.keep_going,
                reserve: 0,
                isolation: self.isolation,
                reuse: true,
                silence: self.silence,
            },
            hand_made: BTreeMap::new(),
            unpacking: Mutex::new(()),
        };
        work(&mut engine)
    }

    /// The steps that ran, or failed, since this was last asked.
    pub(crate) fn ran(&self) -> Vec<String> {
        std::mem::take(&mut self.ran.lock().unwrap())
    }

    /// The warnings since this was last asked.
    pub(crate) fn warned(&self) -> Vec<String> {
        std::mem::take(&mut self.warned.lock().unwrap())
    }

    /// Processors, seconds and CPU time of the last build.
    pub(crate) fn busy(&self) -> Option<(usize, f64, f64)> {
        self.busy.lock().unwrap().take()
    }

    pub(crate) fn output(&self, result: &ComponentResult, path: &str) -> String {
        let tree = self.store.tree(&result.outputs[0].1).unwrap();
        let Some(TreeNode::File { content, .. }) = tree.get(path.as_bytes()) else {
            panic!("no file {path}")
        };
        String::from_utf8(self.store.read_blob(content).unwrap()).unwrap()
    }
}
