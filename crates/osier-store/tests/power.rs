//! A few power cuts of a real ext4 under the store alone, where this runs as root; `cargo xtask prove power` cuts whole builds.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use osier_store::{Digest, Key, LayerStack, Record, Store};

/// Tells this program that it runs in a mount namespace of its own.
const INSIDE: &str = "OSIER_TEST_POWER";

fn works(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
#[ignore = "needs root and a loop device; `cargo xtask test` runs it where they are"]
fn cuts_of_an_ext4_lose_only_what_was_not_synced() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "cuts_of_an_ext4_lose_only_what_was_not_synced",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// A file system in a file.
struct Disk {
    file: PathBuf,
    place: PathBuf,
}

impl Disk {
    fn mount(&self, options: &str) -> bool {
        let options = format!("loop,commit=1{options}");
        let paths = [&self.file, &self.place];
        works(Command::new("mount").args(["-t", "ext4", "-o", &options]).args(paths))
    }

    fn cut(&self) {
        // EXT4_IOC_SHUTDOWN without flushing the journal, by a program that every Debian has.
        let script = "open(my $disk, '<', $ARGV[0]) or die $!; my $flag = pack('L', 2); ioctl($disk, 0x8004587d, $flag) or die $!";
        assert!(works(Command::new("perl").args(["-e", script]).arg(&self.place)));
        let begun = Instant::now();
        while !works(Command::new("umount").arg(&self.place)) {
            assert!(begun.elapsed() < Duration::from_secs(20), "the disk cannot be unmounted");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where a check has failed in between; else it is not mounted.
        works(Command::new("umount").arg(&self.place));
    }
}

fn text(round: u32, number: u32) -> String {
    // Some are the same in each round, so that names are there already.
    let round = if number.is_multiple_of(3) { 0 } else { round };
    format!("round {round} number {number}\n").repeat(200)
}

/// Puts a step's layer, its output and the area of it into the store; gives the tree.
fn work(store: &Store, round: u32) -> Digest {
    let scratch = store.scratch("step").unwrap();
    let made = scratch.path().join("upper");
    fs::create_dir_all(made.join("output")).unwrap();
    for number in 0..20 {
        fs::write(made.join("output").join(number.to_string()), text(round, number)).unwrap();
    }
    let key = key(round);
    store.put_layer(&key, &made, Vec::new(), "a:build").unwrap();
    let layers = LayerStack::new(vec![store.layer_path(&key)]);
    let tree = store.take_tree(&layers, Path::new("output")).unwrap();
    let digest = store.put_tree(&tree).unwrap();
    store.index().append(Record::Outputs(key, vec![("main".into(), digest)])).unwrap();
    store.area(&digest, 1).unwrap();
    digest
}

fn key(round: u32) -> Key {
    Key([u8::try_from(round).unwrap(); 32])
}

/// Says of a folder whether all files are there as they were written.
fn is_right(folder: &Path, round: u32) -> bool {
    (0..20).all(|number| {
        fs::read_to_string(folder.join(number.to_string()))
            .is_ok_and(|found| found == text(round, number))
    })
}

fn inside() {
    let base = tempfile::tempdir().unwrap();
    let disk = Disk { file: base.path().join("disk"), place: base.path().join("place") };
    fs::create_dir(&disk.place).unwrap();
    fs::File::create(&disk.file).unwrap().set_len(256 << 20).unwrap();
    if !works(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.file)) || !disk.mount("") {
        return println!("not run: this machine cannot make or mount an ext4");
    }
    let (mut lost, mut kept) = (0, 0);
    let rounds = 9;
    for round in 0..rounds {
        let store = Store::open(&disk.place.join("store"), &format!("boot-{round}-a")).unwrap();
        let digest = work(&store, round);
        let synced = round % 4 == 1;
        if synced {
            store.sync().unwrap();
        }
        // Long enough for the journal: names reach the disk, and bytes do not.
        std::thread::sleep(Duration::from_millis([1400, 0, 700][round as usize % 3]));
        drop(store);
        disk.cut();
        assert!(disk.mount(["", ",data=writeback", ",nodelalloc"][round as usize % 3]));

        let store = Store::open(&disk.place.join("store"), &format!("boot-{round}-b")).unwrap();
        let key = key(round);
        let contents = (0..20).map(|number| Digest::of(text(round, number).as_bytes()));
        lost += contents
            .filter(|digest| {
                fs::read(store.blob_path(digest)).is_ok_and(|it| Digest::of(&it) != *digest)
            })
            .count();
        if synced {
            assert!(store.index().has_layer(&key) && store.index().outputs(&key).is_some());
            kept += 1;
        }
        if store.index().has_layer(&key) && store.is_layer_sound(&key) {
            let of_this = store.index().outputs(&key).is_some_and(|outputs| outputs[0].1 == digest);
            assert!(!of_this || is_right(&store.layer_path(&key).join("output"), round), "{round}");
        }
        for number in 0..20 {
            let content = Digest::of(text(round, number).as_bytes());
            if store.has_blob(&content) {
                assert_eq!(store.read_blob(&content).unwrap(), text(round, number).as_bytes());
            }
        }
        // The same work again ends well, whatever lies there.
        assert_eq!(work(&store, round), digest);
        assert!(is_right(&store.area(&digest, 1).unwrap(), round), "{round}");
        assert_eq!(store.verify().unwrap().damages, [], "{round}");
        store.sync().unwrap();
    }
    println!("{rounds} cuts: {lost} names without their bytes, {kept} synced rounds kept");
    assert!(lost > 0, "no cut has lost anything: this test tests nothing");
    assert!(kept > 0);
    drop(disk);
}
