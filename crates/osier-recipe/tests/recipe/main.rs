//! What the text formats promise, from outside: messages, schemas, steps, the lock.

// The functions beside the tests are not tests to this lint.
#![allow(clippy::unwrap_used)]

mod effective;
mod lock;
mod property;
mod schema;
mod values;
mod wrong;

use osier_recipe::{Diagnostic, FileKind, Kind, Lock, MachineFile, Project, Recipe, System};

const RECIPE: &str = include_str!("../../examples/busybox.toml");
const KIND: &str = include_str!("../../examples/kconfig.toml");
const SYSTEM: &str = include_str!("../../examples/initrd.toml");
const MACHINE: &str = include_str!("../../examples/q35.toml");
const PROJECT: &str = include_str!("../../examples/osier.toml");
const LOCK: &str = include_str!("../../examples/osier.lock");

/// One full and valid text of each kind of file.
const EXAMPLES: [(FileKind, &str); 6] = [
    (FileKind::Recipe, RECIPE),
    (FileKind::Kind, KIND),
    (FileKind::System, SYSTEM),
    (FileKind::Machine, MACHINE),
    (FileKind::Project, PROJECT),
    (FileKind::Lock, LOCK),
];

/// Reads a text as a kind of file and gives what is wrong in it.
fn errors(kind: FileKind, text: &str, expected: Option<&str>) -> Vec<Diagnostic> {
    let file = match kind {
        FileKind::Lock => "osier.lock".to_owned(),
        FileKind::Project => "osier.toml".to_owned(),
        kind => format!("{}s/x.toml", kind.as_str()),
    };
    let result = match kind {
        FileKind::Recipe => Recipe::parse(&file, text, expected).map(drop),
        FileKind::Kind => Kind::parse(&file, text, expected).map(drop),
        FileKind::System => System::parse(&file, text, expected).map(drop),
        FileKind::Machine => MachineFile::parse(&file, text, expected).map(drop),
        FileKind::Project => Project::parse(&file, text).map(drop),
        FileKind::Lock => Lock::parse(&file, text).map(drop),
    };
    result.err().unwrap_or_default()
}

fn rendered(errors: &[Diagnostic], text: &str) -> String {
    errors.iter().map(|error| error.render_plain(text)).collect()
}

#[test]
fn examples_are_valid() {
    for (kind, text) in EXAMPLES {
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        assert_eq!(rendered(&errors(kind, text, name), text), "", "{kind:?}");
    }
}
