//! The engine with the real sandbox, on small components.

mod damage;
mod editing;
mod executors;
mod jobs;
mod limits;
mod numbers;
mod patching;
mod planned;
mod planner;
mod reasons;
mod recipes;
mod workshop;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use std::sync::atomic::Ordering;

use osier_build::{BuildError, FailureCause};
use osier_sandbox::Isolation;
use osier_store::{Digest, TreeNode};
use workshop::{Plan, Workshop};

#[test]
fn outputs_are_stored_and_a_second_build_runs_nothing() {
    let shop = Workshop::new();
    let plan = Plan::default()
        .component("leaf", &[], &["mkdir -p $OUTPUT/lib; echo one > $OUTPUT/lib/leaf"])
        .component(
            "top",
            &["leaf"],
            &[
                "cp /proto/lib/leaf /build/seen",
                "mkdir -p $OUTPUT; cat /build/seen /build/seen > $OUTPUT/top",
            ],
        );
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    assert_eq!(shop.ran(), ["leaf:step-0", "top:step-0", "top:step-1"]);
    let top = graph.find("top").unwrap();
    assert_eq!(shop.output(&results[&top], "top"), "one\none\n");
    let again = shop.run(&shop.graph(&plan)).unwrap();
    assert_eq!(shop.ran(), [""; 0]);
    assert_eq!(again[&top].outputs, results[&top].outputs);
}

#[test]
fn a_build_can_end_with_a_step_of_a_component() {
    let shop = Workshop::new();
    let plan = Plan::default()
        .component("leaf", &[], &["mkdir -p $OUTPUT; echo one > $OUTPUT/leaf"])
        .component("top", &["leaf"], &["cp /proto/leaf /build/a", "exit 1"]);
    let mut graph = shop.graph(&plan);
    let top = graph.find("top").unwrap();
    graph.until = graph.find_step(top, "step-0");
    let results = shop.run(&graph).unwrap();
    assert_eq!(shop.ran(), ["leaf:step-0", "top:step-0"]);
    assert!(results.contains_key(&graph.find("leaf").unwrap()) && !results.contains_key(&top));
    shop.run(&graph).unwrap();
    assert_eq!(shop.ran(), [""; 0]);
}

#[test]
fn an_unchanged_output_stops_the_rebuild() {
    let shop = Workshop::new();
    let plan = |leaf: &str| {
        Plan::default()
            .component(
                "leaf",
                &[],
                &[&format!("mkdir -p $OUTPUT; echo one > $OUTPUT/leaf; {leaf}")],
            )
            .component("top", &["leaf"], &["mkdir -p $OUTPUT; cp /proto/leaf $OUTPUT/top"])
    };
    shop.run(&shop.graph(&plan(":"))).unwrap();
    shop.ran();
    shop.run(&shop.graph(&plan(": another way to the same bytes"))).unwrap();
    assert_eq!(shop.ran(), ["leaf:step-0"]);
    shop.run(&shop.graph(&plan("echo two > $OUTPUT/leaf"))).unwrap();
    assert_eq!(shop.ran(), ["leaf:step-0", "top:step-0"]);
}

#[test]
fn a_failed_step_is_kept_and_the_next_build_starts_from_the_clean_layer_below() {
    let shop = Workshop::new();
    let plan = |second: &str| {
        Plan::default().component(
            "part",
            &[],
            &["echo first > /build/a", second, "mkdir -p $OUTPUT; cp /build/a $OUTPUT/a"],
        )
    };
    let bad = "echo dirt > /build/dirt; echo 'x.c:1: error: bad' >&2; false";
    let error = shop.run(&shop.graph(&plan(bad))).unwrap_err();
    let BuildError::Failed(failures) = error else { panic!("{error:?}") };
    let failure = &failures[0];
    assert_eq!(failure.cause, FailureCause::Exit { code: 1 });
    assert_eq!(failure.first_error.as_ref().unwrap().text, "x.c:1: error: bad");
    assert_eq!(failure.command.as_deref(), Some("false"));
    assert!(failure.layer_kept);
    let kept = shop.store.failed_path(&failure.key.parse().unwrap());
    assert_eq!(std::fs::read_to_string(kept.join("upper/build/dirt")).unwrap(), "dirt\n");
    assert_eq!(osier_build::kept_failures(&shop.store).unwrap().len(), 1);
    shop.ran();
    // Never cached as a result: the same build fails again, at the same step only.
    shop.run(&shop.graph(&plan(bad))).unwrap_err();
    assert_eq!(shop.ran(), ["part:step-1"]);
    shop.run(&shop.graph(&plan("test ! -e /build/dirt; echo second >> /build/a"))).unwrap();
    assert_eq!(shop.ran(), ["part:step-1", "part:step-2"]);
}

