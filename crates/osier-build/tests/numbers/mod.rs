//! Numbers and lengths that no ordinary recipe has: either they work, or the recipe is refused with its line.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use osier_build::{BuildError, FailureCause, Graph, Places, PlanError, Wanted};
use osier_recipe::{Code, Diagnostic, Target};

use crate::recipes::Recipes;
use crate::workshop::{Plan, Workshop};

/// Recipes of names that are made up.
fn recipes(texts: impl IntoIterator<Item = (String, String)>) -> Recipes {
    let named = |(name, rest): (String, String)| {
        let text = format!("name = \"{name}\"\n{rest}");
        (&*Box::leak(name.into_boxed_str()), text)
    };
    Recipes(texts.into_iter().map(named).collect::<BTreeMap<_, _>>())
}

fn install(keys: &str) -> String {
    format!("{keys}\n[[step]]\nname = \"install\"\nrun = \"true\"\n")
}

fn plan(recipes: &Recipes, name: &str) -> Result<Graph, Vec<Diagnostic>> {
    let wanted = Wanted { name: name.into(), target: Target::X86_64, toolchain: None, tune: None };
    crate::recipes::plan(recipes, &[wanted]).map_err(|error| match error {
        PlanError::Wrong(wrong) => wrong,
        error => panic!("{error}"),
    })
}

/// The one error of a recipe named `a`.
fn refused(keys: &str) -> Diagnostic {
    let mut wrong = plan(&recipes([("a".to_owned(), keys.to_owned())]), "a").unwrap_err();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    wrong.remove(0)
}

/// Each of so many recipes needs, or has as tool, the one before it.
fn chain(length: usize, key: &str) -> Recipes {
    recipes((0..length).map(|number| {
        let before = number.checked_sub(1).map(|before| format!("{key} = [\"c{before}\"]"));
        (format!("c{number}"), install(&before.unwrap_or_default()))
    }))
}

#[test]
fn chains_of_any_length_are_planned_and_told_of() {
    const LENGTH: usize = 5000;
    for key in ["needs", "tools"] {
        let graph = plan(&chain(LENGTH, key), &format!("c{}", LENGTH - 1)).unwrap();
        assert_eq!(graph.components.len(), LENGTH);
        assert_eq!(graph.components[0].name, "c0", "each after what it uses");
        let shop = Workshop::new();
        let why = shop.with_engine(|engine| {
            engine.why(&graph, *graph.goals.last().unwrap(), &|_| Places::default()).to_string()
        });
        assert!(why.starts_with("c4999 depends on c4998"), "{why}");
        assert!(why.len() < 1000 && why.contains("c1 depends on c0"), "{why}");
    }
}

#[test]
fn a_circle_of_any_length_is_told_in_a_few_lines() {
    let mut recipes = chain(5000, "needs");
    let closing = install("needs = [\"c4999\"]");
    recipes.0.insert("c0", format!("name = \"c0\"\n{closing}"));
    let wrong = plan(&recipes, "c7").unwrap_err();
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].code, Code::Cycle);
    assert!(wrong[0].render_plain("").lines().count() < 20, "{}", wrong[0].render_plain(""));
    // A component that needs itself.
    let own = refused(&install("needs = [\"a\"]"));
    assert_eq!(own.message, "dependency cycle: a -> a");
}

#[test]
fn what_cannot_be_planned_is_tried_once_however_many_ways_lead_there() {
    // Sixty floors of two, each of which needs both of the next.
    let floors = (0..60).flat_map(|floor| {
        ["x", "y"].map(|side| {
            let next = floor + 1;
            (format!("{side}{floor}"), install(&format!("needs = [\"x{next}\", \"y{next}\"]")))
        })
    });
    let last = ["x60", "y60"].map(|name| (name.to_owned(), install("kind = \"none\"")));
    let wrong = plan(&recipes(floors.chain(last)), "x0").unwrap_err();
    assert!(wrong.iter().all(|error| error.code == Code::UnknownKind), "{wrong:?}");
    assert_eq!(wrong.len(), 2);
}

#[test]
fn a_component_can_have_hundreds_of_needs() {
    const NEEDS: usize = 600;
    let mut parts = String::from("[[step]]\nname = \"install\"\nrun = '''\nset +x\n");
    parts.push_str("mkdir -p $OUTPUT/all\necho first > $OUTPUT/all/main\n");
    let mut outputs = String::from("[outputs]\n");
    let mut needs = String::from("needs = [\"many\"");
    for number in 0..NEEDS {
        writeln!(parts, "echo {number} > $OUTPUT/all/{number}").unwrap();
        writeln!(outputs, "o{number} = [\"all/{number}\"]").unwrap();
        write!(needs, ", \"many:o{number}\"").unwrap();
    }
    parts.push_str("'''\n");
    needs.push_str("]\n[[step]]\nname = \"install\"\nrun = '''\n");
    needs.push_str("set -- /proto/all/*; mkdir -p $OUTPUT\necho $# $(cat /proto/all/main /proto/all/599) > $OUTPUT/seen\n'''\n");
    let all = recipes([("many".to_owned(), parts + &outputs), ("user".to_owned(), needs)]);
    let graph = plan(&all, "user").unwrap();
    let shop = Workshop::new();
    let results = shop.run(&graph).unwrap();
    let user = graph.find("user").unwrap();
    assert_eq!(shop.output(&results[&user], "seen"), "601 first 599\n");
    // A change of one of them is seen.
    let changed = all.0["many"].replace("echo 599 >", "echo new >");
    let mut all = all;
    all.0.insert("many", changed);
    let graph = plan(&all, "user").unwrap();
    let results = shop.run(&graph).unwrap();
    assert_eq!(shop.output(&results[&user], "seen"), "601 first new\n");
}

