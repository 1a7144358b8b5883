//! Plans of small libraries of recipes: which components there are, for what, and by what they are compiled.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use osier_build::{Component, Graph, PlanError, Wanted};
use osier_recipe::{Level, Target};

use crate::recipes::{Recipes, plan};

fn recipes(texts: &[(&'static str, &str)]) -> Recipes {
    let step = "[[step]]\nname = \"build\"\nrun = \"true\"\n";
    let recipe = |(name, text): &(&'static str, &str)| {
        let step = if text.contains("[[step]]") { "" } else { step };
        (*name, format!("name = \"{name}\"\n{text}\n{step}"))
    };
    Recipes(texts.iter().map(recipe).collect())
}

/// A toolchain in small: a compiler that links arithmetic, and a C library that the bare compiler makes.
fn toolchain() -> Recipes {
    recipes(&[
        ("gmp", ""),
        ("compiler", "version = \"12.2\"\nrole = \"cross\"\nneeds = [\"gmp\"]"),
        ("libc", "role = \"runtime\"\ntools = [\"compiler\"]"),
        (
            "compiler-libraries",
            "role = \"runtime\"\nneeds = [\"libc\"]\n[[step]]\nname = \"build\"\nrun = \"true\"\nfrom = \"compiler:build\"",
        ),
        (
            "toolchain",
            "role = \"runtime\"\ntools = [\"compiler-libraries\"]\nneeds = [\"libc\"]\n[toolchain]\nsystem = \"linux-musl\"\nenv = { CC = \"{triple}-gcc\" }",
        ),
        ("generator", ""),
        ("zlib", ""),
        ("program", "tools = [\"generator\"]\nneeds = [\"zlib\"]\nenv = { LANG = \"C\" }"),
    ])
}

fn wanted(name: &str, target: Target, toolchain: Option<&str>) -> Wanted {
    Wanted { name: name.into(), target, toolchain: toolchain.map(str::to_owned), tune: None }
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.components.iter().map(|component| component.name.as_str()).collect()
}

fn find<'g>(graph: &'g Graph, name: &str) -> &'g Component {
    graph.component(graph.find(name).unwrap())
}

fn inputs<'g>(graph: &'g Graph, inputs: &[osier_build::Input]) -> Vec<&'g str> {
    inputs.iter().map(|input| graph.component(input.component).name.as_str()).collect()
}

fn variable<'g>(component: &'g Component, name: &str) -> Option<&'g str> {
    component.variables.get(name).map(String::as_str)
}