#[test]
fn a_layer_that_is_gone_from_the_middle_of_a_stack_is_made_again_first() {
    let shop = Workshop::new();
    let plan = |last: &str| {
        let first = "sleep 0.3; mkdir -p $OUTPUT; echo one > $OUTPUT/one; echo a > /build/a";
        let last = format!("cp /build/a /build/b $OUTPUT; : {last}");
        Plan::default().component("part", &[], &[first, "echo b > /build/b", &last])
    };
    let graph = shop.graph(&plan(""));
    shop.run(&graph).unwrap();
    let layers = || std::fs::read_dir(shop.store.root().join("layers")).unwrap();
    let lose_first = || {
        let first =
            layers().find(|layer| layer.as_ref().unwrap().path().join("output/one").exists());
        osier_store::remove_tree(&first.unwrap().unwrap().path()).unwrap();
    };
    let paths = |plan: &Plan| {
        let graph = shop.graph(plan);
        let results = shop.run(&graph).unwrap();
        let tree = shop.store.tree(&results.values().next().unwrap().outputs[0].1).unwrap();
        tree.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect::<Vec<_>>()
    };
    shop.ran();
    // The step above the one that is there has to run.
    lose_first();
    assert_eq!(paths(&plan("changed")), ["a", "b", "one"]);
    assert_eq!(shop.ran(), ["part:step-0", "part:step-2"]);
    // Only the output has to be taken.
    lose_first();
    let keys: Vec<_> = shop.store.index().results().map(|(key, _)| key).collect();
    for key in keys {
        let layers: Vec<_> = shop.store.index().layer_keys().collect();
        shop.store.index().append(osier_store::Record::Forget(key)).unwrap();
        for layer in layers {
            shop.store.index().append(osier_store::Record::Layer(layer, Vec::new())).unwrap();
        }
    }
    assert_eq!(paths(&plan("changed")), ["a", "b", "one"]);
    assert_eq!(shop.ran(), ["part:step-0"]);
}

#[test]
fn steps_see_only_what_is_declared() {
    let shop = Workshop::new();
    let secret = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let script = format!(
        "test ! -e {} && test ! -e /proto/lib && test $(id -u) = 0 && test \"$(hostname)\" = osier && test -z \"${{CARGO_MANIFEST_DIR-}}\" && mkdir -p $OUTPUT && env > $OUTPUT/env",
        secret.path().display()
    );
    let plan = Plan::default()
        .component("leaf", &[], &["mkdir -p $OUTPUT/lib; echo one > $OUTPUT/lib/leaf"])
        .component("top", &[], &[&script]);
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    let environment = shop.output(&results[&graph.find("top").unwrap()], "env");
    let mut names: Vec<&str> =
        environment.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    let expected = [
        "FILES",
        "GOMAXPROCS",
        "HOME",
        "LC_ALL",
        "LOGNAME",
        "MAKEFLAGS",
        "NAME",
        "OMP_NUM_THREADS",
        "OUTPUT",
        "PATH",
        "PROTO",
        "PWD",
        "SHELL",
        "SOURCE_DATE_EPOCH",
        "TZ",
        "USER",
    ];
    assert_eq!(names, expected);
}

