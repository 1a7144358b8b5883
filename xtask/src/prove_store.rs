//! The store in trouble: a full disk, a file system that can only be read, two builds of one thing at once.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::root;
use crate::workshop::Workshop;

/// A component whose second step needs 1300 MiB of disk for a moment. Its environment is that of busybox's
/// recipe, which is pinned.
const BIG: &str = r#"name = "big"
packages = ["bc", "bison", "flex"]
[[step]]
name = "first"
run = "echo first > /build/first"
[[step]]
name = "fill"
run = "head -c 1300M /dev/zero > /build/zeros; rm /build/zeros; cp /build/first $OUTPUT"
"#;

/// Makes the build environment again in the copied store: a copy is not taken for what was put there.
const WARM: &str = r#"name = "warm"
packages = ["bc", "bison", "flex"]
[[step]]
name = "warm"
run = "echo warm > $OUTPUT/warm"
"#;

/// A file system of 4600 MiB of its own, in a mount namespace of its own, as any user can have it. A filler
/// leaves room for osier's reserve, and not for the step.
const FULL: &str = r#"
room=$1 store=$2 osier=$3
mount -t tmpfs -o size=4600m,mode=700 none "$room"
cp -a "$store" "$room/store"
"$osier" --store "$room/store" --locked --offline build warm
used=$(du -sm "$room/store" | cut -f1)
head -c "$((4600 - used - 1150))M" /dev/zero > "$room/filler"
build() { "$osier" --store "$room/store" --locked --offline "$@" 2>&1 && echo "exit 0" || echo "exit $?"; }
echo "== full"; build build big
echo "== below the reserve"; build build big
rm "$room/filler"
echo "== room is made"; build gc
echo "== resumed"; build build big
mount -o remount,bind,ro "$room"
echo "== read-only"; build build big; build status big; build gc
"#;

/// Takes one part of what the script printed.
fn part<'t>(text: &'t str, name: &str) -> Result<&'t str> {
    let from = text.split_once(&format!("== {name}\n")).context("the script did not come so far");
    let (_, rest) = from.with_context(|| text.to_owned())?;
    Ok(rest.split("== ").next().unwrap_or(rest))
}

fn says(text: &str, name: &str, wanted: &[&str]) -> Result<()> {
    let part = part(text, name)?;
    for wanted in wanted {
        ensure!(part.contains(wanted), "`{name}` should say `{wanted}`:\n{part}");
    }
    Ok(())
}

/// All of it.
pub(crate) fn all(_: &Path) -> Result<()> {
    let store = root().join("target/proofs/store-store");
    let shop = Workshop::new("store", &store)?;
    std::fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    let twice = |round: u32| {
        format!(
            "name = \"twice\"\npackages = [\"bc\", \"bison\", \"flex\"]\n[[step]]\nname = \"first\"\nrun = \"sleep 0.2; echo {round} > /build/first\"\n[[step]]\nname = \"second\"\nrun = \"sleep 0.2; cp /build/first $OUTPUT\"\n"
        )
    };
    // Two at once, from the first moment of an empty store on.
    for round in 0..4 {
        shop.write("recipes/twice.toml", &twice(round))?;
        let start = || {
            let mut command = shop.command(&["--locked", "build", "twice"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        let (one, two) = (start()?, start()?);
        let mut results = Vec::new();
        for build in [one, two] {
            let output = build.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "one of two builds at once failed:\n{text}");
            results.push(output.stdout);
        }
        ensure!(results[0] == results[1], "two builds at once should give the same");
        let again = shop.good(&["--locked", "build", "twice"])?;
        ensure!(!again.contains("run  "), "nothing should run again:\n{again}");
    }
    println!("prove store: two builds of one thing at once both end well, with one result");

    shop.write("recipes/big.toml", BIG)?;
    shop.write("recipes/warm.toml", WARM)?;
    let room = shop.project.join("room");
    std::fs::create_dir(&room)?;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-euc", FULL, "sh"])
        .args([&room, &store, &root().join("target/release/osier")])
        .current_dir(&shop.project)
        .stdin(Stdio::null())
        .output()
        .context("cannot run unshare")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    says(&text, "full", &["run  big:first", "error[S007]: big:fill", "exit 1"])?;
    says(&text, "below the reserve", &["error[M004]", "bytes of disk are free", "exit 4"])?;
    says(&text, "room is made", &["removed", "exit 0"])?;
    says(&text, "resumed", &["run  big:fill", "big:main ", "exit 0"])?;
    ensure!(!part(&text, "resumed")?.contains("big:first"), "{text}");
    let wanted = ["error[M003]: the store", "can only be read", "exit 4", "big: 1 of 1", "exit 0"];
    says(&text, "read-only", &wanted)?;
    println!(
        "prove store: a full disk stops a build, which resumes at its step; a store that can only be read is told"
    );
    shop.good(&["gc", "--all"]).map(drop)
}
