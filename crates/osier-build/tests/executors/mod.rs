//! What every executor has to do, tried with the sandbox of this machine and with one that runs nothing: it has recorded orders and
//! what came of them in another store, and gives that again.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failure of the test"
)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use osier_build::{
    BuildError, Desk, End, ExecuteError, Executed, Executor, Failure, FailureCause, FileInput,
    Graph, Local, Order,
};
use osier_sandbox::Isolation;
use osier_store::Digest;

use crate::workshop::{Plan, Workshop, launcher};

/// How an order ended that was recorded, and the copies of its layer and its log.
struct Known {
    executed: Result<Executed, PathBuf>,
    folder: tempfile::TempDir,
}

/// Records what another executor does, or gives it again.
#[derive(Default)]
struct Recorder {
    known: Mutex<BTreeMap<String, Known>>,
    /// Whether orders that are not known are run at all.
    replays: std::sync::atomic::AtomicBool,
    replayed: AtomicUsize,
}

/// Copies a folder or file as it is, or leaves nothing where nothing is.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--"]).arg(from).arg(to).status().unwrap();
    assert!(copied.success() || !from.exists(), "{}: {:?}", from.display(), copied.signal());
}

impl Executor for Recorder {
    fn execute(&self, order: &Order, desk: &dyn Desk) -> Result<Executed, ExecuteError> {
        let said = format!("{order:?}");
        let store = desk.store().root().display().to_string();
        assert!(!said.contains(&store), "a path of this machine: {said}");
        if self.replays.load(Ordering::Relaxed) {
            let known = self.known.lock().unwrap();
            let known = known.get(&said).unwrap_or_else(|| panic!("another order: {said}"));
            std::fs::remove_dir_all(desk.upper()).unwrap();
            copy(&known.folder.path().join("upper"), desk.upper());
            copy(&known.folder.path().join("log"), desk.log());
            self.replayed.fetch_add(1, Ordering::Relaxed);
            return known.executed.clone().map_err(ExecuteError::NoFolder);
        }
        let executed = Local::new(launcher(), Isolation::Full).execute(order, desk);
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        copy(desk.upper(), &folder.path().join("upper"));
        copy(desk.log(), &folder.path().join("log"));
        let kept = match &executed {
            Ok(executed) => Ok(executed.clone()),
            Err(ExecuteError::NoFolder(place)) => Err(place.clone()),
            Err(error) => panic!("{error}"),
        };
        self.known.lock().unwrap().insert(said, Known { executed: kept, folder });
        executed
    }
}

/// What came of a step, as far as it has to be the same whoever ran it.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Outputs(Vec<(String, Digest)>),
    Failed(String, Option<String>),
}

fn build(shop: &Workshop, graph: &Graph) -> Came {
    match shop.run(graph) {
        Ok(results) => Came::Outputs(results.values().flat_map(|it| it.outputs.clone()).collect()),
        Err(BuildError::Failed(failures)) => {
            let Failure { cause, first_error, .. } = &failures[0];
            Came::Failed(format!("{cause:?}"), first_error.as_ref().map(|line| line.text.clone()))
        }
        Err(error) => panic!("{error}"),
    }
}

/// All that is asked of an executor; gives what came of each build.
fn contract(shop: &Workshop) -> Vec<Came> {
    let mut came = Vec::new();
    // Steps see the layers below, the needs and the files; what one removes is gone for the next.
    let plan = Plan::default()
        .component("leaf", &[], &["mkdir -p $OUTPUT/lib; echo one > $OUTPUT/lib/leaf"])
        .component(
            "top",
            &["leaf"],
            &[
                "echo a > /build/a; echo b > /build/b; mkdir /build/c; echo c > /build/c/c",
                "rm /build/a; rm -r /build/c; mkdir /build/c; cp /proto/lib/leaf /build/leaf",
                "test ! -e /build/a && test ! -e /build/c/c && /files/run > /build/said",
                "mkdir -p $OUTPUT; cp /build/b /build/leaf /build/said $OUTPUT; ln -s b $OUTPUT/link; \
                 chmod 4755 $OUTPUT/b; env > $OUTPUT/env",
            ],
        );
    let mut graph = shop.graph(&plan);
    let script = "#!/bin/sh\necho said\n";
    graph.components[1].files.push(FileInput {
        path: "run".into(),
        content: script.as_bytes().into(),
        origin: "top/run".into(),
        executable: true,
    });
    came.push(build(shop, &graph));
    assert_eq!(shop.ran().len(), 5);
    // A second build runs nothing.
    assert_eq!(build(shop, &graph), came[0]);
    assert_eq!(shop.ran(), [""; 0]);
    // How scripts end is told, with what they said.
    for script in [
        "echo 'x.c:1: error: bad'; exit 7",
        "kill -SEGV $$",
        "sleep 100 & mkdir -p $OUTPUT; echo > $OUTPUT/a",
        ":",
        "echo never; exit 3 # one job",
    ] {
        let plan = Plan::default().component("part", &[], &["echo below > /build/below", script]);
        let graph = shop.graph(&plan);
        came.push(build(shop, &graph));
    }
    let mut graph = shop.graph(&Plan::default().component("lost", &[], &["true"]));
    if let osier_build::Work::Script { folder, .. } = &mut graph.steps[0].work {
        *folder = "/build/nowhere".into();
    }
    came.push(build(shop, &graph));
    came
}

