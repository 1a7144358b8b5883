//! A recipe, its tables for a target and a profile, and its kind.

use osier_recipe::{Diagnostic, EffectiveSteps, Jobs, Kind, Recipe, Target};

use crate::{KIND, RECIPE};

fn recipe(text: &str) -> Recipe {
    Recipe::parse("recipes/x.toml", text, None)
        .unwrap_or_else(|errors| panic!("{}", crate::rendered(&errors, text)))
}

fn kind(text: &str) -> Kind {
    Kind::parse("kinds/k.toml", text, None)
        .unwrap_or_else(|errors| panic!("{}", crate::rendered(&errors, text)))
}

const STEPS: &str = "name='k'\n\
    [[step]]\nname='configure'\nrun='c'\n\
    [[step]]\nname='build'\nrun='b'\nparallel=false\nchecks=[{check='one'}]\npackages=['p']\n\
    [[step]]\nname='install'\nrun='i'\n";

fn names(steps: &EffectiveSteps<'_>) -> Vec<String> {
    steps.steps.iter().map(|step| step.name.to_string()).collect()
}

#[test]
fn tables_add_to_the_plain_ones_in_order() {
    let text = "name='x'\npackages=['a','b']\nneeds=['n']\nenv={A='1',B='1',C='1'}\npatches=['p']\n\
        [target.arm64]\npackages=['b','c']\nneeds=['n','m:dev']\nenv={B='2',C='2'}\npatches=['q']\n\
        [[target.arm64.waive]]\npatch='q'\napply='what-fits'\nreason='r'\n\
        [profile.debug]\npackages=['c','d']\nenv={C='3'}\n";
    let recipe = recipe(text);
    for (target, profile, packages, env) in [
        (Target::X86_64, None, "a b", "A=1 B=1 C=1"),
        (Target::Aarch64, None, "a b c", "A=1 B=2 C=2"),
        (Target::X86_64, Some("debug"), "a b c d", "A=1 B=1 C=3"),
        (Target::Aarch64, Some("debug"), "a b c d", "A=1 B=2 C=3"),
        (Target::Aarch64, Some("none"), "a b c", "A=1 B=2 C=2"),
    ] {
        let effective = recipe.effective(target, profile);
        let found: Vec<_> = effective.packages.iter().map(|package| package.as_str()).collect();
        assert_eq!(found.join(" "), packages);
        let found: Vec<_> =
            effective.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(found.join(" "), env);
    }
    let effective = recipe.effective(Target::Aarch64, None);
    let needs: Vec<_> = effective.needs.iter().map(ToString::to_string).collect();
    assert_eq!(needs, ["n", "m:dev"]);
    let patches: Vec<_> = effective.patches.iter().map(|patch| patch.as_str()).collect();
    assert_eq!(patches, ["p", "q"]);
    let [waiver] = effective.waivers.as_slice() else { panic!("{effective:?}") };
    assert!(waiver.patch.value == "q" && waiver.what_fits && waiver.reason.value == "r");
    assert!(recipe.effective(Target::X86_64, None).waivers.is_empty());
}

#[test]
fn steps_are_placed_changed_and_dropped() {
    let kind = kind(STEPS);
    for (steps, expected) in [
        ("", "configure build install"),
        ("[[step]]\nname='z'\nrun='z'\n", "configure build install z"),
        ("[[step]]\nname='z'\nafter='build'\nrun='z'\n", "configure build z install"),
        ("[[step]]\nname='z'\nafter='patch'\nrun='z'\n", "z configure build install"),
        (
            "[[step]]\nname='y'\nafter='build'\nrun='y'\n[[step]]\nname='z'\nafter='build'\nrun='z'\n",
            "configure build y z install",
        ),
        (
            "[[step]]\nname='y'\nafter='build'\nrun='y'\n[[step]]\nname='z'\nafter='y'\nrun='z'\n",
            "configure build y z install",
        ),
        ("[[step]]\nname='build'\nskip=true\n", "configure install"),
        (
            "[[target.x86_64.step]]\nname='z'\nafter='configure'\nrun='z'\n",
            "configure z build install",
        ),
        (
            "[[target.aarch64.step]]\nname='z'\nafter='configure'\nrun='z'\n",
            "configure build install",
        ),
    ] {
        let recipe = recipe(&format!("name='x'\nkind='k'\n{steps}"));
        let effective = recipe.effective(Target::X86_64, None);
        assert_eq!(names(&effective.steps(&kind).unwrap()).join(" "), expected, "{steps}");
    }
}

