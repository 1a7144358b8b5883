//! One budget of jobs for all steps that run side by side, with real makes in real sandboxes.
//!
//! A "compiler" is a task of a makefile that notes when it begins and ends; clocks are the same in all sandboxes.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use osier_build::{BuildError, FailureCause, Graph, Results};
use osier_sandbox::Isolation;

use crate::workshop::{Plan, Workshop};

/// When something began and ended, in nanoseconds.
type Span = (u64, u64);

const MS: u64 = 1_000_000;

/// A script that calls a make with so many tasks of so many seconds, half of them in a make below it.
fn make(tasks: usize, seconds: &str) -> String {
    let names = |from: usize, to: usize| {
        (from..to).map(|number| format!("t{number}")).collect::<Vec<_>>().join(" ")
    };
    let rule =
        format!("@date +%s%N > /build/log/$@.a; sleep {seconds}; date +%s%N > /build/log/$@.b");
    let (half, top, below) = (tasks / 2, names(0, tasks / 2), names(tasks / 2, tasks));
    format!(
        "mkdir -p /build/log /build/below $OUTPUT; cd /build\n\
         cat > makefile <<'END'\nall: {top} below\nbelow: ; @$(MAKE) -s -C below\n{top}: ; {rule}\n.PHONY: below\nEND\n\
         cat > below/makefile <<'END'\nall: {below}\n{below}: ; {rule}\nEND\n\
         : {half}\n\
         make -s\n\
         {SPANS}"
    )
}

/// Writes what the tasks have noted.
const SPANS: &str =
    "cd /build/log; for t in *.a; do echo $(cat $t) $(cat ${t%.a}.b); done > $OUTPUT/log";

/// A script that notes its own span around this.
fn alone(script: &str) -> String {
    format!(
        "mkdir -p /build/log $OUTPUT; date +%s%N > /build/log/t.a; {script}\ndate +%s%N > /build/log/t.b\n{SPANS}"
    )
}

/// Reads jobs from the pipe that a step is given, or writes into the one that it gives them back by.
const TAKE: &str = "head -c 1 /proc/self/fd/98 > /build/job";
const GIVE: &str = "/proc/self/fd/99";

fn spans(shop: &Workshop, graph: &Graph, results: &Results, name: &str) -> Vec<Span> {
    let log = shop.output(&results[&graph.find(name).unwrap()], "log");
    let span = |line: &str| {
        let (begin, end) = line.split_once(' ').unwrap();
        (begin.parse().unwrap(), end.parse().unwrap())
    };
    log.lines().map(span).collect()
}

/// The most of these that ran at one time between two moments.
fn most_within(spans: &[Span], from: u64, to: u64) -> usize {
    let at =
        |moment: u64| spans.iter().filter(|(begin, end)| *begin <= moment && moment < *end).count();
    let begins = spans.iter().map(|(begin, _)| *begin).filter(|begin| (from..to).contains(begin));
    begins.chain([from]).map(at).max().unwrap()
}

fn most(spans: &[Span]) -> usize {
    most_within(spans, 0, u64::MAX)
}

#[test]
fn all_steps_together_never_run_more_jobs_than_the_build_has() {
    let mut shop = Workshop::new();
    shop.jobs = 4;
    let plan = Plan::default()
        .component("one", &[], &[&make(24, "0.1")])
        .component("two", &[], &[&make(24, "0.15")])
        .component("alone", &[], &[&alone("sleep 1")]);
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    let [one, two, alone] =
        ["one", "two", "alone"].map(|name| spans(&shop, &graph, &results, name));
    assert_eq!((one.len(), two.len()), (24, 24));
    let all = [one.as_slice(), &two, &alone].concat();
    assert_eq!(most(&all), 4, "{all:?}");
    // Both had work all the time, and no job was left lying: when the last of the first two ended, one had all of them.
    assert!(most(&one).max(most(&two)) >= 3, "{one:?} {two:?}");
    assert_eq!(shop.warned(), [""; 0]);
}

#[test]
fn a_running_step_is_given_the_jobs_of_those_that_end() {
    let mut shop = Workshop::new();
    shop.jobs = 3;
    let plan = Plan::default().component("short", &[], &[&alone("sleep 0.6")]).component(
        "long",
        &[],
        &[&make(20, "0.2")],
    );
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    let [short, long] = ["short", "long"].map(|name| spans(&shop, &graph, &results, name));
    let end = short[0].1;
    assert_eq!(most_within(&long, short[0].0, end), 2, "{short:?} {long:?}");
    assert_eq!(most_within(&long, end, u64::MAX), 3, "{short:?} {long:?}");
}

