//! Generated references, paths named in documents, sizes of files, number of dependencies; layers, walls and cycles.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

mod cycles;
mod layers;
mod promises;
mod sources;
mod walls;

/// The generated files, and the words of `osier reference` that write each.
const GENERATED: &[(&str, &str)] = &[
    ("docs/reference/commands.md", "commands"),
    ("docs/reference/codes.md", "codes"),
    ("docs/reference/exit-status.md", "exit-status"),
    ("docs/reference/events.md", "events"),
    ("docs/reference/keys.md", "keys"),
    ("docs/reference/recipe.schema.json", "recipe-schema"),
    ("docs/reference/kind.schema.json", "kind-schema"),
    ("docs/reference/system.schema.json", "system-schema"),
    ("docs/reference/machine.schema.json", "machine-schema"),
    ("docs/reference/project.schema.json", "project-schema"),
    ("docs/reference/lock.schema.json", "lock-schema"),
];

/// Most packages that Cargo.lock may name: a dependency is a choice.
const PACKAGE_CEILING: usize = 380;

/// Asks the program of the profile that tests are built with, so that only what has changed is compiled.
fn reference(kind: &str) -> Result<String> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--locked", "--package", "osier", "--", "reference", kind])
        .current_dir(root())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`osier reference {kind}` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes all generated files anew.
pub(crate) fn generate() -> Result<()> {
    for (path, kind) in GENERATED {
        let path = root().join(path);
        fs::create_dir_all(path.parent().context("a generated file lies in a folder")?)?;
        fs::write(&path, reference(kind)?)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Checks everything about the repository that no test of a crate can see.
pub(crate) fn all() -> Result<()> {
    let mut wrong = Vec::new();
    for (path, kind) in GENERATED {
        if fs::read_to_string(root().join(path)).unwrap_or_default() != reference(kind)? {
            wrong.push(format!(
                "{path} is not what `osier reference {kind}` writes; run `cargo xtask generate`"
            ));
        }
    }
    let tracked = Command::new("git").args(["ls-files"]).current_dir(root()).output()?;
    let tracked = String::from_utf8(tracked.stdout)?;
    let files: BTreeSet<&str> = tracked.lines().collect();
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        let text =
            fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
        wrong.extend(missing_paths(path, &text));
    }
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let lines = fs::read_to_string(root().join(path))?.lines().count();
        if lines > 900 {
            wrong.push(format!(
                "{path} has {lines} lines: does it still own one thing? The limit is 900"
            ));
        }
    }
    wrong.extend(structure()?);
    wrong.extend(promises::wrong(&root())?);
    let packages = fs::read_to_string(root().join("Cargo.lock"))?.matches("[[package]]").count();
    if packages > PACKAGE_CEILING {
        wrong.push(format!(
            "Cargo.lock names {packages} packages, and the ceiling is {PACKAGE_CEILING}"
        ));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!("check: {} files, {packages} packages, references up to date", files.len());
    Ok(())
}

/// Finds paths of this repository that a document names in backquotes and that are not there.
fn missing_paths(document: &str, text: &str) -> Vec<String> {
    let folders = [
        "crates/",
        "docs/",
        "recipes/",
        "kinds/",
        "systems/",
        "machines/",
        "xtask/",
        "fuzz/",
        ".ci/",
    ];
    let named = text.split('`').skip(1).step_by(2);
    named
        .filter(|word| folders.iter().any(|folder| word.starts_with(folder)))
        // `NAME` stands for any name.
        .filter(|word| !word.contains("NAME"))
        .filter(|word| {
            !word.contains(|letter: char| letter.is_whitespace() || "*<>{}".contains(letter))
        })
        .filter(|word| {
            !word.chars().any(|letter| letter.is_ascii_uppercase())
                || Path::new(word).extension().is_some()
        })
        .filter(|word| !root().join(word).exists())
        .map(|word| format!("{document} names `{word}`, which is not there"))
        .collect()
}

/// Prints the import cycles of all crates, those included that are still excused.
pub(crate) fn cycles() -> Result<()> {
    for own in layers::crates()? {
        for file in &own.roots {
            for cycle in cycles::of(file)? {
                println!("{}: {}", own.name, cycle.lines());
            }
        }
    }
    Ok(())
}

/// Finds what is wrong with the modules of each crate, and with what the crates know of each other.
fn structure() -> Result<Vec<String>> {
    let crates = layers::crates()?;
    let mut wrong = layers::wrong(&crates)?;
    for own in &crates {
        for file in &own.roots {
            let cycles = cycles::of(file)?;
            if !cycles::EXCUSED.contains(&own.name.as_str()) {
                wrong.extend(cycles.iter().map(|cycle| format!("{}: {}", own.name, cycle.lines())));
            } else if cycles.is_empty() {
                wrong.push(format!(
                    "{} has no import cycle any more: take it out of the list in xtask/src/check/cycles.rs",
                    own.name
                ));
            }
            if own.name != "xtask" {
                wrong.extend(walls::of(&own.name, file)?);
            }
        }
    }
    Ok(wrong)
}