#[test]
fn steps_that_misbehave_are_failures_with_a_cause() {
    type Expected = fn(&FailureCause) -> bool;
    let cases: &[(&str, &str, Expected)] = &[
        ("S001", "exit 7", |cause| *cause == FailureCause::Exit { code: 7 }),
        ("S002", "kill -SEGV $$", |cause| *cause == FailureCause::Signal { signal: 11 }),
        (
            "S003",
            "sleep 100 & mkdir -p $OUTPUT; echo > $OUTPUT/a",
            |cause| matches!(cause, FailureCause::LeftProcesses { names } if names == &["sleep"]),
        ),
        ("S005", ":", |cause| matches!(cause, FailureCause::MissingOutput { .. })),
        (
            "S005",
            "mkdir -p $OUTPUT; mkfifo $OUTPUT/pipe",
            |cause| matches!(cause, FailureCause::MissingOutput { message } if message.contains("pipe")),
        ),
    ];
    for (code, script, expected) in cases {
        let shop = Workshop::new();
        let error =
            shop.run(&shop.graph(&Plan::default().component("part", &[], &[script]))).unwrap_err();
        let BuildError::Failed(failures) = error else { panic!("{error:?}") };
        assert!(expected(&failures[0].cause), "{script}: {:?}", failures[0].cause);
        assert_eq!(failures[0].cause.code(), *code);
    }
}

#[test]
fn a_failure_is_shown_whatever_bytes_the_step_printed() {
    let shop = Workshop::new();
    let script = "printf 'before \\377\\n'; printf 'x.c:1: error: \\376\\200\\n' >&2; exit 1";
    let error =
        shop.run(&shop.graph(&Plan::default().component("part", &[], &[script]))).unwrap_err();
    let BuildError::Failed(failures) = error else { panic!("{error:?}") };
    let first = failures[0].first_error.as_ref().unwrap();
    assert_eq!(first.text, "x.c:1: error: \u{fffd}\u{fffd}");
    assert!(failures[0].last_lines.iter().any(|line| line.starts_with("before ")));
    // The log itself keeps the bytes as they were.
    let log = std::fs::read(failures[0].log.as_ref().unwrap()).unwrap();
    assert!(log.windows(3).any(|bytes| bytes == b"\xfe\x80\n"));
}

#[test]
fn a_gigabyte_of_output_does_not_fill_the_disk() {
    let shop = Workshop::new();
    let script =
        "mkdir -p $OUTPUT; echo > $OUTPUT/a; head -c 1000000000 /dev/zero; printf 'the \\377 end'";
    let graph = shop.graph(&Plan::default().component("part", &[], &[script]));
    let results = shop.run(&graph).unwrap();
    let log = shop.store.log_path(&results.values().next().unwrap().key);
    let bytes = std::fs::read(log).unwrap();
    assert!(bytes.len() < 70 << 20, "{}", bytes.len());
    assert!(bytes.ends_with(b"the \xff end"));
}

#[test]
fn damaged_blobs_are_made_again() {
    let shop = Workshop::new();
    let plan = |top: &str| {
        Plan::default()
            .component("leaf", &[], &["mkdir -p $OUTPUT; echo one > $OUTPUT/leaf"])
            .component(
                "top",
                &["leaf"],
                &[&format!("mkdir -p $OUTPUT; cp /proto/leaf $OUTPUT/{top}")],
            )
    };
    let graph = shop.graph(&plan("a"));
    let results = shop.run(&graph).unwrap();
    shop.ran();
    let leaf = results[&graph.find("leaf").unwrap()].outputs[0].1;
    let tree = shop.store.tree(&leaf).unwrap();
    let Some(osier_store::TreeNode::File { content, .. }) = tree.get(b"leaf") else { panic!() };
    std::fs::write(shop.store.blob_path(content), "evil").unwrap();
    osier_store::remove_tree(&shop.store.root().join("areas").join(leaf.to_string())).unwrap();
    let graph = shop.graph(&plan("b"));
    let results = shop.run(&graph).unwrap();
    assert_eq!(shop.output(&results[&graph.find("top").unwrap()], "b"), "one\n");
}

#[test]
fn an_interrupted_build_goes_on_later() {
    let shop = Workshop::new();
    let plan = Plan::default().component(
        "part",
        &[],
        &["echo a > /build/a", "sleep 2; mkdir -p $OUTPUT; cp /build/a $OUTPUT"],
    );
    let graph = shop.graph(&plan);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut ran = Vec::new();
            while ran.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(10));
                ran = shop.ran();
            }
            shop.interrupted.store(true, Ordering::Relaxed);
            assert_eq!(ran, ["part:step-0"]);
        });
        assert!(matches!(shop.run(&graph), Err(BuildError::Interrupted)));
    });
    shop.interrupted.store(false, Ordering::Relaxed);
    assert_eq!(shop.ran(), [""; 0]);
    assert!(shop.store.root().join("work").read_dir().unwrap().next().is_none());
    shop.run(&graph).unwrap();
    assert_eq!(shop.ran(), ["part:step-1"]);
}