#[test]
fn the_jobs_of_a_killed_step_come_back() {
    for isolation in [Isolation::Full, Isolation::Degraded] {
        if isolation == Isolation::Degraded && !rustix::process::geteuid().is_root() {
            continue;
        }
        let mut shop = Workshop::new();
        (shop.jobs, shop.keep_going, shop.isolation) = (3, true, isolation);
        // It dies while its make has two tasks, for one of which it has taken a job.
        let killed = "cd /build; printf 'all: a b\\na b: ; sleep 100\\n' > makefile; make & sleep 2; kill -9 $$";
        let other = make(32, "0.2");
        let plan =
            Plan::default().component("killed", &[], &[killed]).component("other", &[], &[&other]);
        let graph = shop.graph(&plan);
        let BuildError::Failed(failures) = shop.run(&graph).unwrap_err() else { panic!() };
        assert_eq!(failures[0].cause, FailureCause::Signal { signal: 9 });
        shop.ran();
        let rest = shop.graph(&Plan::default().component("other", &[], &[&other]));
        let results = shop.run(&rest).unwrap();
        assert_eq!(shop.ran(), [""; 0], "it had been built");
        let other = spans(&shop, &rest, &results, "other");
        let first = other.iter().map(|(begin, _)| *begin).min().unwrap();
        assert!(most_within(&other, first, first + 500 * MS) < 3, "{other:?}");
        assert_eq!(most(&other), 3, "{other:?}");
    }
}

#[test]
fn a_step_that_hoards_jobs_keeps_them_no_longer_than_it_lives() {
    let mut shop = Workshop::new();
    shop.jobs = 3;
    let plan = Plan::default()
        .component("hoarder", &[], &[&alone(&format!("{TAKE}; sleep 1.2"))])
        .component("other", &[], &[&make(24, "0.2")]);
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    let [hoarder, other] = ["hoarder", "other"].map(|name| spans(&shop, &graph, &results, name));
    let (begin, end) = hoarder[0];
    // The one that it took is missing, but never the other's own.
    assert_eq!(most_within(&other, begin + 500 * MS, end), 1, "{hoarder:?} {other:?}");
    let meanwhile = other.iter().filter(|span| (begin..end).contains(&span.0)).count();
    assert!(meanwhile >= 3, "{hoarder:?} {other:?}");
    assert_eq!(most_within(&other, end, u64::MAX), 3, "{hoarder:?} {other:?}");
}

#[test]
fn a_step_that_floods_the_jobserver_makes_no_jobs_for_others() {
    let mut shop = Workshop::new();
    shop.jobs = 3;
    // Into the pipe that it gives back by, more than that holds, and into the one that it takes from.
    let flood = format!(
        "printf '%010000d' 0 > {GIVE}; printf '%010000d' 0 > /proc/self/fd/98; sleep 0.5; \
         head -c 200000 /dev/zero > {GIVE}; sleep 0.5"
    );
    let plan = Plan::default().component("flood", &[], &[&alone(&flood)]).component(
        "other",
        &[],
        &[&make(24, "0.2")],
    );
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    let [flood, other] = ["flood", "other"].map(|name| spans(&shop, &graph, &results, name));
    assert!(most_within(&other, flood[0].0, flood[0].1) <= 2, "{flood:?} {other:?}");
    assert_eq!(most(&other), 3, "{flood:?} {other:?}");
}

#[test]
fn a_step_with_a_share_has_it_for_as_long_as_it_runs() {
    let mut shop = Workshop::new();
    shop.jobs = 4;
    let tell = "mkdir -p $OUTPUT; echo $JOBS $(nproc) $MAKEFLAGS $GOMAXPROCS $CMAKE_BUILD_PARALLEL_LEVEL $CARGO_BUILD_JOBS > $OUTPUT/told; sleep 0.5 # share";
    let plan = Plan::default().component("one", &[], &[tell]);
    let graph = shop.graph(&plan);
    let told = |graph: &Graph, name| {
        let results = shop.run(graph).unwrap();
        shop.output(&results[&graph.find(name).unwrap()], "told")
    };
    assert_eq!(told(&graph, "one"), "4 4 -j4 4 4 4\n");
    let tell = format!("{tell} of two");
    let plan = Plan::default().component("one", &[], &[&tell]).component("two", &[], &[&tell]);
    let graph = shop.graph(&plan);
    assert_eq!(told(&graph, "one"), "2 2 -j2 2 2 2\n");
    assert_eq!(told(&graph, "two"), "2 2 -j2 2 2 2\n");
    // Two real makes with a number each, beside one that takes as it goes.
    let with_number = |length| make(12, length).replace("make -s\n", "make -s -j$JOBS # share\n");
    let plan = Plan::default()
        .component("one", &[], &[&with_number("0.1")])
        .component("two", &[], &[&with_number("0.15")])
        .component("three", &[], &[&make(12, "0.1")]);
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    let all = ["one", "two", "three"].map(|name| spans(&shop, &graph, &results, name)).concat();
    assert!((3..=4).contains(&most(&all)), "{all:?}");
    assert_eq!(shop.warned(), [""; 0]);
}

#[test]
fn a_step_with_one_job_has_one() {
    let mut shop = Workshop::new();
    shop.jobs = 4;
    let script =
        make(6, "0.05").replace("make -s\n", "test $JOBS$(nproc) = 11; make -s # one job\n");
    let graph = shop.graph(&Plan::default().component("one", &[], &[&script]));
    let results = shop.run(&graph).unwrap();
    assert_eq!(most(&spans(&shop, &graph, &results, "one")), 1);
}