#[test]
fn steps_that_are_too_many_for_one_stack_are_refused_and_as_many_as_are_taken_run() {
    let steps = |count: usize| {
        (0..count).fold(String::new(), |text, number| {
            let run = if number + 1 == count { "cp /build/first $OUTPUT/a" } else { ":" };
            let run = if number == 0 { "mkdir -p $OUTPUT; echo 1 > /build/first" } else { run };
            text + &format!("[[step]]\nname = \"s{number}\"\nrun = \"{run}\"\n")
        })
    };
    let error = refused(&steps(1000));
    assert_eq!((error.code, error.line), (Code::TooLarge, 400 * 3 + 4), "{error}");
    assert!(error.message.starts_with("`s400` has too many steps below it"), "{error}");
    // Chains that start on one another's steps count as one.
    let links = (0..500).map(|number| {
        let from = match number {
            0 => String::new(),
            number => format!("from = \"c{}:install\"\n", number - 1),
        };
        (format!("c{number}"), format!("[[step]]\nname = \"install\"\nrun = \"true\"\n{from}"))
    });
    let wrong = plan(&recipes(links), "c499").unwrap_err();
    assert!(wrong[0].file.ends_with("c400.toml") && wrong[0].code == Code::TooLarge, "{wrong:?}");
    // All that are taken can be stacked.
    let graph = plan(&recipes([("a".to_owned(), steps(400))]), "a").unwrap();
    assert_eq!(graph.steps.len(), 400);
    let shop = Workshop::new();
    let results = shop.run(&graph).unwrap();
    assert_eq!(shop.output(&results[&graph.goals[0]], "a"), "1\n");
}

#[test]
fn scripts_of_any_length_run_as_short_ones_do() {
    let script = |padding: usize| {
        let padding = "# a line that says nothing\n".repeat(padding);
        // An `x` among the options, no variable of osier's, nothing to read, and the end at the first failure.
        format!(
            "{padding}mkdir -p $OUTPUT\ncase $- in *e*u*x*|*e*x*u*|*u*x*e*|*u*e*x*|*x*e*u*|*x*u*e*) : ;; *) exit 9 ;; esac\n\
             test -z \"${{osier_script-}}\"\nhead -c 1 > /build/read\ntest ! -s /build/read\necho done > $OUTPUT/a\n"
        )
    };
    for padding in [0, 4854, 5000, 40_000] {
        let shop = Workshop::new();
        let plan = Plan::default().component("part", &[], &[&script(padding)]);
        let graph = shop.graph(&plan);
        let results = shop.run(&graph).unwrap_or_else(|error| panic!("{padding}: {error:?}"));
        assert_eq!(shop.output(results.values().next().unwrap(), "a"), "done\n");
        let failing = script(padding).replace("echo done", "false\necho done");
        let plan = Plan::default().component("part", &[], &[&failing]);
        let Err(BuildError::Failed(failures)) = shop.run(&shop.graph(&plan)) else {
            panic!("{padding}: the failing command was passed over")
        };
        assert_eq!(failures[0].command.as_deref(), Some("false"), "{padding}");
    }
}

#[test]
fn variables_that_no_program_can_be_given_are_refused() {
    let env = |value: &str| install(&format!("env = {{ SHORT = \"x\", BIG = \"{value}\" }}"));
    let error = refused(&env(&"x".repeat(128 << 10)));
    assert_eq!((error.code, error.line), (Code::TooLarge, 2), "{error}");
    assert!(error.message.contains("`BIG` has 131077 bytes"), "{error}");
    let many = (0..12).fold(String::new(), |all, number| {
        all + &format!("V{number} = \"{}\"\n", "x".repeat(100_000))
    });
    let steps = install("");
    let error = refused(&format!("{steps}[env]\n{many}"));
    assert_eq!(error.code, Code::TooLarge, "{error}");
    assert!(error.message.contains("the largest is `V"), "{error}");
    // The longest that is taken reaches the step.
    let longest = "x".repeat((128 << 10) - "BIG=".len() - 1);
    let seen = env(&longest).replace("\"true\"", "'echo ${#BIG} > $OUTPUT/a'");
    let graph = plan(&recipes([("a".to_owned(), seen)]), "a").unwrap();
    let shop = Workshop::new();
    let results = shop.run(&graph).unwrap();
    assert_eq!(shop.output(&results[&graph.goals[0]], "a"), format!("{}\n", longest.len()));
}

#[test]
fn checks_and_variables_of_folders_that_do_not_exist_are_refused_with_the_near_miss() {
    let step = |more: &str| format!("{}{more}\n", install(""));
    let error = refused(&step("checks = [{ check = \"knwon\" }]"));
    assert_eq!((error.code, error.line), (Code::UnknownName, 6), "{error}");
    assert_eq!(error.hints, ["did you mean `known`?"]);
    let error = refused(&step("folder = \"$SORCE/x\""));
    assert_eq!((error.code, error.line), (Code::UnknownName, 6), "{error}");
    assert_eq!(error.hints, ["did you mean `SOURCE`?"]);
}

#[test]
fn a_working_folder_that_is_not_there_is_no_fault_of_the_machine() {
    let recipe = format!("{}folder = \"/build/$NAME/x\"\n", install(""));
    let graph = plan(&recipes([("a".to_owned(), recipe)]), "a").unwrap();
    let Err(BuildError::Failed(failures)) = Workshop::new().run(&graph) else {
        panic!("a step ran in a folder that is not there")
    };
    let folder = "/build/a/x".to_owned();
    assert_eq!(failures[0].cause, FailureCause::NoFolder { folder });
    assert_eq!(failures[0].cause.code(), "S015");
    assert!(failures[0].origin.ends_with("a.toml:5"), "{}", failures[0].origin);
}