#[test]
fn named_outputs_split_what_is_installed() {
    let shop = Workshop::new();
    let plan = Plan::default().component(
        "lib",
        &[],
        &["mkdir -p $OUTPUT/usr/include $OUTPUT/usr/lib; echo h > $OUTPUT/usr/include/a.h; echo so > $OUTPUT/usr/lib/a.so"],
    );
    let mut graph = shop.graph(&plan);
    let named =
        |pattern: &str| osier_build::Output { name: "dev".into(), patterns: vec![pattern.into()] };
    graph.components[0].outputs = vec![named("usr/include/**")];
    let results = shop.run(&graph).unwrap();
    let outputs = &results.values().next().unwrap().outputs;
    assert_eq!(outputs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["main", "dev"]);
    let dev = shop.store.tree(&outputs[1].1).unwrap();
    let paths: Vec<_> =
        dev.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(paths, ["usr", "usr/include", "usr/include/a.h"]);
    assert_eq!(shop.ran(), ["lib:step-0"]);
    // Another split takes the outputs anew and runs nothing.
    graph.components[0].outputs = vec![named("usr/lib/**")];
    let why = |graph: &osier_build::Graph| {
        let id = osier_build::ComponentId(0);
        shop.with_engine(|engine| engine.why(graph, id, &|_| osier_build::Places::default()))
    };
    assert_eq!(
        why(&graph).to_string(),
        "lib is built again because the named output dev changed, from `usr/include/**` to `usr/lib/**` (lib.toml)"
    );
    let other = shop.run(&graph).unwrap();
    assert_eq!(shop.ran(), [""; 0]);
    let dev = shop.store.tree(&other.values().next().unwrap().outputs[1].1).unwrap();
    assert!(dev.get(b"usr/lib/a.so").is_some() && dev.get(b"usr/include").is_none());
    // Both splits are remembered, and so is the result of each.
    graph.components[0].outputs = vec![named("usr/include/**")];
    assert!(matches!(why(&graph), osier_build::Reason::Unchanged { .. }));
    graph.components[0].outputs = vec![named("nothing/**")];
    let error = shop.run(&graph).unwrap_err();
    assert!(
        matches!(error, BuildError::Failed(failures) if matches!(failures[0].cause, FailureCause::MissingOutput { .. }))
    );
}

/// A component whose second step looks at times as make does.
fn configured(config: &str, tool: &str, build: &str) -> Plan {
    Plan::default().component(
        "part",
        &[],
        &[
            &format!("echo {config} > /build/.config; echo {tool} > /build/tool"),
            &format!("# reusable\ncd /build; echo run >> runs; {build}"),
            "mkdir -p $OUTPUT; cp /build/object $OUTPUT/object; cp /build/runs /build/seen",
        ],
    )
}

/// Makes the object when its configuration is newer.
const LIKE_MAKE: &str =
    "if [ ! -e object ] || [ .config -nt object ]; then cat .config > object; fi";

#[test]
fn a_step_goes_on_from_an_earlier_build_when_only_named_files_differ() {
    let shop = Workshop::new();
    let built = |config, tool| {
        let graph = shop.graph(&configured(config, tool, LIKE_MAKE));
        let results = shop.run(&graph).unwrap();
        let result = results[&graph.find("part").unwrap()].clone();
        (shop.output(&result, "object"), result.reused, shop.reused())
    };
    let clean = |text: &str| (text.to_owned(), false, 0);
    assert_eq!(built("A", "x"), clean("A\n"));
    assert_eq!(built("B", "x"), ("B\n".to_owned(), true, 1));
    assert_eq!(built("C", "x"), ("C\n".to_owned(), true, 1));
    // The step below left something else too: nothing is taken over.
    assert_eq!(built("D", "y"), clean("D\n"));
    // The mark stays with the result, and the clean check takes it off.
    assert_eq!(built("C", "x"), ("C\n".to_owned(), true, 0));
    let graph = shop.graph(&configured("C", "x", LIKE_MAKE));
    {
        // Never under the feet of another osier.
        let other = Workshop::at(shop.store.root());
        other.run(&graph).unwrap();
        let error = shop.with_engine(|engine| engine.clean_check(&graph).unwrap_err());
        assert!(matches!(error, BuildError::InUse), "{error}");
    }
    let checks = shop.clean_check(&graph);
    assert_eq!(checks.len(), 1);
    assert_eq!(checks[0].differences, [""; 0]);
    assert_eq!(built("C", "x"), clean("C\n"));
    assert!(shop.clean_check(&graph).is_empty());
}