#[test]
fn every_executor_keeps_the_contract() {
    let expected = contract(&Workshop::new());
    assert!(matches!(&expected[0], Came::Outputs(outputs) if outputs.len() == 2), "{expected:?}");
    let error = Some("x.c:1: error: bad".to_owned());
    assert_eq!(expected[1], Came::Failed("Exit { code: 7 }".into(), error));
    let causes = ["Signal { signal: 11 }", "LeftProcesses", "MissingOutput", "Exit { code: 3 }"];
    for (came, cause) in expected[2..].iter().zip(causes) {
        assert!(matches!(came, Came::Failed(said, _) if said.starts_with(cause)), "{came:?}");
    }
    assert!(matches!(&expected[6], Came::Failed(said, _) if said.contains("/build/nowhere")));

    let recorder = Arc::new(Recorder::default());
    let mut shop = Workshop::new();
    shop.executor = Some(Arc::clone(&recorder) as _);
    assert_eq!(contract(&shop), expected);
    // In another store, and without a sandbox.
    recorder.replays.store(true, Ordering::Relaxed);
    let mut shop = Workshop::new();
    shop.executor = Some(Arc::clone(&recorder) as _);
    assert_eq!(contract(&shop), expected);
    let orders = recorder.known.lock().unwrap().len();
    assert_eq!(recorder.replayed.load(Ordering::Relaxed), orders);

    if rustix::process::geteuid().is_root() {
        let mut shop = Workshop::new();
        shop.isolation = Isolation::Degraded;
        assert_eq!(contract(&shop), expected);
    }
}

/// Says that it has run everything, and has not.
struct Liar(Result<End, fn() -> ExecuteError>);

impl Executor for Liar {
    fn execute(&self, _: &Order, desk: &dyn Desk) -> Result<Executed, ExecuteError> {
        desk.ended(std::time::Duration::ZERO);
        let end = self.0.clone().map_err(|error| error())?;
        Ok(Executed { end, cpu: std::time::Duration::ZERO })
    }
}

#[test]
fn what_an_executor_says_is_told_as_the_cause() {
    type Said = Result<End, fn() -> ExecuteError>;
    type Expected = fn(&FailureCause) -> bool;
    let machine = || ExecuteError::Machine("the other machine is gone".into());
    let cases: [(Said, Expected); 6] = [
        // Nothing was installed.
        (Ok(End::Code(0)), |cause| matches!(cause, FailureCause::MissingOutput { .. })),
        (Ok(End::OutOfMemory), |cause| matches!(cause, FailureCause::OutOfMemory { .. })),
        (
            Ok(End::TooManyProcesses),
            |cause| matches!(cause, FailureCause::TooManyProcesses { limit } if *limit > 1000),
        ),
        (Ok(End::Silent), |cause| matches!(cause, FailureCause::Silent { .. })),
        (Ok(End::Signal(9)), |cause| *cause == FailureCause::Signal { signal: 9 }),
        (
            Err(machine),
            |cause| matches!(cause, FailureCause::Machine { message } if message == "the other machine is gone"),
        ),
    ];
    for (said, expected) in cases {
        let mut shop = Workshop::new();
        shop.executor = Some(Arc::new(Liar(said)));
        let graph = shop.graph(&Plan::default().component("part", &[], &["true"]));
        let BuildError::Failed(failures) = shop.run(&graph).unwrap_err() else { panic!() };
        assert!(expected(&failures[0].cause), "{:?}", failures[0].cause);
        assert_eq!(failures[0].first_error, None);
    }
}
