//! `docs/promises.md`: each promise has a number for good, and names a test or a proof that is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use syn::{Attribute, Expr, ExprLit, Item, Lit, Meta};

use crate::prove;

/// Finds what is wrong with the promises in a repository.
pub(crate) fn wrong(root: &Path) -> Result<Vec<String>> {
    let document = "docs/promises.md";
    let text = fs::read_to_string(root.join(document))
        .with_context(|| format!("cannot read {document}"))?;
    let mut wrong = Vec::new();
    let mut numbers = BTreeSet::new();
    for (at, line) in text.lines().enumerate() {
        let Some((number, promise)) = line.split_once(". ") else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        let mut tell = |what: String| wrong.push(format!("{document}:{}: {what}", at + 1));
        if !numbers.insert(number) {
            tell(format!("there are two promises {number}"));
        }
        let Some((_, shown)) = promise.rsplit_once(" — ") else {
            tell(format!("promise {number} names no test and no proof behind ` — `"));
            continue;
        };
        for named in shown.split('`').skip(1).step_by(2) {
            if let Err(error) = is_there(root, named) {
                tell(format!("`{named}`: {error:#}"));
            }
        }
        if !shown.contains('`') {
            tell(format!("promise {number} names no test and no proof"));
        }
    }
    match numbers.last() {
        None => wrong.push(format!("{document} holds no promise")),
        // A new one takes the next number, wherever it stands.
        Some(last) if *last != numbers.len() => {
            wrong.push(format!("{document}: {last} is the highest of {} numbers", numbers.len()));
        }
        Some(_) => {}
    }
    Ok(wrong)
}

/// Tells whether there is a test or a proof of this name.
fn is_there(root: &Path, named: &str) -> Result<()> {
    if let Some(proof) = named.strip_prefix("cargo xtask prove ") {
        return prove::names().contains(&proof).then_some(()).context("there is no such proof");
    }
    let (of_crate, rest) =
        named.split_once(' ').context("write CRATE FILE::TEST or `cargo xtask prove NAME`")?;
    let (file, test) = rest.split_once("::").context("write CRATE FILE::TEST")?;
    let path = Path::new("crates").join(of_crate).join(file);
    let source = fs::read_to_string(root.join(&path))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let parsed = syn::parse_file(&source)?;
    holds_test(&parsed.items, test).then_some(()).context("the file has no test of that name")
}

/// Tells whether an ignored test is run all the same, which its reason says.
fn is_run(ignored: &Attribute) -> bool {
    let Meta::NameValue(reason) = &ignored.meta else { return false };
    let Expr::Lit(ExprLit { lit: Lit::Str(reason), .. }) = &reason.value else { return false };
    reason.value().contains("`cargo xtask test` runs it")
}

fn holds_test(items: &[Item], name: &str) -> bool {
    items.iter().any(|item| match item {
        Item::Fn(function) => {
            function.sig.ident == name
                && has(&function.attrs, "test")
                && function.attrs.iter().filter(|one| one.path().is_ident("ignore")).all(is_run)
        }
        Item::Mod(module) => {
            module.content.as_ref().is_some_and(|(_, items)| holds_test(items, name))
        }
        // Tests whose cases are drawn.
        Item::Macro(called)
            if called.mac.path.segments.last().is_some_and(|last| last.ident == "proptest") =>
        {
            let words = called.mac.tokens.to_string();
            words.contains(&format!("fn {name} (")) || words.contains(&format!("fn {name}("))
        }
        _ => false,
    })
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "#[test]\nfn plain() {}\nfn no_test() {}\n#[test]\n#[ignore]\nfn slow() {}\n\
        #[test]\n#[ignore = \"needs root; `cargo xtask test` runs it\"]\nfn of_root() {}\n\
        mod tests { proptest! { #[test] fn drawn(a in 0..9u8) {} } #[test] fn inner() {} }\n// fn comment()\n";

    fn told(promises: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("crates/one/tests")).unwrap();
        fs::create_dir_all(folder.path().join("docs")).unwrap();
        fs::write(folder.path().join("crates/one/tests/all.rs"), TESTS).unwrap();
        fs::write(folder.path().join("docs/promises.md"), promises).unwrap();
        wrong(folder.path()).unwrap()
    }

    #[test]
    fn promises_with_their_tests_are_good() {
        let good = "# Promises\n\n1. One. — `one tests/all.rs::plain`, `one tests/all.rs::inner`\n\
            3. Three. — `one tests/all.rs::drawn`\n\n## More\n\n2. Two. — `cargo xtask prove initrd`, `one tests/all.rs::of_root`\n";
        assert_eq!(told(good), [""; 0]);
    }

    #[test]
    fn a_promise_that_nothing_shows_is_told_with_its_line() {
        for (line, what) in [
            ("1. One.", "names no test"),
            ("1. One. — by faith", "names no test"),
            ("1. One. — `one tests/all.rs::gone`", "no test of that name"),
            ("1. One. — `one tests/all.rs::no_test`", "no test of that name"),
            ("1. One. — `one tests/all.rs::slow`", "no test of that name"),
            ("1. One. — `one tests/all.rs::comment`", "no test of that name"),
            ("1. One. — `one tests/none.rs::plain`", "cannot read crates/one/tests/none.rs"),
            ("1. One. — `two tests/all.rs::plain`", "cannot read"),
            ("1. One. — `one tests/all.rs::plain`, `cargo xtask prove nothing`", "no such proof"),
            ("1. One. — `plain`", "write CRATE"),
        ] {
            let told = told(&format!("# Promises\n\n{line}\n"));
            assert_eq!(told.len(), 1, "{line}: {told:?}");
            assert!(
                told[0].starts_with("docs/promises.md:3: ") && told[0].contains(what),
                "{told:?}"
            );
        }
        assert_eq!(told("# Promises\n"), ["docs/promises.md holds no promise"]);
        let plain = "One. — `one tests/all.rs::plain`";
        assert_eq!(
            told(&format!("1. {plain}\n3. {plain}\n")),
            ["docs/promises.md: 3 is the highest of 2 numbers"]
        );
        assert_eq!(
            told(&format!("1. {plain}\n1. {plain}\n")),
            ["docs/promises.md:2: there are two promises 1"]
        );
    }
}