#[test]
fn a_step_that_does_not_notice_the_change_is_found_by_the_clean_check() {
    let shop = Workshop::new();
    let plan = |config| configured(config, "x", "[ -e object ] || cat .config > object");
    shop.run(&shop.graph(&plan("A"))).unwrap();
    let graph = shop.graph(&plan("B"));
    let part = graph.find("part").unwrap();
    assert_eq!(shop.output(&shop.run(&graph).unwrap()[&part], "object"), "A\n");
    let checks = shop.clean_check(&graph);
    assert_eq!(checks[0].differences, ["main:object"]);
    assert_eq!(shop.output(&shop.run(&graph).unwrap()[&part], "object"), "B\n");
}

#[test]
fn a_step_that_cannot_go_on_is_run_clean() {
    let shop = Workshop::new();
    let plan = |config| configured(config, "x", "[ ! -e object ]; cat .config > object");
    shop.run(&shop.graph(&plan("A"))).unwrap();
    let graph = shop.graph(&plan("B"));
    let result = shop.run(&graph).unwrap()[&graph.find("part").unwrap()].clone();
    assert_eq!((shop.output(&result, "object").as_str(), result.reused), ("B\n", false));
    assert_eq!(shop.reused(), 1);
    assert!(osier_build::kept_failures(&shop.store).unwrap().is_empty());
}

#[test]
fn the_degraded_mode_gives_the_same_outputs_as_the_full_one() {
    let plan = || {
        Plan::default()
            .component("leaf", &[], &["mkdir -p $OUTPUT/lib; echo one > $OUTPUT/lib/leaf"])
            .component(
                "top",
                &["leaf"],
                &[
                    "mkdir /build/many; echo a > /build/many/a; echo b > /build/many/b; ln -s a /build/many/link",
                    "cat /proto/lib/leaf >> /build/many/a; rm /build/many/b; touch /usr/lib/added",
                    "test ! -e /build/many/b; test -e /usr/lib/added; mkdir -p $OUTPUT; cp -a /build/many $OUTPUT/; id -u > $OUTPUT/user",
                ],
            )
    };
    let full = Workshop::new();
    let wanted = full.run(&full.graph(&plan())).unwrap();
    let mut degraded = Workshop::new();
    degraded.isolation = Isolation::Degraded;
    let graph = degraded.graph(&plan());
    let result = degraded.run(&graph);
    if !rustix::process::geteuid().is_root() {
        // Only root may change the root folder without namespaces; nobody else gets half of it.
        let BuildError::Failed(failures) = result.unwrap_err() else { panic!() };
        assert!(matches!(failures[0].cause, FailureCause::Machine { .. }), "{failures:?}");
        return;
    }
    let result = result.unwrap();
    for name in ["leaf", "top"] {
        let id = graph.find(name).unwrap();
        assert_eq!(result[&id].outputs, wanted[&id].outputs, "{name}");
    }
    // A failed step's layer is kept here too, and the next build starts from the clean one below.
    let broken =
        |second: &str| Plan::default().component("part", &[], &["echo first > /build/a", second]);
    degraded.run(&degraded.graph(&broken("echo dirt > /build/dirt; false"))).unwrap_err();
    let fixed = broken("test ! -e /build/dirt; mkdir -p $OUTPUT; cp /build/a $OUTPUT/");
    degraded.ran();
    degraded.run(&degraded.graph(&fixed)).unwrap();
    assert_eq!(degraded.ran(), ["part:step-1"]);
}

