//! What a look-up costs beside many records: the last part of `cargo xtask bench`, and `cargo xtask bench index` alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use osier_store::{Digest, Index, Key, Record};

use crate::bench::{cost, generate};
use crate::root;
use crate::run;
use crate::workshop::Workshop;

/// How many records, and how many entries of a folder, a full store has.
const RECORDS: u64 = 1_000_000;
const ENTRIES: u64 = 100_000;

/// How many components do nothing.
const COMPONENTS: usize = 1000;

/// Measures `status` and a build that does nothing, beside few records and beside a million.
pub(crate) fn all() -> Result<()> {
    run(&["cargo", "build", "--release", "--locked"])?;
    let store = root().join("target/bench-index-store");
    // What fills it below is not all osier's, so that osier would leave it.
    clear(&store)?;
    let shop = Workshop::new("bench-index", &store)?;
    fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    generate(&shop, COMPONENTS)?;
    shop.write(
        "recipes/one.toml",
        "name = \"one\"\n[[step]]\nname = \"install\"\nrun = \"echo > $OUTPUT/one\"\n",
    )?;
    shop.good(&["build", "final"])?;
    shop.good(&["build", "one"])?;
    let calls: [(&str, &[&str]); 2] = [
        ("`osier status` of one component", &["status", "one"]),
        ("a build of 1,000 components that does nothing", &["build", "final"]),
    ];
    let measure =
        || -> Result<Vec<f64>> { calls.iter().map(|(_, words)| cost(&shop, 20, words)).collect() };
    let empty = measure()?;
    fill(&shop)?;
    let full = measure()?;
    for ((what, _), (empty, full)) in calls.iter().zip(empty.iter().zip(&full)) {
        println!("| {what}, small store | {empty:.1} ms |");
        println!("| {what}, a million records and folders of 100,000 entries | {full:.1} ms |");
        println!("| the latter in multiples of the former | {:.2} times |", full / empty);
    }
    clear(&store)
}

fn clear(store: &Path) -> Result<()> {
    match fs::remove_dir_all(store) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", store.display()))
        }
        _ => Ok(()),
    }
}

/// Adds records of random keys, and entries to the store's folders.
fn fill(shop: &Workshop) -> Result<()> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let store = &shop.store;
    let mut index = Index::open(&store.join("index.db"), &store.join("aside"), boot.trim(), true)?;
    let random = |number: u64, what: &str| Digest::of(format!("{what} {number}").as_bytes());
    let numbers: Vec<u64> = (0..RECORDS / 2).collect();
    for numbers in numbers.chunks(10_000) {
        let records = numbers.iter().flat_map(|number| {
            let key = Key(random(*number, "key").0);
            let outputs = vec![("main".to_owned(), random(*number, "output"))];
            [Record::Layer(key, Vec::new()), Record::Outputs(key, outputs)]
        });
        index.append_all(&records.collect::<Vec<_>>())?;
    }
    for folder in ["layers", "areas", "logs", "failed", "uses", "work"] {
        let folder = store.join(folder);
        for number in 0..ENTRIES {
            let name = random(number, "entry").to_string();
            let place = match folder.file_name().and_then(|name| name.to_str()) {
                Some("logs") => folder.join(format!("{name}.log")),
                Some("work") => folder.join(format!("strange-{name}")),
                _ => folder.join(name),
            };
            fs::write(&place, "").with_context(|| format!("cannot write {}", place.display()))?;
        }
    }
    Ok(())
}
