//! Which crate may know which crate of osier and which library, and that no dependency is idle.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::root;

/// The crates of osier, from the ground up, and which of the crates before it each may know (the table of ARCHITECTURE.md).
const LAYERS: &[(&str, &[&str])] = &[
    ("osier-archive", &[]),
    ("osier-boot", &[]),
    ("osier-fetch", &[]),
    ("osier-image", &[]),
    ("osier-kconfig", &[]),
    ("osier-patch", &[]),
    ("osier-recipe", &[]),
    ("osier-sandbox", &[]),
    ("osier-store", &[]),
    ("osier-check", &["osier-image", "osier-kconfig"]),
    ("osier-debian", &["osier-archive"]),
    (
        "osier-build",
        &[
            "osier-archive",
            "osier-check",
            "osier-patch",
            "osier-recipe",
            "osier-sandbox",
            "osier-store",
        ],
    ),
    (
        "osier-product",
        &["osier-build", "osier-check", "osier-image", "osier-recipe", "osier-store"],
    ),
    (
        "osier",
        &[
            "osier-boot",
            "osier-build",
            "osier-check",
            "osier-debian",
            "osier-fetch",
            "osier-image",
            "osier-kconfig",
            "osier-patch",
            "osier-product",
            "osier-recipe",
            "osier-sandbox",
            "osier-store",
        ],
    ),
    ("xtask", &["osier-store"]),
];

/// Libraries that are heavy or powerful, and the crates that may know them. Tests may as well.
const QUARANTINE: &[(&str, &[&str])] = &[
    ("bzip2", &["osier-archive"]),
    ("clap", &["osier"]),
    ("indicatif", &["osier"]),
    ("libc", &["osier-sandbox"]),
    ("nix", &["xtask"]),
    ("pgp", &["osier-debian"]),
    ("rusqlite", &["osier-store"]),
    ("rustls-native-certs", &["osier-fetch"]),
    ("signal-hook", &["osier"]),
    ("syn", &["xtask"]),
    ("toml", &["osier-recipe"]),
    ("ureq", &["osier-fetch"]),
    ("zip", &["osier-archive"]),
];

/// A crate of the workspace, as cargo sees it.
pub(crate) struct Crate {
    pub(crate) name: String,
    folder: PathBuf,
    /// The files of its library and its program.
    pub(crate) roots: Vec<PathBuf>,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    for_tests: bool,
}

/// Asks cargo for the crates of the workspace.
pub(crate) fn crates() -> Result<Vec<Crate>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let packages = told["packages"].as_array().context("cargo names no packages")?;
    packages.iter().map(of_cargo).collect()
}

fn of_cargo(package: &Value) -> Result<Crate> {
    let word = |value: &Value| value.as_str().map(ToOwned::to_owned).context("cargo gives no text");
    let list = |name: &str| package[name].as_array().cloned().unwrap_or_default();
    let manifest = PathBuf::from(word(&package["manifest_path"])?);
    let mut roots = Vec::new();
    for target in list("targets") {
        let kinds = target["kind"].as_array().cloned().unwrap_or_default();
        if kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
            roots.push(word(&target["src_path"])?.into());
        }
    }
    let dependencies = list("dependencies").into_iter().map(|dependency| {
        let for_tests = dependency["kind"] == "dev";
        Ok(Dependency { name: word(&dependency["name"])?, for_tests })
    });
    Ok(Crate {
        name: word(&package["name"])?,
        folder: manifest.parent().context("a manifest lies in a folder")?.to_path_buf(),
        roots,
        dependencies: dependencies.collect::<Result<_>>()?,
    })
}