/// Components that share what they read and some of what they install, so that builds hit each other's results.
fn shared_parts(round: usize) -> Plan {
    let leaf =
        format!("mkdir -p $OUTPUT; echo same > $OUTPUT/same; echo {} > $OUTPUT/leaf", round % 2);
    Plan::default()
        .component("leaf", &[], &["echo below > /build/below", &leaf])
        .component("middle", &["leaf"], &["mkdir -p $OUTPUT; cp /proto/same $OUTPUT/middle"])
        .component(
            "top",
            &["leaf", "middle"],
            &[
                "cat /proto/leaf /proto/middle > /build/seen",
                &format!("mkdir -p $OUTPUT; cp /build/seen $OUTPUT/top; : {}", round % 3),
            ],
        )
}

#[test]
#[ignore = "one of the processes of gc_beside_builds_takes_nothing_that_they_use"]
fn builds_in_a_loop() {
    let store = std::env::var_os("GC_TEST_STORE").unwrap();
    for round in 0..12 {
        let shop = Workshop::at(Path::new(&store));
        let plan = shared_parts(round + std::process::id() as usize);
        let graph = shop.graph(&plan);
        let results = shop.run(&graph).unwrap();
        let leaf = (round + std::process::id() as usize) % 2;
        let top = shop.output(&results[&graph.find("top").unwrap()], "top");
        assert_eq!(top, format!("{leaf}\nsame\n"));
        // Everything that a result names is there as long as the process that got it lives.
        for result in results.values() {
            for (_, node) in shop.store.tree(&result.outputs[0].1).unwrap().iter() {
                if let osier_store::TreeNode::File { content, .. } = node {
                    shop.store.read_blob(content).unwrap();
                }
            }
        }
    }
}

#[test]
fn gc_beside_builds_takes_nothing_that_they_use() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let store = folder.path().join("store");
    let shop = Workshop::at(&store);
    let mut builders: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "builds_in_a_loop"])
                .env("GC_TEST_STORE", &store)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let everything = osier_store::GcLimits { age: None, size: Some(0), reserve: 0 };
    let (mut removed, mut spared) = (0, 0);
    while builders.iter_mut().any(|builder| builder.try_wait().unwrap().is_none()) {
        let report = shop.store.gc(everything, SystemTime::now()).unwrap();
        removed += report.removed;
        spared += report.spared;
    }
    for builder in builders {
        let output = builder.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "{text}");
    }
    assert!(removed > 0 && spared > 0, "{removed} removed, {spared} spared");
    assert_eq!(shop.store.gc(everything, SystemTime::now()).unwrap().after, 0);
}

#[test]
#[ignore = "needs root; `cargo xtask test` runs it"]
fn as_an_ordinary_user() {
    const NOBODY: u32 = 65534;
    // The build folder may be out of that user's reach.
    let scratch = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = scratch.path().join("tests");
    // By another process: one that is open for writing cannot be executed, and forks of other tests hold it open for moments.
    let mut install = Command::new("install");
    install.args(["-m", "755"]).arg(std::env::current_exe().unwrap()).arg(&program);
    assert!(install.status().unwrap().success());
    let output = Command::new(&program)
        .args(["--skip", "as_an_ordinary_user"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/tmp")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test result: ok.") && !text.contains(" 0 passed"), "{text}");
}

/// Counts the lines by which the kernel complains of a layer that is stacked while it can still be written; needs a log that can be read.
fn complaints(log: &mut std::fs::File) -> usize {
    use std::io::Read;
    let mut count = 0;
    let mut line = [0; 8192];
    loop {
        match log.read(&mut line) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&line[..length]);
                count += usize::from(text.contains("lowerdir is in-use as upperdir"));
            }
            // Lines were overwritten before they were read.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(_) => return count,
        }
    }
}

#[test]
fn a_layer_is_stacked_only_when_nothing_can_write_it_any_more() {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let log = std::fs::File::options().read(true).custom_flags(flags).open("/dev/kmsg");
    // Only root can read it, and not in every container.
    let Ok(mut log) = log else { return };
    let shop = Workshop::new();
    let mut steps = vec!["touch /build/x$$"; 20];
    steps.push("mkdir -p $OUTPUT; ls /build > $OUTPUT/x");
    // Other builds and tests on this machine write into the same log, but not a line for each of these steps, time and again.
    let quiet = (0..5).any(|round| {
        let _ = complaints(&mut log);
        let plan = Plan::default().component(&format!("part{round}"), &[], &steps);
        shop.run(&shop.graph(&plan)).unwrap();
        complaints(&mut log) < 10
    });
    assert!(quiet);
}

