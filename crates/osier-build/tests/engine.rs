//! The engine with the real sandbox, on small components.

mod workshop;

use std::sync::atomic::Ordering;

use osier_build::{BuildError, FailureCause};
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
        "HOME",
        "JOBS",
        "LC_ALL",
        "LOGNAME",
        "MAKEFLAGS",
        "NAME",
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
            std::thread::sleep(std::time::Duration::from_millis(700));
            shop.interrupted.store(true, Ordering::Relaxed);
        });
        assert!(matches!(shop.run(&graph), Err(BuildError::Interrupted)));
    });
    shop.interrupted.store(false, Ordering::Relaxed);
    assert_eq!(shop.ran(), ["part:step-0"]);
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
    graph.components[0].outputs = vec![named("nothing/**")];
    let error = shop.run(&graph).unwrap_err();
    assert!(
        matches!(error, BuildError::Failed(failures) if matches!(failures[0].cause, FailureCause::MissingOutput { .. }))
    );
}
