//! Steps that take more of the machine than they may.
#![allow(clippy::unwrap_used)] // also in functions that are not tests themselves

use std::time::{Duration, Instant};

use osier_build::{BuildError, Failure, FailureCause};
use osier_sandbox::{Feature, Isolation, Outcome};

use crate::workshop::{Plan, Workshop};

fn failure(shop: &Workshop, script: &str) -> Failure {
    let plan = Plan::default().component("part", &[], &[script]);
    match shop.run(&shop.graph(&plan)).unwrap_err() {
        BuildError::Failed(mut failures) => failures.remove(0),
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_step_that_takes_too_much_memory_is_told_so() {
    let mut shop = Workshop::new();
    shop.memory = osier_build::machine_memory();
    let scratch = tempfile::tempdir().unwrap();
    let plan = Plan::default().component(
        "part",
        &[],
        &["head -c 20M /dev/zero > /tmp/x; mkdir -p $OUTPUT; touch $OUTPUT/x # memory 67108864"],
    );
    let limit = Some(64 << 20);
    if let Outcome::Missing { reason, .. } =
        osier_sandbox::probe(scratch.path()).outcome(Feature::MemoryLimit)
    {
        // The machine gives this user no limit: the doctor says so, and steps with a limit run without it.
        assert!(!reason.advice().is_empty());
        shop.run(&shop.graph(&plan)).unwrap();
        return;
    }
    for script in [
        // What ends is the shell's child, and the shell says just so.
        "head -c 200M /dev/zero > /tmp/large; : # memory 67108864",
        "exec perl -e '$x = \"x\" x (200 << 20); print length $x' # memory 67108864",
        // However well it ends.
        "head -c 200M /dev/zero > /tmp/large || mkdir -p $OUTPUT; : # memory 67108864",
    ] {
        let failure = failure(&shop, script);
        assert_eq!(failure.cause, FailureCause::OutOfMemory { limit }, "{script} {failure:?}");
        assert_eq!(failure.cause.code(), "S012");
        assert!(failure.hint.unwrap().contains("`memory = "), "{script}");
        assert!(failure.layer_kept);
    }
    // Under the limit nothing is different.
    shop.run(&shop.graph(&plan)).unwrap();
}

#[test]
fn a_folder_in_memory_that_is_full_comes_with_a_hint() {
    let mut shop = Workshop::new();
    // A quarter of what steps may use of it.
    shop.memory = 64 << 20;
    for folder in ["/tmp", "/dev/shm"] {
        let failure = failure(&shop, &format!("head -c 13M /dev/zero > {folder}/large"));
        assert_eq!(failure.cause, FailureCause::Exit { code: 1 }, "{failure:?}");
        assert!(failure.hint.unwrap().contains("TMPDIR"));
    }
}

#[test]
fn a_fork_bomb_is_ended_and_told() {
    let mut shop = Workshop::new();
    let begun = Instant::now();
    let failure = failure(&shop, "b() { b & b & wait; }; b # one job");
    assert_eq!(failure.cause, FailureCause::TooManyProcesses { limit: 1152 }, "{failure:?}");
    assert_eq!(failure.cause.code(), "S013");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    // Many, but not too many.
    shop.jobs = 1;
    let many = "i=0; while [ $i -lt 300 ]; do sleep 2 & i=$((i+1)); done; wait; mkdir -p $OUTPUT; touch $OUTPUT/x";
    let plan = Plan::default().component("part", &[], &[many]);
    shop.run(&shop.graph(&plan)).unwrap();
}

#[test]
fn a_step_that_computes_without_a_word_is_ended() {
    let mut isolations = vec![Isolation::Full];
    if rustix::process::geteuid().is_root() {
        isolations.push(Isolation::Degraded);
    }
    for isolation in isolations {
        let mut shop = Workshop::new();
        shop.isolation = isolation;
        shop.silence = Duration::from_secs(1);
        for script in [
            "set +x; while :; do :; done",
            // The limit is on all processes together, ended ones too, and on those that have closed their output.
            "set +x; while :; do ls / > /dev/null; done",
            "exec > /dev/null 2>&1; while :; do :; done",
        ] {
            let failure = failure(&shop, script);
            assert!(matches!(failure.cause, FailureCause::Silent { .. }), "{script} {failure:?}");
            assert_eq!(failure.cause.code(), "S014");
            assert!(failure.hint.unwrap().contains("silence"));
        }
        let some_seconds = "set +x; end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do";
        for script in [
            format!("{some_seconds} echo word; done; mkdir -p $OUTPUT; touch $OUTPUT/x"),
            // It says itself how long it may be silent.
            format!("{some_seconds} :; done; mkdir -p $OUTPUT; touch $OUTPUT/x # never silent"),
            // Waiting is no computing.
            "sleep 3; mkdir -p $OUTPUT; touch $OUTPUT/x".to_owned(),
        ] {
            let plan = Plan::default().component("part", &[], &[&script]);
            shop.run(&shop.graph(&plan)).unwrap();
        }
    }
}