#[test]
fn a_make_that_is_called_with_a_number_is_told_of() {
    let mut shop = Workshop::new();
    shop.jobs = 4;
    let script = make(6, "0.05").replace("make -s\n", "make -s -j2\n");
    let graph = shop.graph(&Plan::default().component("one", &[], &[&script]));
    shop.run(&graph).unwrap();
    let warned = shop.warned();
    assert!(warned[0].starts_with("one passed `-j` to make"), "{warned:?}");
}

#[test]
fn a_makefile_that_hands_no_jobs_on_is_told_of() {
    let mut shop = Workshop::new();
    shop.jobs = 4;
    let script = make(6, "0.05").replace("@$(MAKE) -s -C below", "@make -s -C below");
    let graph = shop.graph(&Plan::default().component("one", &[], &[&script]));
    shop.run(&graph).unwrap();
    let warned = shop.warned();
    assert!(warned[0].starts_with("one has a makefile that calls `make`"), "{warned:?}");
}

#[test]
fn the_longest_way_goes_first() {
    let mut shop = Workshop::new();
    shop.jobs = 1;
    let plan = |again: &str| {
        let script =
            |seconds: &str| format!("mkdir -p $OUTPUT; sleep {seconds}; echo > $OUTPUT/a{again}");
        Plan::default()
            .component("short", &[], &[&script("0.6")])
            .component("middle", &[], &[&script("1.1")])
            .component("first-of-long", &[], &[&script("0.7")])
            .component("last-of-long", &["first-of-long"], &[&script("0.8")])
    };
    shop.run(&shop.graph(&plan("1"))).unwrap();
    shop.ran();
    // Timed now: 0.7 and what waits for it is more than 1.1.
    shop.run(&shop.graph(&plan("2"))).unwrap();
    assert_eq!(
        shop.ran(),
        ["first-of-long:step-0", "middle:step-0", "last-of-long:step-0", "short:step-0"]
    );
}

#[test]
fn steps_that_need_more_memory_than_there_is_wait_for_one_another() {
    let mut shop = Workshop::new();
    (shop.jobs, shop.memory) = (4, 100 << 20);
    let needs = |bytes: u64| alone(&format!("sleep 0.4 # memory {bytes}"));
    let plan = Plan::default()
        .component("one", &[], &[&needs(60 << 20)])
        .component("two", &[], &[&needs(60 << 20)])
        .component("small", &[], &[&needs(30 << 20)])
        .component("any", &[], &[&alone("sleep 0.4")])
        .component("huge", &[], &[&needs(200 << 20)]);
    let graph = shop.graph(&plan);
    let results = shop.run(&graph).unwrap();
    let span = |name| spans(&shop, &graph, &results, name)[0];
    let apart = |one: Span, two: Span| one.1 <= two.0 || two.1 <= one.0;
    let [one, two, small, any, huge] = ["one", "two", "small", "any", "huge"].map(span);
    assert!(apart(one, two), "{one:?} {two:?}");
    assert!(!apart(any, one) || !apart(any, two), "{any:?} {one:?} {two:?}");
    assert!(!apart(small, one) || !apart(small, two), "{small:?} {one:?} {two:?}");
    assert!([one, two, small, any].iter().all(|other| apart(huge, *other)), "{huge:?}");
    let warned = shop.warned();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("needs 200 MiB") && warned[0].contains("runs alone"), "{warned:?}");
}

#[test]
fn the_number_of_jobs_changes_no_byte() {
    let script = "mkdir -p /build/log $OUTPUT; cd /build; cat > makefile <<'END'\nall: a b c\n\tcat a b c > all\na b c: ; @sleep 0.1; echo $@ > $@\nEND\nmake -s; cp all $OUTPUT";
    let mut digests = Vec::new();
    for jobs in [1, 2, 5] {
        let mut shop = Workshop::new();
        shop.jobs = jobs;
        let graph = shop.graph(&Plan::default().component("one", &[], &[script]));
        let result = shop.run(&graph).unwrap().into_values().next().unwrap();
        digests.push((result.key, result.outputs));
    }
    assert!(digests.iter().all(|one| *one == digests[0]), "{digests:?}");
}

#[test]
fn what_processors_did_is_summed_up() {
    let mut shop = Workshop::new();
    shop.jobs = 2;
    let busy =
        "mkdir -p $OUTPUT; echo > $OUTPUT/a; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let plan = Plan::default().component("one", &[], &[&format!(": 1; {busy}")]).component(
        "idle",
        &[],
        &["mkdir -p $OUTPUT; echo > $OUTPUT/a; sleep 2"],
    );
    let graph = shop.graph(&plan);
    shop.run(&graph).unwrap();
    let (processors, seconds, cpu) = shop.busy().unwrap();
    assert!((1..=2).contains(&processors) && seconds >= 2.0, "{processors} {seconds}");
    // The loop's time is in it, and the sleeper's is not. What other tests use beside this is in it as well.
    assert!(cpu > 0.1 && cpu < processors as f64 * seconds, "{cpu} of {seconds}");
    shop.run(&graph).unwrap();
    assert_eq!(shop.busy(), None);
}