#[test]
fn a_changed_step_keeps_what_the_recipe_does_not_say() {
    let kind = kind(STEPS);
    let recipe = recipe(
        "name='x'\nkind='k'\n[[step]]\nname='build'\npackages=['p','q']\nchecks=[{check='two',a='b'}]\nfrom='linux:patch'\n\
         [[profile.debug.step]]\nname='build'\nrun='debug'\nparallel=true\n",
    );
    let effective = recipe.effective(Target::X86_64, None);
    let steps = effective.steps(&kind).unwrap();
    let build = &steps.steps[1];
    assert_eq!(
        (build.run.as_str(), build.run.origin.file(), build.jobs),
        ("b", "kinds/k.toml", Jobs::One)
    );
    let packages: Vec<_> = build.packages.iter().map(|package| package.as_str()).collect();
    assert_eq!(packages, ["p", "q"]);
    let checks: Vec<_> =
        build.checks.iter().map(|(origin, check)| (origin.file(), check.name.as_str())).collect();
    assert_eq!(checks, [("kinds/k.toml", "one"), ("recipes/x.toml", "two")]);
    assert_eq!(build.checks[1].1.arguments["a"].value, "b");
    let from = build.from.unwrap();
    assert_eq!(
        (from.component.as_str(), from.step.as_str(), from.origin.file()),
        ("linux", "patch", "recipes/x.toml")
    );

    let effective = recipe.effective(Target::X86_64, Some("debug"));
    let steps = effective.steps(&kind).unwrap();
    assert_eq!((steps.steps[1].run.as_str(), steps.steps[1].jobs), ("debug", Jobs::Jobserver));
}

