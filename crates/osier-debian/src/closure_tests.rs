//! Closures over small indexes, each with one difficulty.

use proptest::prelude::*;

use super::*;

const SHA: &str = "3a2118df47bf3f04285649f0455c2fc6fe2dc7f0b237073038aa00af41f0d5f2";

/// Builds an index from lines such as `a 1; Depends: b (>= 2); Provides: c`.
fn index(lines: &[&str]) -> PackageIndex {
    let mut text = String::new();
    for line in lines {
        let mut parts = line.split("; ");
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        text += &format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}\nSize: 1\nSHA256: {SHA}\n"
        );
        for field in parts {
            text += &format!("{field}\n");
        }
        text += "\n";
    }
    PackageIndex::parse(text.as_bytes()).unwrap()
}

fn resolve(index: &PackageIndex, wanted: &[&str]) -> Result<Vec<String>, String> {
    let wanted: Vec<Wanted> = wanted.iter().map(|text| text.parse().unwrap()).collect();
    closure(index, &wanted)
        .map(|list| {
            list.iter().map(|entry| format!("{} {}", entry.package, entry.version)).collect()
        })
        .map_err(|error| error.to_string())
}

#[test]
fn closures() {
    let table: &[(&[&str], &[&str], &[&str])] = &[
        // Dependencies come first, recommendations not at all.
        (
            &["a 1; Depends: b; Pre-Depends: c; Recommends: d", "b 1; Depends: c", "c 1", "d 1"],
            &["a"],
            &["c 1", "b 1", "a 1"],
        ),
        // Circles end, and the order stays fixed.
        (
            &["a 1; Depends: b", "b 1; Depends: c", "c 1; Depends: a, d", "d 1"],
            &["b"],
            &["d 1", "c 1", "b 1", "a 1"],
        ),
        // The newest version, unless a bound says otherwise.
        (&["a 1", "a 2", "a 10"], &["a"], &["a 10"]),
        (&["a 1", "a 2", "a 10"], &["a (<< 10)"], &["a 2"]),
        // The first alternative, unless another one is already in.
        (&["a 1; Depends: x | y", "x 1", "y 1"], &["a"], &["x 1", "a 1"]),
        (&["a 1; Depends: x | y", "x 1", "y 1"], &["a", "y"], &["y 1", "a 1"]),
        (
            &["a 1; Depends: b, x | y", "b 1; Depends: c", "c 1; Depends: y", "x 1", "y 1"],
            &["a"],
            &["y 1", "c 1", "b 1", "a 1"],
        ),
        // The second alternative if the first does not exist, is too old, or is a dead end.
        (&["a 1; Depends: x | y", "y 1"], &["a"], &["y 1", "a 1"]),
        (&["a 1; Depends: x (>= 2) | y", "x 1", "y 1"], &["a"], &["y 1", "a 1"]),
        (&["a 1; Depends: x | y", "x 1; Depends: nothing", "y 1"], &["a"], &["y 1", "a 1"]),
        // Virtual packages, versioned or not.
        (&["a 1; Depends: v", "p 1; Provides: v", "q 1; Provides: v"], &["a"], &["p 1", "a 1"]),
        (
            &["a 1; Depends: v", "p 1; Provides: v", "q 1; Provides: v"],
            &["a", "q"],
            &["q 1", "a 1"],
        ),
        (
            &["a 1; Depends: v (>= 2)", "p 9; Provides: v", "q 1; Provides: v (= 2)"],
            &["a"],
            &["q 1", "a 1"],
        ),
        (&["p 1; Provides: v"], &["v"], &["p 1"]),
        // A version chosen early gives way to a bound met late.
        (
            &["a 1; Depends: c", "b 1; Depends: c (= 1)", "c 1", "c 2"],
            &["a", "b"],
            &["c 1", "a 1", "b 1"],
        ),
        // An older version where the newest cannot be had.
        (&["a 1", "a 2; Depends: nothing"], &["a"], &["a 1"]),
        (&["a 2; Depends: perl:any", "perl 5"], &["a"], &["perl 5", "a 2"]),
        // A package may conflict with the virtual package that it provides.
        (&["a 1; Conflicts: v; Provides: v"], &["a"], &["a 1"]),
        (&["a 1; Breaks: b (<< 2)", "b 2"], &["a", "b"], &["a 1", "b 2"]),
        // A conflict is avoided where another choice is left.
        (
            &["a 1; Depends: x | y", "b 1; Conflicts: x", "x 1", "y 1"],
            &["a", "b"],
            &["y 1", "a 1", "b 1"],
        ),
        (&["a 1"], &[], &[]),
    ];
    for (lines, wanted, expected) in table {
        let index = index(lines);
        let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(resolve(&index, wanted), Ok(expected.clone()), "{lines:?} {wanted:?}");
        let backwards: Vec<&str> = wanted.iter().rev().copied().collect();
        assert_eq!(resolve(&index, &backwards), Ok(expected), "order of the request");
    }
}

