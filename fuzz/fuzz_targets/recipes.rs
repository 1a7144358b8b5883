//! Files that a person writes: recipes, kinds, systems, machines, projects, locks.
#![no_main]
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use osier_recipe::{
    Diagnostic, Kind, Lock, MachineFile, Project, Recipe, System, Target, glob_matches,
    glob_reaches_below, parse_size,
};

static MAKE: LazyLock<Kind> = LazyLock::new(|| {
    Kind::parse("make.toml", include_str!("../../kinds/make.toml"), Some("make"))
        .expect("the library's kind is sound")
});

/// Shows what is wrong, as a person sees it.
fn read<T>(text: &str, result: Result<T, Vec<Diagnostic>>) -> Option<T> {
    result.map_err(|errors| errors.iter().for_each(|error| drop(error.render_plain(text)))).ok()
}

fuzz_target!(|text: &str| {
    let targets = [Target::X86_64, Target::Aarch64];
    let kind = read(text, Kind::parse("a.toml", text, None));
    if let Some(recipe) = read(text, Recipe::parse("a.toml", text, None)) {
        for effective in targets.map(|target| recipe.effective(target, Some("debug"))) {
            let _ = read(text, effective.steps(kind.as_ref().unwrap_or(&MAKE)));
        }
    }
    if let Some(system) = read(text, System::parse("a.toml", text, Some("a"))) {
        let _ = targets.map(|target| system.effective(target));
    }
    let _ = read(text, MachineFile::parse("a.toml", text, None));
    let _ = read(text, Project::parse("a.toml", text));
    if let Some(lock) = read(text, Lock::parse("a", text)) {
        assert_eq!(Lock::parse("a", &lock.to_text()).expect("what is written can be read"), lock);
    }
    if let Some((pattern, path)) = text.split_once('\n') {
        let _ = (glob_matches(pattern, path), glob_reaches_below(pattern, path), parse_size(path));
    }
});