#[test]
fn changes_of_owner_do_not_stop_a_step() {
    let mut shop = Workshop::new();
    let script = "cd /build; echo x > a; tar cf a.tar --owner=joe:1234 --group=jim:4321 a; rm a; tar xf a.tar; chown 7:8 a; chgrp 9 a;
        install -o 1000 -g 1000 -m 4755 a b; cp -a b c; tar xpf a.tar --same-owner;
        mkdir -p $OUTPUT; stat -c '%n %u %g %a' a b c > $OUTPUT/owners";
    let mut isolations = vec![Isolation::Full];
    if rustix::process::geteuid().is_root() {
        isolations.push(Isolation::Degraded);
    }
    for isolation in isolations {
        shop.isolation = isolation;
        let plan = Plan::default().component(&format!("{isolation:?}"), &[], &[script]);
        let graph = shop.graph(&plan);
        let results = shop.run(&graph).unwrap();
        let id = graph.find(&format!("{isolation:?}")).unwrap();
        assert_eq!(
            shop.output(&results[&id], "owners"),
            "a 0 0 644\nb 0 0 4755\nc 0 0 4755\n",
            "{isolation:?}"
        );
    }
}

/// A tree of one text, at paths with these modes; folders end with a slash.
fn tree(entries: &[(&str, u32)]) -> Digest {
    let mut tree = osier_store::Tree::default();
    for (path, mode) in entries {
        let (mode, content) = (*mode, Digest::of(b"text\n"));
        let node = match path.ends_with('/') {
            true => TreeNode::Folder { mode },
            false => TreeNode::File { mode, content, size: 5, hard_link: None },
        };
        tree.insert(path.trim_end_matches('/').as_bytes().to_vec(), node);
    }
    tree.digest()
}

/// Run by an ordinary user as well, see `as_an_ordinary_user`.
#[test]
fn what_its_owner_may_not_read_is_delivered_as_it_is() {
    let mut shop = Workshop::new();
    let install = "cd $OUTPUT; mkdir -p closed/inner listed; for file in secret written run closed/inner/file listed/file; do \
                   echo text > $file; done; chmod 0 secret closed/inner/file; chmod 200 written; chmod 4111 run; \
                   chmod 400 listed; chmod 0 closed/inner closed; mkdir -p /build/closed/in /build/listed/in; \
                   chmod 0 /build/closed; chmod 400 /build/listed";
    let expected = [
        ("closed/", 0),
        ("closed/inner/", 0),
        ("closed/inner/file", 0),
        ("listed/", 0o400),
        ("listed/file", 0o644),
        ("run", 0o4111),
        ("secret", 0),
        ("written", 0o200),
    ];
    let changed = expected.map(|(path, mode)| (path, if path == "secret" { 0o640 } else { mode }));
    let mut isolations = vec![Isolation::Full];
    if rustix::process::geteuid().is_root() {
        isolations.push(Isolation::Degraded);
    }
    for isolation in isolations {
        shop.isolation = isolation;
        let [one, two, user] = ["one", "two", "user"].map(|name| format!("{name}{isolation:?}"));
        // Without /proc cp cannot set the mode of a folder that it may not write.
        let copy = match isolation {
            Isolation::Full => "mkdir -p $OUTPUT; cp -a /proto/. $OUTPUT",
            Isolation::Degraded => "mkdir -p $OUTPUT; touch $OUTPUT/x",
        };
        let later = "test $(cat $OUTPUT/closed/inner/file) = text; chmod 640 $OUTPUT/secret";
        let plan = Plan::default()
            .component(&one, &[], &["mkdir -p $OUTPUT", install, "true"])
            .component(&two, &[], &["mkdir -p $OUTPUT", install, later])
            .component(&user, &[&one], &["cat /proto/secret /proto/closed/inner/file", copy]);
        let graph = shop.graph(&plan);
        let results = shop.run(&graph).unwrap();
        let made = |name: &str| results[&graph.find(name).unwrap()].outputs[0].1;
        assert_eq!(made(&one), tree(&expected), "{isolation:?}");
        assert_eq!(made(&two), tree(&changed), "{isolation:?}");
        if isolation == Isolation::Full {
            assert_eq!(made(&user), tree(&expected));
        }
    }
    assert!(shop.store.verify().unwrap().damages.is_empty());
    let all = osier_store::GcLimits { age: None, size: Some(0), reserve: 0 };
    assert_eq!(shop.store.gc(all, SystemTime::now()).unwrap().after, 0);
}