#[test]
fn variables_become_the_environment() {
    let kind = kind(
        "name='k'\nenv={A='kind',B='kind'}\n\
         [[var]]\nname='list'\ntype='list'\ndefault=['x','y']\ndoc='d'\n\
         [[var]]\nname='on'\ntype='boolean'\ndefault=true\ndoc='d'\n\
         [[var]]\nname='off'\ntype='boolean'\ndefault=false\ndoc='d'\n\
         [[var]]\nname='number'\ntype='integer'\ndefault=3\ndoc='d'\n\
         [[var]]\nname='text'\ntype='string'\nrequired=true\ndoc='d'\n",
    );
    let recipe = recipe(
        "name='x'\nkind='k'\nenv={B='recipe'}\nwith={text='a b',list=['z']}\nprofile.p.with.list=[]\n",
    );
    let environment = |profile| {
        let effective = recipe.effective(Target::X86_64, profile);
        let steps = effective.steps(&kind).unwrap();
        steps.environment.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(
        environment(None),
        ["A=kind", "B=recipe", "list=z", "number=3", "off=", "on=yes", "text=a b"]
    );
    assert_eq!(environment(Some("p"))[2], "list=");
}

#[test]
fn what_does_not_fit_the_kind_is_named() {
    let text = "name = \"x\"\nkind = \"kconfig\"\nenv = { debug = \"1\" }\n\
        [with]\nfragmnts = [\"a\"]\nfragments = \"a\"\n\
        [[step]]\nname = \"biuld\"\n\
        [[step]]\nname = \"instal\"\nskip = true\n\
        [[step]]\nname = \"late\"\nafter = \"bild\"\nrun = \"true\"\n\
        [[step]]\nname = \"lost\"\nafter = \"nowhere\"\nrun = \"true\"\n\
        [[step]]\nname = \"build\"\nafter = \"configure\"\n";
    let (recipe, kind) = (recipe(text), kind(KIND));
    let found = recipe.effective(Target::X86_64, None).steps(&kind).unwrap_err();
    insta::assert_snapshot!("does_not_fit_the_kind", crate::rendered(&found, text));
}

#[test]
fn the_planners_errors_name_every_place() {
    let recipe = recipe(RECIPE);
    let (origin, needs) = (&recipe.origin, &recipe.base.needs);
    let found = [
        Diagnostic::cycle(&[
            ("busybox", origin, &needs[0].span),
            ("zlib", origin, &needs[1].span),
            ("musl", origin, &needs[1].span),
        ])
        .unwrap(),
        Diagnostic::cycle(&[("busybox", origin, &needs[0].span)]).unwrap(),
        Diagnostic::unknown_component(origin, &needs[0].span, "zlib", ["zlib1", "linux"]),
        Diagnostic::unknown_kind(origin, &recipe.kind.as_ref().unwrap().span, "kconfig", ["make"]),
        Diagnostic::duplicate(
            "the recipe",
            "busybox",
            (origin, &recipe.name.span),
            (origin, &recipe.name.span),
        ),
        Diagnostic::missing_file(
            origin,
            &recipe.base.files[0].span,
            "busybox.config",
            "recipes/busybox",
        ),
        Diagnostic::missing_file(origin, &recipe.base.files[1].span, "conf/*", "recipes/busybox"),
        Diagnostic::unsupported_target(origin, &recipe.targets[0].span, "busybox", Target::Aarch64),
    ];
    assert!(Diagnostic::cycle(&[]).is_none());
    insta::assert_snapshot!("planner", crate::rendered(&found, RECIPE));
}

#[test]
fn a_step_says_how_it_gets_its_jobs_and_what_memory_it_needs() {
    let kind = kind(
        "name='k'\n[[step]]\nname='a'\nrun='a'\njobs='share'\nmemory='1G'\n\
         [[step]]\nname='b'\nrun='b'\nparallel=false\n",
    );
    for (changes, expected) in [
        ("", [(Jobs::Share, Some(1 << 30)), (Jobs::One, None)]),
        (
            "[[step]]\nname='a'\nparallel=false\nmemory='2G'\n[[step]]\nname='b'\njobs='share'\n",
            [(Jobs::One, Some(2 << 30)), (Jobs::Share, None)],
        ),
        (
            "[[step]]\nname='a'\njobs='jobserver'\n[[step]]\nname='b'\nparallel=true\n",
            [(Jobs::Jobserver, Some(1 << 30)), (Jobs::Jobserver, None)],
        ),
        ("[[step]]\nname='a'\nparallel=true\n", [(Jobs::Share, Some(1 << 30)), (Jobs::One, None)]),
    ] {
        let recipe = recipe(&format!("name='x'\nkind='k'\n{changes}"));
        let effective = recipe.effective(Target::X86_64, None);
        let steps = effective.steps(&kind).unwrap().steps;
        let found: Vec<_> = steps.iter().map(|step| (step.jobs, step.memory)).collect();
        assert_eq!(found, expected, "{changes}");
    }
}

#[test]
fn a_script_with_a_number_of_jobs_has_to_ask_for_one() {
    let kind = kind("name='k'\n[[step]]\nname='a'\nrun='a'\n");
    let with = |step: &str| {
        let text = format!("name='x'\nkind='k'\n[[step]]\nname='b'\nrun='ninja -j$JOBS'\n{step}");
        let recipe = recipe(&text);
        let effective = recipe.effective(Target::X86_64, None);
        effective.steps(&kind).map(|_| ()).map_err(|errors| crate::rendered(&errors, &text))
    };
    assert_eq!((with("jobs='share'"), with("parallel=false")), (Ok(()), Ok(())));
    let shown = with("").unwrap_err();
    for word in ["recipes/x.toml:5:5", "R027", "$JOBS", "jobs = \"share\""] {
        assert!(shown.contains(word), "{shown}");
    }
}