fn wrong(result: Result<Graph, PlanError>) -> String {
    match result.unwrap_err() {
        PlanError::Wrong(wrong) => {
            wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        error => error.to_string(),
    }
}

#[test]
fn without_a_toolchain_all_is_for_this_machine() {
    let graph = plan(&toolchain(), &[wanted("program", Target::X86_64, None)]).unwrap();
    assert_eq!(names(&graph), ["zlib", "generator", "program"]);
    let program = find(&graph, "program");
    assert_eq!(variable(program, "HOST_TRIPLE"), Some("x86_64-pc-linux-gnu"));
    assert_eq!(variable(program, "TARGET"), Some("x86_64"));
    assert_eq!((variable(program, "CC"), variable(program, "TARGET_TRIPLE")), (None, None));
}

#[test]
fn a_toolchain_compiles_what_is_for_the_target_and_no_tool() {
    let targets = [Target::X86_64, Target::Aarch64];
    let goals = targets.map(|target| wanted("program", target, Some("toolchain")));
    let graph = plan(&toolchain(), &goals).unwrap();
    let goals: Vec<&str> =
        graph.goals.iter().map(|id| graph.component(*id).name.as_str()).collect();
    assert_eq!(goals, ["program@x86_64", "program@aarch64"]);
    // What does not depend on the target is there once; the toolchain's own recipe is not built at all.
    let mut all = names(&graph);
    all.sort_unstable();
    let both = ["compiler", "compiler-libraries", "libc", "program", "zlib"];
    let mut expected: Vec<String> = vec!["generator".into(), "gmp".into()];
    expected.extend(both.iter().flat_map(|name| targets.map(|target| format!("{name}@{target}"))));
    expected.sort_unstable();
    assert_eq!(all, expected);

    let program = find(&graph, "program@aarch64");
    assert_eq!(inputs(&graph, &program.tools), ["generator", "compiler-libraries@aarch64"]);
    assert_eq!(inputs(&graph, &program.needs), ["zlib@aarch64", "libc@aarch64"]);
    assert_eq!(variable(program, "CC"), Some("aarch64-linux-musl-gcc"));
    assert_eq!(variable(program, "HOST_TRIPLE"), Some("aarch64-linux-musl"));
    assert_eq!(variable(program, "BUILD_TRIPLE"), Some("x86_64-pc-linux-gnu"));
    assert_eq!(
        (variable(program, "TARGET"), variable(program, "LANG")),
        (Some("aarch64"), Some("C"))
    );

    let compiler = find(&graph, "compiler@aarch64");
    assert_eq!(inputs(&graph, &compiler.needs), ["gmp"]);
    assert_eq!(variable(compiler, "HOST_TRIPLE"), Some("x86_64-pc-linux-gnu"));
    assert_eq!(variable(compiler, "TARGET_TRIPLE"), Some("aarch64-linux-musl"));
    assert_eq!(variable(compiler, "CC"), None);

    // A part of the toolchain is for the target, and is given nothing that it does not name.
    let libraries = find(&graph, "compiler-libraries@aarch64");
    // They are made in the compiler's tree, and so are of its version.
    assert_eq!(libraries.version, "12.2");
    assert_eq!(program.version, "0");
    assert_eq!(inputs(&graph, &libraries.needs), ["libc@aarch64"]);
    assert_eq!(inputs(&graph, &libraries.tools), Vec::<&str>::new());
    assert_eq!(variable(libraries, "CC"), None);
    let below = graph.step(libraries.steps[0]).below.unwrap();
    assert_eq!(graph.label(below), "compiler@aarch64:build");

    let generator = find(&graph, "generator");
    assert_eq!(variable(generator, "TARGET"), Some("x86_64"));
    assert_eq!(inputs(&graph, &generator.tools), Vec::<&str>::new());
}

#[test]
fn what_is_freestanding_waits_for_no_library() {
    let mut all = toolchain();
    all.0.extend(recipes(&[("kernel", "freestanding = true\nneeds = [\"zlib\"]")]).0);
    let kernel = [wanted("kernel", Target::Aarch64, Some("toolchain"))];
    // Where the toolchain says nothing of it, it is like everything else.
    let graph = plan(&all, &kernel).unwrap();
    let found = find(&graph, "kernel@aarch64");
    assert_eq!(inputs(&graph, &found.needs), ["zlib@aarch64", "libc@aarch64"]);
    let toolchain = all.0.get_mut("toolchain").unwrap();
    *toolchain = toolchain.replace("env =", "freestanding = [\"compiler\"]\nenv =");
    let graph = plan(&all, &kernel).unwrap();
    let found = find(&graph, "kernel@aarch64");
    assert_eq!(inputs(&graph, &found.tools), ["compiler@aarch64"]);
    // What it names itself it gets, compiled as ever.
    assert_eq!(inputs(&graph, &found.needs), ["zlib@aarch64"]);
    let zlib = find(&graph, "zlib@aarch64");
    assert_eq!(inputs(&graph, &zlib.needs), ["libc@aarch64"]);
    assert_eq!(variable(found, "CC"), Some("aarch64-linux-musl-gcc"));
    // By the build environment's compiler it is like everything else too.
    let graph = plan(&all, &[wanted("kernel", Target::X86_64, None)]).unwrap();
    assert_eq!(names(&graph), ["zlib", "kernel"]);
    // A tool that is not there is told at its place.
    let toolchain = all.0.get_mut("toolchain").unwrap();
    *toolchain = toolchain.replace("[\"compiler\"]\nenv", "[\"compilr\"]\nenv");
    let said = wrong(plan(&all, &kernel));
    assert!(said.starts_with("recipes/toolchain.toml:") && said.contains("R017"), "{said}");
}

#[test]
fn one_recipe_can_be_a_tool_and_a_part_of_the_target() {
    let mut recipes = toolchain();
    recipes.0.insert("both", "name = \"both\"\ntools = [\"zlib\"]\nneeds = [\"zlib\"]\n[[step]]\nname = \"b\"\nrun = \"true\"\n".into());
    let graph = plan(&recipes, &[wanted("both", Target::X86_64, Some("toolchain"))]).unwrap();
    let both = find(&graph, "both@x86_64");
    assert_eq!(inputs(&graph, &both.tools), ["zlib", "compiler-libraries@x86_64"]);
    assert_eq!(inputs(&graph, &both.needs), ["zlib@x86_64", "libc@x86_64"]);
}

#[test]
fn a_toolchain_that_compiles_itself_is_a_circle() {
    let mut recipes = toolchain();
    recipes.0.insert("libc", "name = \"libc\"\n[[step]]\nname = \"b\"\nrun = \"true\"\n".into());
    let said = wrong(plan(&recipes, &[wanted("zlib", Target::Aarch64, Some("toolchain"))]));
    assert!(said.contains("R018") && said.contains("libc -> libc"), "{said}");
}

#[test]
fn wrong_toolchains_are_told() {
    let said = wrong(plan(&toolchain(), &[wanted("zlib", Target::Aarch64, None)]));
    assert!(said.contains("`zlib` is needed for aarch64, but no toolchain is named"), "{said}");
    let said = wrong(plan(&toolchain(), &[wanted("zlib", Target::Aarch64, Some("gmp"))]));
    assert!(said.contains("R005") && said.contains("`gmp` is not a toolchain"), "{said}");
    let said = wrong(plan(&toolchain(), &[wanted("zlib", Target::Aarch64, Some("tolchain"))]));
    assert!(said.contains("there is no recipe `tolchain`"), "{said}");
    let said = wrong(plan(&toolchain(), &[wanted("libc", Target::X86_64, None)]));
    assert!(said.contains("R008") && said.contains("is a part of a toolchain"), "{said}");
}

#[test]
fn a_component_without_support_for_a_target_is_told_once() {
    let mut recipes = toolchain();
    recipes.0.insert(
        "zlib",
        "name = \"zlib\"\ntargets = [\"x86_64\"]\n[[step]]\nname = \"b\"\nrun = \"true\"\n".into(),
    );
    let said = wrong(plan(&recipes, &[wanted("program", Target::Aarch64, Some("toolchain"))]));
    assert_eq!(said.matches("R026").count(), 1, "{said}");
    let user = "name = \"user\"\nneeds = [\"program\"]\n[[step]]\nname = \"b\"\nrun = \"true\"\n";
    recipes.0.insert("user", user.into());
    let wanted = [wanted("user", Target::Aarch64, Some("toolchain"))];
    let Err(PlanError::Wrong(wrong)) = plan(&recipes, &wanted) else { panic!("it is wrong") };
    assert_eq!(
        wrong[0].render_plain(&recipes.0["zlib"]),
        "recipes/zlib.toml:2:12: error[R026]: `zlib` does not support the target `aarch64`\n  |\n2 | targets = [\"x86_64\"]\n  |            ^^^^^^^^\n  \
         = recipes/program.toml:3:10: `program` asks for `zlib` here\n  = recipes/user.toml:2:10: `user` asks for `program` here\n  \
         = hint: add `aarch64` to its `targets`, or name it only for other targets, in `[target.…]`\n"
    );
}

fn tuned(name: &str, target: Target, toolchain: Option<&str>, level: &str) -> Wanted {
    Wanted { tune: Level::parse(level), ..wanted(name, target, toolchain) }
}

/// All variables of a component, as lines.
fn variables(component: &Component) -> String {
    component.variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// The toolchain above, with flags of its own, and a kernel that chooses its processor itself.
fn tunable() -> Recipes {
    let mut recipes = toolchain();
    let toolchain = recipes.0.get_mut("toolchain").unwrap();
    *toolchain = toolchain.replace("CC = ", "CFLAGS = \"-O2\", CC = ");
    let step = "[[step]]\nname = \"build\"\nrun = \"true\"\n";
    for (name, text) in [
        ("kernel", "tune = false\nneeds = [\"zlib\"]\n"),
        ("own", "env = { CFLAGS = \"-Og -march=x86-64-v2\" }\n"),
        ("all", "needs = [\"program\", \"kernel\", \"own\"]\ntools = [\"generator\"]\n"),
    ] {
        recipes.0.insert(name, format!("name = \"{name}\"\n{text}{step}"));
    }
    recipes
}

#[test]
fn without_a_tune_no_variable_is_another_one() {
    let goals =
        [wanted("all", Target::X86_64, Some("toolchain")), wanted("all", Target::X86_64, None)];
    let graph = plan(&tunable(), &goals).unwrap();
    assert_eq!(
        variables(find(&graph, "program@x86_64")),
        "BUILD_TRIPLE=x86_64-pc-linux-gnu\nCC=x86_64-linux-musl-gcc\nCFLAGS=-O2\nHOST_TRIPLE=x86_64-linux-musl\nLANG=C\n\
         NAME=program\nSOURCE=/build\nTARGET=x86_64\nVERSION=0\n"
    );
    assert_eq!(
        variables(find(&graph, "program")),
        "BUILD_TRIPLE=x86_64-pc-linux-gnu\nHOST_TRIPLE=x86_64-pc-linux-gnu\nLANG=C\nNAME=program\nSOURCE=/build\n\
         TARGET=x86_64\nVERSION=0\n"
    );
}

#[test]
fn a_tune_reaches_what_the_toolchain_compiles_and_nothing_else() {
    let plain = plan(&tunable(), &[wanted("all", Target::X86_64, Some("toolchain"))]).unwrap();
    let goals = [tuned("all", Target::X86_64, Some("toolchain"), "x86-64-v3")];
    let graph = plan(&tunable(), &goals).unwrap();
    let mut all = names(&graph);
    all.sort_unstable();
    let mut expected: Vec<&str> = vec!["gmp", "generator", "kernel@x86_64", "zlib@x86_64"];
    expected.extend(["compiler@x86_64", "compiler-libraries@x86_64", "libc@x86_64"]);
    let tuned = ["all", "own", "program", "zlib"].map(|name| format!("{name}@x86_64@x86-64-v3"));
    expected.extend(tuned.iter().map(String::as_str));
    expected.sort_unstable();
    assert_eq!(all, expected);
    // What it does not reach is the very same as without it, the toolchain first of all.
    for name in all.iter().filter(|name| !name.ends_with("-v3")) {
        assert_eq!(variables(find(&graph, name)), variables(find(&plain, name)), "{name}");
    }
    let flags = |name: &str| {
        let component = find(&graph, name);
        ["CFLAGS", "CXXFLAGS"]
            .map(|flags| variable(component, flags).unwrap_or_default().to_owned())
    };
    assert_eq!(flags("zlib@x86_64@x86-64-v3"), ["-march=x86-64-v3 -O2", "-march=x86-64-v3 -O2"]);
    // A recipe that names a processor itself has it: the last flag counts.
    assert_eq!(flags("own@x86_64@x86-64-v3")[0], "-march=x86-64-v3 -Og -march=x86-64-v2");
    assert_eq!(flags("kernel@x86_64"), ["-O2", ""]);
    let program = find(&graph, "program@x86_64@x86-64-v3");
    assert_eq!(inputs(&graph, &program.tools), ["generator", "compiler-libraries@x86_64"]);
    assert_eq!(inputs(&graph, &program.needs), ["zlib@x86_64@x86-64-v3", "libc@x86_64"]);
    assert_eq!(variable(program, "HOST_TRIPLE"), Some("x86_64-linux-musl"));
    assert_eq!(variable(program, "TARGET"), Some("x86_64"));
}

#[test]
fn levels_of_one_component_are_different_components() {
    let toolchain = Some("toolchain");
    let goals = [
        wanted("zlib", Target::X86_64, toolchain),
        tuned("zlib", Target::X86_64, toolchain, "x86-64-v2"),
        tuned("zlib", Target::X86_64, toolchain, "x86-64-v3"),
        tuned("zlib", Target::X86_64, toolchain, "x86-64-v3"),
        tuned("zlib", Target::Aarch64, toolchain, "armv8.2-a"),
        tuned("zlib", Target::X86_64, None, "x86-64-v2"),
        tuned("libc", Target::X86_64, toolchain, "x86-64-v2"),
        tuned("kernel", Target::X86_64, toolchain, "x86-64-v2"),
    ];
    let graph = plan(&tunable(), &goals).unwrap();
    let goals: Vec<&str> =
        graph.goals.iter().map(|id| graph.component(*id).name.as_str()).collect();
    let levels = [
        "zlib@x86_64",
        "zlib@x86_64@x86-64-v2",
        "zlib@x86_64@x86-64-v3",
        "zlib@x86_64@x86-64-v3",
        "zlib@aarch64@armv8.2-a",
    ];
    assert_eq!(goals[..5], levels);
    assert_eq!(goals[6..], ["libc@x86_64", "kernel@x86_64"]);
    // Where the build environment's compiler makes it, the toolchain has no part in it.
    let own = graph.component(graph.goals[5]);
    assert_eq!((own.name.as_str(), own.tools.len()), ("zlib@x86-64-v2", 0));
    assert_eq!(variable(own, "CFLAGS"), Some("-march=x86-64-v2 -O2"));
    let flags: std::collections::BTreeSet<&str> =
        graph.goals[..5].iter().filter_map(|id| variable(graph.component(*id), "CFLAGS")).collect();
    assert_eq!(flags.len(), 4);
}
