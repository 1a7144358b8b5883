//! Files that a person writes: recipes, kinds, systems, machines, projects, locks.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_recipe::{Kind, Lock, MachineFile, Project, Recipe, System, Target};

fuzz_target!(|text: &str| {
    if let Ok(recipe) = Recipe::parse("a.toml", text, None) {
        let _ = recipe.effective(Target::X86_64, None);
    } else if let Err(errors) = Recipe::parse("a.toml", text, Some("a")) {
        errors.iter().for_each(|error| drop(error.render_plain(text)));
    }
    let _ = (Kind::parse("a", text, None), System::parse("a", text, None), MachineFile::parse("a", text, None));
    let _ = Project::parse("a", text);
    if let Ok(lock) = Lock::parse("a", text) {
        assert_eq!(Lock::parse("a", &lock.to_text()).expect("what is written can be read"), lock);
    }
});