#[test]
fn failures_name_what_and_why() {
    let table: &[(&[&str], &[&str], &str)] = &[
        (&["bison 1", "flex 1"], &["bisn"], "no package `bisn` in the index; similar names: bison"),
        (&["bison 1"], &["gcc"], "no package `gcc` in the index"),
        (
            &["a 1; Depends: b", "b 2; Depends: c (>= 3) | d", "c 1"],
            &["a"],
            "`c (>= 3) | d` cannot be satisfied: needed by b 2, needed by a 1, needed by the request",
        ),
        (&["a 1"], &["a (>= 2)"], "`a (>= 2)` cannot be satisfied: needed by the request"),
        (&["a 1; Conflicts: b", "b 2"], &["a", "b"], "`a 1` conflicts with `b 2` (`b`)"),
        (
            &["a 1; Breaks: v (<< 3)", "b 2; Provides: v (= 2)"],
            &["a", "b"],
            "`a 1` conflicts with `b 2` (`v (<< 3)`)",
        ),
        (&["a 1; Depends: b (", "b 1"], &["a"], "package `a`"),
        (
            &["a 1; Depends: c (= 1)", "b 1; Depends: c (= 2)", "c 1", "c 2"],
            &["a", "b"],
            "`c (= 2)` cannot be satisfied: needed by b 1, needed by the request",
        ),
    ];
    for (lines, wanted, message) in table {
        assert_eq!(resolve(&index(lines), wanted), Err((*message).to_owned()), "{lines:?}");
    }
}

#[test]
fn deep_chains_do_not_overflow() {
    let lines: Vec<String> = (0..20_000).map(|i| format!("p{i} 1; Depends: p{}", i + 1)).collect();
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.push("p20000 1");
    let sorted = resolve(&index(&lines), &["p0"]).unwrap();
    assert_eq!((sorted.len(), sorted[0].as_str()), (20_001, "p20000 1"));
}

proptest! {
    #[test]
    fn every_closure_is_closed_and_independent_of_the_request_order(
        packages in prop::collection::vec((0..6usize, 1..4usize, prop::collection::vec((0..6usize, 0..6usize, 0..5usize), 0..3)), 1..10),
        wanted in prop::collection::vec(0..6usize, 1..4)
    ) {
        let lines: Vec<String> = packages
            .iter()
            .map(|(name, version, needs)| {
                let needs: Vec<String> = needs
                    .iter()
                    .map(|(a, b, bound)| match bound {
                        0 => format!("p{a} (>= 2)"),
                        1 => format!("p{a} (<< 3) | p{b}"),
                        2 => format!("p{a} | p{b}"),
                        _ => format!("p{a}"),
                    })
                    .collect();
                format!("p{name} {version}; Depends: {}", needs.join(", "))
            })
            .collect();
        let index = index(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut wanted: Vec<Wanted> = wanted.iter().map(|name| Wanted::named(&format!("p{name}"))).collect();
        if let Ok(found) = closure(&index, &wanted) {
            for name in &wanted {
                prop_assert!(found.iter().any(|entry| entry.package == name.package));
            }
            for entry in &found {
                for dependency in parse_dependencies(&entry.depends).unwrap() {
                    let met = dependency.alternatives.iter().any(|relation| found.iter().any(|other| fits(other, relation)));
                    prop_assert!(met, "{} of {}", dependency, entry.package);
                }
                prop_assert_eq!(found.iter().filter(|other| other.package == entry.package).count(), 1);
            }
            wanted.reverse();
            prop_assert_eq!(closure(&index, &wanted).unwrap(), found);
        }
    }
}

#[test]
fn what_is_not_served_is_left_out() {
    let index = index(&["a 1; Depends: b", "b 1", "b 2", "b 3", "c 1; Depends: b (>= 2)"]);
    let resolve = |wanted: &str, without: &[(&str, &str)]| {
        let without = without.iter().map(|(name, version)| ((*name).into(), (*version).into()));
        let closure = closure_without(&index, &[Wanted::named(wanted)], &without.collect()).ok()?;
        Some(closure.iter().map(|entry| entry.version.to_string()).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(resolve("a", &[]).as_deref(), Some("3 1"));
    assert_eq!(resolve("a", &[("b", "3")]).as_deref(), Some("2 1"));
    assert_eq!(resolve("a", &[("b", "3"), ("b", "2")]).as_deref(), Some("1 1"));
    assert_eq!(resolve("c", &[("b", "3"), ("b", "2")]), None);
    assert_eq!(resolve("a", &[("a", "1")]), None);
}
