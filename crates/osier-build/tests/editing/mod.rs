//! Sources that a person edits: what runs, what is seen, and what is never taken for the recipe's own.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests: a failure here is a failure of the test"
)]

use osier_build::{
    BuildError, ComponentResult, Edits, EnteredState, FailureCause, Graph, Reuse, SourceEdit,
    SourceTree, StepId, View, Work,
};
use osier_store::{Tree, TreeNode};

use crate::workshop::{Plan, Workshop};

/// Looks at each source as make does: by times. The names of what it compiled go into `said`.
const BUILD: &str = "mkdir -p obj; : > said
for source in *.c; do
  if [ ! -e obj/$source ] || [ $source -nt obj/$source ] || [ head.h -nt obj/$source ]; then
    cat head.h $source > obj/$source; echo $source >> said
  fi
done
for object in obj/*.c; do [ -e ${object#obj/} ] || rm $object; done";
const INSTALL: &str = "mkdir -p $OUTPUT; cat config obj/*.c > $OUTPUT/program";
const CONFIGURE: &str = "cat config.in > config; echo configured >> config";

type Source<'s> = &'s [(&'s str, &'s str)];

const SOURCE: Source<'_> =
    &[("a.c", "a\n"), ("b.c", "b\n"), ("c.c", "c\n"), ("head.h", "h\n"), ("config.in", "in\n")];

/// A component whose build step notices changed files by their times.
struct Editing {
    shop: Workshop,
}

impl Editing {
    fn new() -> Self {
        Self { shop: Workshop::new() }
    }

    fn tree(&self, source: Source<'_>) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in source {
            let content = self.shop.store.put_bytes(text.as_bytes()).unwrap();
            let size = text.len() as u64;
            let node = TreeNode::File { mode: 0o644, content, size, hard_link: None };
            tree.insert(path.as_bytes().to_vec(), node);
        }
        tree
    }

    /// The graph of the recipe: unpack, configure, build and install; another component starts from what was unpacked.
    fn recipe(&self, build: &str) -> Graph {
        let plan = Plan::default()
            .component("part", &[], &["", CONFIGURE, build, INSTALL])
            .component("docs", &[], &["mkdir -p $OUTPUT; cat source/*.c > $OUTPUT/docs"]);
        let mut graph = self.shop.graph(&plan);
        let folder = self.shop.store.put_tree(&self.tree(SOURCE)).unwrap();
        let source =
            SourceTree { name: "source".into(), archives: Vec::new(), folder: Some(folder) };
        graph.steps[0].work = Work::Unpack(source);
        graph.steps[0].view = View::Nothing;
        graph.components[0].variables.insert("SOURCE".into(), "/build/source".into());
        for step in &mut graph.steps[1..4] {
            let Work::Script { folder, .. } = &mut step.work else { panic!("not a script") };
            *folder = "/build/source".into();
        }
        graph.steps[2].reuse =
            Some(Reuse { files: Vec::new(), variables: Vec::new(), edits: true });
        graph.steps[4].below = Some(StepId(0));
        graph
    }

    /// The graph while somebody edits: builds began afresh with `before`, and the folder holds `now`.
    fn edited(&self, before: Source<'_>, now: Source<'_>, build: &str) -> Graph {
        let mut graph = self.recipe(build);
        let [source, before, now] = [SOURCE, before, now].map(|source| self.tree(source));
        let edits = Edits {
            before: SourceEdit::between("source", &source, &before),
            since: SourceEdit::between("source", &before, &now),
            place: "/home/person/source".into(),
        };
        let id = graph.find("part").unwrap();
        graph.insert_edits(id, &edits);
        graph
    }

    fn result(&self, graph: &Graph) -> ComponentResult {
        let results = self.shop.run(graph).unwrap();
        results[&graph.find("part").unwrap()].clone()
    }

    fn program(&self, graph: &Graph) -> String {
        self.shop.output(&self.result(graph), "program")
    }

    /// What the build step of the last build compiled.
    fn said(&self, graph: &Graph) -> String {
        let step = graph.find_step(graph.find("part").unwrap(), "step-2").unwrap();
        let keys = self.shop.with_engine(|engine| engine.survey(graph).keys);
        let layer = self.shop.store.layer_path(&keys[&step]);
        std::fs::read_to_string(layer.join("build/source/said")).unwrap().replace('\n', " ")
    }
}

type Changes<'s> = &'s [(&'s str, Option<&'s str>)];

/// Changes files of the source, and adds or removes some.
fn with<'s>(changes: Changes<'s>) -> Vec<(&'s str, &'s str)> {
    let mut source: Vec<(&str, &str)> = SOURCE.to_vec();
    for (path, text) in changes {
        source.retain(|(known, _)| known != path);
        source.extend(text.map(|text| (*path, text)));
    }
    source.sort_unstable();
    source
}

#[test]
fn a_build_goes_on_from_the_recipes_objects_and_leaves_its_result_alone() {
    let space = Editing::new();
    let recipe = space.recipe(BUILD);
    let clean = space.result(&recipe);
    assert_eq!(space.said(&recipe), "a.c b.c c.c ");
    space.shop.ran();

    let graph = space.edited(SOURCE, &with(&[("b.c", Some("bb\n"))]), BUILD);
    let edited = space.result(&graph);
    assert_eq!(space.shop.reused(), 1);
    let ran = ["part:edit", "docs:edit", "docs:step-0", "part:step-2", "part:step-3"];
    let mut found = space.shop.ran();
    found.sort_unstable();
    let mut wanted = ran.map(str::to_owned);
    wanted.sort_unstable();
    assert_eq!(found, wanted, "configure is not run again");
    assert_eq!(space.said(&graph), "b.c ");
    assert_eq!(space.shop.output(&edited, "program"), "in\nconfigured\nh\na\nh\nbb\nh\nc\n");
    assert!(edited.reused && !clean.reused);
    // What starts from the source sees the change as well.
    let results = space.shop.run(&graph).unwrap();
    assert_eq!(space.shop.output(&results[&graph.find("docs").unwrap()], "docs"), "a\nbb\nc\n");

    // The recipe's result is where it was, and nothing has to run for it.
    space.shop.ran();
    assert_eq!(space.result(&space.recipe(BUILD)).outputs, clean.outputs);
    // So is it while somebody edits and has changed nothing.
    assert_eq!(space.result(&space.edited(SOURCE, SOURCE, BUILD)).outputs, clean.outputs);
    assert_eq!(space.shop.ran(), [""; 0]);
}

#[test]
fn edits_follow_one_another_for_long() {
    let space = Editing::new();
    space.result(&space.recipe(BUILD));
    let texts: Vec<String> = (0..24).map(|number| format!("edit {number}\n")).collect();
    for (number, text) in texts.iter().enumerate() {
        // Now one file, now another; the one before is taken back.
        let path = ["a.c", "b.c", "c.c"][number % 3];
        let graph = space.edited(SOURCE, &with(&[(path, Some(text.as_str()))]), BUILD);
        let program = space.program(&graph);
        assert_eq!(space.shop.reused(), 1, "round {number}");
        let before = ["a.c", "b.c", "c.c"][(number + 2) % 3];
        let mut compiled = if number == 0 { vec![path] } else { vec![path, before] };
        compiled.sort_unstable();
        assert_eq!(space.said(&graph).trim(), compiled.join(" "), "round {number}");
        let object = |name: &str, own: &str| if path == name { text.clone() } else { own.into() };
        let [a, b, c] =
            [("a.c", "a\n"), ("b.c", "b\n"), ("c.c", "c\n")].map(|(n, own)| object(n, own));
        assert_eq!(program, format!("in\nconfigured\nh\n{a}h\n{b}h\n{c}"), "round {number}");
    }
}

#[test]
fn new_gone_and_shared_files_are_noticed() {
    let space = Editing::new();
    space.result(&space.recipe(BUILD));
    let rounds: &[(Changes<'_>, &str, &str)] = &[
        (&[("d.c", Some("d\n"))], "d.c ", "h\na\nh\nb\nh\nc\nh\nd\n"),
        (&[("d.c", Some("d\n")), ("a.c", None)], "", "h\nb\nh\nc\nh\nd\n"),
        (&[("a.c", None)], "", "h\nb\nh\nc\n"),
        (&[("head.h", Some("H\n"))], "a.c b.c c.c ", "H\na\nH\nb\nH\nc\n"),
        (&[("head.h", Some("H\n")), ("c.c", Some("CC\n"))], "c.c ", "H\na\nH\nb\nH\nCC\n"),
    ];
    for (changes, said, program) in rounds {
        let graph = space.edited(SOURCE, &with(changes), BUILD);
        assert_eq!(space.program(&graph), format!("in\nconfigured\n{program}"), "{changes:?}");
        assert_eq!(space.said(&graph), *said, "{changes:?}");
        assert_eq!(space.shop.reused(), 1, "{changes:?}");
    }
    // Taken back altogether: the recipe's own result.
    space.shop.ran();
    space.result(&space.edited(SOURCE, SOURCE, BUILD));
    assert_eq!(space.shop.ran(), [""; 0]);
}

#[test]
fn a_build_afresh_runs_all_steps_on_the_edited_source() {
    let space = Editing::new();
    space.result(&space.recipe(BUILD));
    // Configure has read this file, so going on does not see its change.
    let now = with(&[("config.in", Some("changed\n")), ("a.c", Some("aa\n"))]);
    assert!(space.program(&space.edited(SOURCE, &now, BUILD)).starts_with("in\n"));
    space.shop.ran();
    let afresh = space.edited(&now, &now, BUILD);
    assert_eq!(space.program(&afresh), "changed\nconfigured\nh\naa\nh\nb\nh\nc\n");
    let ran = space.shop.ran();
    assert!(ran.contains(&"part:step-1".to_owned()), "{ran:?}");
    assert!(!space.result(&afresh).reused);
    // From there on builds go on again.
    space.shop.reused();
    let more =
        with(&[("config.in", Some("changed\n")), ("a.c", Some("aa\n")), ("b.c", Some("bb\n"))]);
    let graph = space.edited(&now, &more, BUILD);
    assert_eq!(space.program(&graph), "changed\nconfigured\nh\naa\nh\nbb\nh\nc\n");
    assert_eq!((space.said(&graph).as_str(), space.shop.reused()), ("b.c ", 1));
}

#[test]
fn a_changed_recipe_is_not_gone_on_from() {
    let space = Editing::new();
    space.result(&space.recipe(BUILD));
    let now = with(&[("b.c", Some("bb\n"))]);
    space.program(&space.edited(SOURCE, &now, BUILD));
    assert_eq!(space.shop.reused(), 1);
    let other = format!("{BUILD}\n: in another way");
    let graph = space.edited(SOURCE, &now, &other);
    space.program(&graph);
    assert_eq!((space.said(&graph).as_str(), space.shop.reused()), ("a.c b.c c.c ", 0));
}

#[test]
fn a_failure_while_editing_is_told_at_once_and_can_be_entered() {
    let space = Editing::new();
    let build = format!(
        "{BUILD}\nif grep_bad=$(cat *.c) && [ \"${{grep_bad#*bad}}\" != \"$grep_bad\" ]; then echo 'b.c:1: error: bad'; exit 1; fi"
    );
    space.result(&space.recipe(&build));
    space.shop.ran();
    let graph = space.edited(SOURCE, &with(&[("b.c", Some("bad\n"))]), &build);
    let error = space.shop.run(&graph).unwrap_err();
    let BuildError::Failed(failures) = error else { panic!("{error:?}") };
    assert_eq!(failures[0].cause, FailureCause::Exit { code: 1 });
    assert!(failures[0].layer_kept && !failures[0].on.is_empty());
    let tries = space.shop.ran().iter().filter(|step| *step == "part:step-2").count();
    assert_eq!(tries, 1, "it is not compiled whole only to fail again");
    let step = graph.find_step(graph.find("part").unwrap(), "step-2").unwrap();
    space.shop.with_engine(|engine| {
        let entered = engine.enter(&graph, step, vec!["true".into()]).unwrap();
        assert_eq!(entered.state, EnteredState::Failed);
        let osier_sandbox::Root::Overlay { lowers, upper, .. } = &entered.spec.root else {
            panic!("an overlay")
        };
        // As the failed try left it, on the objects that it went on from.
        let object = |path: &str| {
            let layers = std::iter::once(upper).chain(lowers);
            let mut found = layers.map(|layer| layer.join("build/source/obj").join(path));
            std::fs::read_to_string(found.find(|path| path.exists()).unwrap()).unwrap()
        };
        assert_eq!((object("a.c").as_str(), object("b.c").as_str()), ("h\na\n", "h\nbad\n"));
    });
    // The next edit goes on from the last build that went well.
    let graph = space.edited(SOURCE, &with(&[("b.c", Some("good\n"))]), &build);
    assert_eq!(space.program(&graph), "in\nconfigured\nh\na\nh\ngood\nh\nc\n");
    assert_eq!(space.said(&graph), "b.c ");
}

#[test]
fn a_file_that_configure_has_written_is_not_hidden() {
    let space = Editing::new();
    space.result(&space.recipe(BUILD));
    let now = with(&[("config", Some("mine\n"))]);
    let error = space.shop.run(&space.edited(SOURCE, &now, BUILD)).unwrap_err();
    let BuildError::Failed(failures) = error else { panic!("{error:?}") };
    assert_eq!(failures[0].cause, FailureCause::WrittenBefore { files: vec!["config".into()] });
    // Laid on the source it is what a clean build of it would see.
    assert!(space.program(&space.edited(&now, &now, BUILD)).starts_with("in\nconfigured\n"));
}

#[test]
fn builds_go_on_in_the_degraded_mode_too() {
    let mut space = Editing::new();
    space.shop.isolation = osier_sandbox::Isolation::Degraded;
    let build = format!("{BUILD}\nif [ -e gone-then ]; then rm gone-then; fi");
    if !rustix::process::geteuid().is_root() {
        // Only root may change the root folder without namespaces. Whoever may not gets no result of an edit either.
        for graph in [space.recipe(&build), space.edited(SOURCE, &with(&[("a.c", None)]), &build)] {
            let BuildError::Failed(failures) = space.shop.run(&graph).unwrap_err() else {
                panic!()
            };
            assert!(matches!(failures[0].cause, FailureCause::Machine { .. }), "{failures:?}");
        }
        return;
    }
    space.result(&space.recipe(&build));
    for (changes, said, program) in [
        (
            &[("b.c", Some("bb\n")), ("gone-then", Some("x\n"))] as Changes<'_>,
            "b.c ",
            "h\na\nh\nbb\nh\nc\n",
        ),
        (&[("a.c", None)], "b.c ", "h\nb\nh\nc\n"),
    ] {
        let graph = space.edited(SOURCE, &with(changes), &build);
        assert_eq!(space.program(&graph), format!("in\nconfigured\n{program}"), "{changes:?}");
        assert_eq!((space.said(&graph).as_str(), space.shop.reused()), (said, 1), "{changes:?}");
    }
}

#[test]
fn without_a_step_that_notices_changes_every_build_starts_clean() {
    let space = Editing::new();
    let graph = |now: &[(&str, &str)]| {
        let mut graph = space.recipe(BUILD);
        graph.steps[2].reuse = None;
        let (source, now) = (space.tree(SOURCE), space.tree(now));
        let edits = Edits {
            before: SourceEdit::between("source", &source, &source),
            since: SourceEdit::between("source", &source, &now),
            place: String::new(),
        };
        let id = graph.find("part").unwrap();
        graph.insert_edits(id, &edits);
        graph
    };
    space.result(&space.recipe(BUILD));
    let edited = graph(&with(&[("config.in", Some("seen\n"))]));
    let result = space.result(&edited);
    assert_eq!(space.shop.output(&result, "program"), "seen\nconfigured\nh\na\nh\nb\nh\nc\n");
    assert!(!result.reused && space.shop.reused() == 0);
}
