//! A store in trouble: two builds of one thing at once, a full disk, a file system that can only be read.

use std::fs;
use std::process::{Command, Stdio};

use crate::changes::{SCRIPT_KIND, pin_programs, programs};
use crate::space::Space;

/// A component of two steps.
fn twice(round: u32) -> String {
    format!(
        "name = \"twice\"\n[[step]]\nname = \"first\"\nrun = \"sleep 0.2; echo {round} > /build/first\"\n\
         [[step]]\nname = \"second\"\nrun = \"sleep 0.2; cp /build/first $OUTPUT\"\n"
    )
}

/// A component whose second step needs more than there is of disk, for a moment.
const BIG: &str = "name = \"big\"\n[[step]]\nname = \"first\"\nrun = \"echo first > /build/first\"\n\
    [[step]]\nname = \"fill\"\nrun = \"head -c 1300M /dev/zero > /build/zeros; : > /build/zeros; cp /build/first $OUTPUT\"\n";

#[test]
fn two_builds_of_one_thing_at_once_both_end_well_with_one_result() {
    let space = Space::new(&[("osier.toml", "name = \"p\"\n"), SCRIPT_KIND]);
    pin_programs(&space);
    let build = ["--offline", "--locked", "build", "twice"];
    fs::create_dir_all(space.project().join("recipes")).unwrap();
    for round in 0..4 {
        fs::write(space.project().join("recipes/twice.toml"), twice(round)).unwrap();
        let start = || {
            let mut command = space.command(&build);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let results = [start(), start()].map(|started| {
            let output = started.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        });
        assert!(results[0].starts_with("twice:main ") && results[0] == results[1], "{results:?}");
        let again = space.osier(&build);
        assert!(!String::from_utf8_lossy(&again.stderr).contains("run  "), "nothing runs again");
    }
}

/// A file system of 1200 MiB of its own, in a mount namespace of its own, as any user can have it: osier's reserve and a
/// little more.
const FULL: &str = r#"
room=$1 osier=$2 package=$3
mount -t tmpfs -o size=1200m,mode=700 none "$room"
build() { "$osier" --store "$room/store" --locked --offline "$@" 2>&1 && echo "exit 0" || echo "exit $?"; }
build fetch --import "$package"
echo "== full"; build build big
echo "== below the reserve"; build build big
echo "== room is made"; build gc; mount -o remount,size=3000m "$room"
echo "== resumed"; build build big
mount -o remount,bind,ro "$room"
echo "== read-only"; build build big; build status big; build gc
"#;

#[test]
fn a_full_disk_stops_a_build_that_resumes_and_a_store_that_can_only_be_read_is_told() {
    let space =
        Space::new(&[("osier.toml", "name = \"p\"\n"), SCRIPT_KIND, ("recipes/big.toml", BIG)]);
    pin_programs(&space);
    let room = space.folder.path().join("room");
    fs::create_dir(&room).unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-euc", FULL, "sh"])
        .args([room.as_os_str(), env!("CARGO_BIN_EXE_osier").as_ref(), programs().as_os_str()])
        .current_dir(space.project())
        .env("OSIER_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let part = |name: &str| {
        let (_, rest) =
            text.split_once(&format!("== {name}\n")).unwrap_or_else(|| panic!("{text}"));
        rest.split("== ").next().unwrap()
    };
    let says = |name: &str, wanted: &[&str]| {
        for wanted in wanted {
            assert!(part(name).contains(wanted), "`{name}` should say `{wanted}`:\n{text}");
        }
    };
    says("full", &["run  big:first", "error[S007]: big:fill", "exit 1"]);
    says("below the reserve", &["error[M004]", "bytes of disk are free", "exit 4"]);
    says("room is made", &["removed", "exit 0"]);
    says("resumed", &["run  big:fill", "big:main ", "exit 0"]);
    assert!(!part("resumed").contains("big:first"), "{text}");
    says("read-only", &["error[M003]: the store", "is read-only", "exit 4"]);
    says("read-only", &["big: 1 of 1", "exit 0"]);
}