#[test]
fn an_output_that_is_too_deep_is_refused_and_the_store_stays_usable() {
    let shop = Workshop::new();
    let deep = |count: usize| {
        format!(
            "mkdir -p $OUTPUT; cd $OUTPUT; perl -e 'for (1..{count}) {{ mkdir \"d\"; chdir \"d\" or die }}; open F, \">file\"'"
        )
    };
    let build = |name: &str, count: usize| {
        let plan = Plan::default().component(name, &[], &[&deep(count), "true"]);
        let graph = shop.graph(&plan);
        shop.run(&graph).map(|results| results[&graph.find(name).unwrap()].outputs[0].1)
    };
    // Where a path of the tree is one for the kernel, wherever the store lies, all goes well.
    let digest = build("fits", 1500).unwrap();
    assert_eq!(shop.store.tree(&digest).unwrap().iter().count(), 1501);
    shop.store.area(&digest, 0).unwrap();
    for (name, count) in [("deep", 1900), ("deeper", 5000)] {
        let error = build(name, count).unwrap_err();
        let BuildError::Failed(failures) = error else { panic!("{error:?}") };
        let (code, said) = (failures[0].cause.code(), failures[0].cause.summary());
        assert!(code == "S005" && said.contains("but at most 3072 are possible"), "{code} {said}");
    }
    build("after", 1).unwrap();
    let all = osier_store::GcLimits { age: None, size: Some(0), reserve: 0 };
    assert_eq!(shop.store.gc(all, SystemTime::now()).unwrap().after, 0);
    assert!(shop.store.remove_all().unwrap().is_some() && !shop.store.root().exists());
}

#[test]
fn what_no_step_can_do_comes_with_a_hint() {
    let shop = Workshop::new();
    let plan =
        Plan::default().component("part", &[], &["mkdir /build/a", "mknod /build/null c 1 3"]);
    let error = shop.run(&shop.graph(&plan)).unwrap_err();
    let BuildError::Failed(failures) = error else { panic!("{error:?}") };
    assert!(failures[0].hint.as_ref().unwrap().contains("manifest"), "{failures:?}");
}

#[test]
fn a_flat_step_renames_what_earlier_steps_made() {
    let mut shop = Workshop::new();
    let first = "mkdir -p /build/a/b $OUTPUT/lib64; echo x > /build/a/b/file; ln /build/a/b/file /build/a/same; echo y > /build/gone; \
                 chmod 750 /build/a; echo z > $OUTPUT/lib64/z";
    let rename = "rm /build/gone; perl -e 'rename(\"/build/a\", \"/build/c\") or die \"a: $!\"; \
                  rename(\"$ENV{OUTPUT}/lib64\", \"$ENV{OUTPUT}/lib\") or die \"lib64: $!\"'";
    let last = "cd /build; stat -c '%n %h %a' c c/b/file > $OUTPUT/seen; ls >> $OUTPUT/seen; cat $OUTPUT/lib/z >> $OUTPUT/seen";
    let plan = |flat: &str| {
        Plan::default().component("part", &[], &[first, &format!("{rename} {flat}"), last])
    };
    let BuildError::Failed(failures) = shop.run(&shop.graph(&plan(""))).unwrap_err() else {
        panic!("the kernel renames folders of lower layers")
    };
    assert!(failures[0].hint.as_ref().unwrap().contains("flat = true"), "{failures:?}");
    let mut isolations = vec![Isolation::Full];
    if rustix::process::geteuid().is_root() {
        isolations.push(Isolation::Degraded);
    }
    for isolation in isolations {
        shop = Workshop::new();
        shop.isolation = isolation;
        let results = shop.run(&shop.graph(&plan("# flat"))).unwrap();
        let seen = shop.output(results.values().next().unwrap(), "seen");
        let links = if isolation == Isolation::Full { 2 } else { 1 };
        assert_eq!(seen, format!("c 3 750\nc/b/file {links} 644\nc\nz\n"), "{isolation:?}");
    }
}