/// Finds dependencies that break the layers, cross a quarantine, or are used by nothing.
pub(crate) fn wrong(crates: &[Crate]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for own in crates {
        wrong.extend(across(own));
        wrong.extend(idle(own)?);
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    for name in of_workspace(&manifest) {
        if !crates.iter().any(|own| own.dependencies.iter().any(|used| used.name == name)) {
            wrong.push(format!("Cargo.toml: `{name}` is a dependency of no crate; take it out"));
        }
    }
    Ok(wrong)
}

/// Finds dependencies of a crate that it may not have.
fn across(own: &Crate) -> Vec<String> {
    let name = &own.name;
    let Some((_, may)) = LAYERS.iter().find(|(crate_name, _)| crate_name == name) else {
        return vec![format!(
            "`{name}` is not among the layers of xtask/src/check/layers.rs; say there which crates it may know"
        )];
    };
    let quarantine: BTreeMap<_, _> = QUARANTINE.iter().copied().collect();
    let mut wrong = Vec::new();
    for used in &own.dependencies {
        let used_name = used.name.as_str();
        let of_osier = used_name == "osier" || used_name.starts_with("osier-");
        if of_osier && !may.contains(&used_name) {
            wrong.push(format!(
                "`{name}` depends on `{used_name}`, and may not (xtask/src/check/layers.rs)"
            ));
        }
        if let Some(only) = quarantine.get(used_name)
            && !used.for_tests
            && !only.contains(&name.as_str())
        {
            wrong.push(format!(
                "`{name}` depends on `{used_name}`, which is for {} alone (xtask/src/check/layers.rs)",
                only.join(", ")
            ));
        }
    }
    wrong
}

/// Finds dependencies that no source of a crate names.
fn idle(own: &Crate) -> Result<Vec<String>> {
    let (mut program, mut tests) = (String::new(), String::new());
    gather(&own.folder.join("src"), &mut program)?;
    for place in ["tests", "examples", "benches"] {
        gather(&own.folder.join(place), &mut tests)?;
    }
    let build_script = own.folder.join("build.rs");
    if build_script.exists() {
        program.push_str(&fs::read_to_string(build_script)?);
    }
    let idle = own.dependencies.iter().filter(|used| {
        let name = used.name.replace('-', "_");
        let named = names(&program, &name) || used.for_tests && names(&tests, &name);
        !named
    });
    let told =
        |used: &Dependency| format!("`{}` names its dependency `{}` nowhere", own.name, used.name);
    Ok(idle.map(told).collect())
}

fn gather(folder: &Path, into: &mut String) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, into)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Tells whether a source names a crate, outside of its comments.
fn names(source: &str, name: &str) -> bool {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric() && letter != '_'))
        .any(|word| word == name)
}

/// Gives the names below `[workspace.dependencies]`.
fn of_workspace(manifest: &str) -> Vec<String> {
    let below = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let lines = below.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, used: &[(&str, bool)]) -> Crate {
        let dependencies = used.iter().map(|(name, for_tests)| Dependency {
            name: (*name).to_owned(),
            for_tests: *for_tests,
        });
        let dependencies = dependencies.collect();
        Crate { name: name.to_owned(), folder: PathBuf::new(), roots: Vec::new(), dependencies }
    }

    #[test]
    fn an_arrow_up_or_sideways_is_found_in_tests_too() {
        for used in ["osier", "osier-build", "osier-sandbox", "osier-new"] {
            for for_tests in [false, true] {
                let wrong = across(&of("osier-store", &[(used, for_tests)]));
                assert_eq!(wrong.len(), 1, "{used}");
                assert!(wrong[0].contains(used), "{wrong:?}");
            }
        }
        assert_eq!(across(&of("osier-build", &[("osier-store", false)])), [""; 0]);
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert!(across(&of("osier-new", &[]))[0].contains("is not among the layers"));
    }

    #[test]
    fn a_library_in_quarantine_is_for_some_crates_and_for_tests() {
        assert_eq!(across(&of("osier-build", &[("toml", false), ("ureq", false)])).len(), 2);
        assert_eq!(across(&of("osier-build", &[("toml", true)])), [""; 0]);
        assert_eq!(across(&of("osier-recipe", &[("toml", false)])), [""; 0]);
    }

    #[test]
    fn a_dependency_that_no_source_names_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("src/lib.rs", "use one::thing;\n// two::thing\nlet words = not_three;"),
            ("tests/all.rs", "use four_five::thing; use six::thing;"),
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let used =
            [("one", false), ("two", false), ("three", true), ("four-five", true), ("six", false)];
        let own = Crate { folder: folder.path().to_path_buf(), ..of("own", &used) };
        let told = |name: &str| format!("`own` names its dependency `{name}` nowhere");
        assert_eq!(idle(&own).unwrap(), ["two", "three", "six"].map(told));
    }

    #[test]
    fn every_layer_knows_only_layers_before_it() {
        for (at, (name, may)) in LAYERS.iter().enumerate() {
            let before: Vec<&str> = LAYERS[..at].iter().map(|(name, _)| *name).collect();
            assert!(may.iter().all(|other| before.contains(other)), "{name}");
        }
    }
}
