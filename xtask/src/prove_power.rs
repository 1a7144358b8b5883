//! Cuts the power at random moments, and looks at what comes after: `cargo xtask prove power [CUTS]`.
//!
//! The project and the store lie on an ext4 file system of their own, in a file behind a loop device, which is mounted where no other
//! process sees it. While osier works there, or soon after, the file system is shut down as a power cut would: what is not
//! on the disk is lost, mostly without the journal's last part. It is mounted again, in another boot of the machine as far as osier can
//! see. The next build must deliver the bytes that an undisturbed one in another store has delivered, leave no work behind, be
//! followed by one that runs nothing, and the store must be found sound.
//!
//! Who is not root has no file system to cut. For them osier runs on any file system and is killed at one of its calls, and what no
//! call had synced is lost: [`crate::unsynced`]. `OSIER_PROOF_SIMULATED=1` has root do the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::draw::Draw;
use crate::root;
use crate::stop_at::{When, Whom, kill_now, run_until, start_stopped, wait_for_end};
use crate::unsynced::{self, LOSSES};
use crate::works::{Known, Site, Source, Work};
use crate::workshop::Workshop;

/// How many cuts.
const CUTS: usize = 100;
/// How many versions of the sources there are.
const VERSIONS: usize = 8;
/// Tells this program that it runs in a mount namespace of its own.
const INSIDE: &str = "OSIER_PROOF_POWER";
const REAL: &str = "real";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How the file system is mounted: the journal is written each second, so that names get there long before bytes do.
const MOUNTS: [&str; 4] =
    ["commit=1", "commit=1,data=writeback", "commit=1,nodelalloc", "commit=5"];

/// What the shutdown does with the journal: the flags of EXT4_IOC_SHUTDOWN, in the order of how much is lost.
const LOST: [(u32, &str); 3] =
    [(2, "nothing flushed"), (1, "the journal flushed"), (0, "all flushed")];

/// What the power is cut in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// A work of the proof of random kills.
    In(Work),
    /// The first command in a new store.
    First,
}

/// All of it.
pub(crate) fn all(_: &Path) -> Result<()> {
    let cuts = Draw::asked("OSIER_PROOF_CUTS")?.unwrap_or(CUTS);
    let Ok(inside) = std::env::var(INSIDE) else {
        let is_real = rustix::process::geteuid().is_root()
            && std::env::var_os("OSIER_PROOF_SIMULATED").is_none();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if !is_real {
            command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
        }
        command.arg("--").arg(std::env::current_exe()?).args(["prove", "power"]);
        let status = command.env(INSIDE, if is_real { REAL } else { "simulated" }).status();
        let status = status.context("cannot run unshare")?;
        ensure!(status.success(), "prove power ended with {status}");
        return Ok(());
    };
    let is_real = inside == REAL;
    let draw = Draw::seeded("power")?;
    let begun = Instant::now();
    let source = Source::serve()?;
    let known = Site::undisturbed("power-reference", &source, VERSIONS)?;
    println!(
        "prove power: {} undisturbed builds took {} s",
        2 * VERSIONS,
        begun.elapsed().as_secs()
    );
    let mut disk: Box<dyn Power> =
        if is_real { Box::new(Disk::make()?) } else { Box::new(Simulated::make()?) };
    let proof = prove(&mut *disk, &source, &known, cuts, draw);
    let removed = disk.remove();
    let counts = proof?;
    removed?;
    println!("| cut in | {} | after the end |", disk.losses().join(" | "));
    println!("| --- | --- | --- | --- | --- |");
    for (cut, [none, journal, all, after]) in &counts {
        println!("| {cut:?} | {none} | {journal} | {all} | {after} |");
    }
    println!(
        "prove power: {cuts} cuts{} in {} s, 0 wrong: each next build delivered the bytes of an undisturbed one, left no work, was followed \
         by one that ran nothing, and the store was sound",
        if is_real { "" } else { " of a disk that is simulated" },
        begun.elapsed().as_secs()
    );
    Ok(())
}

type Counts = BTreeMap<Cut, [usize; 4]>;

fn prove(
    disk: &mut dyn Power,
    source: &Source,
    known: &[Known],
    cuts: usize,
    mut draw: Draw,
) -> Result<Counts> {
    disk.boot(MOUNTS[0])?;
    let site = Site::fill(shop(disk.place())?, source)?;
    site.take_pins("power-reference")?;
    let spans = site.spans(known)?;
    let mut counts = Counts::new();
    let begun = Instant::now();
    for number in 1..=cuts {
        let cut = match draw.below(100) {
            0..12 => Cut::First,
            _ => Cut::In(Work::draw(&mut draw)),
        };
        let version = draw.below(VERSIONS);
        let span = match cut {
            Cut::First => Duration::from_millis(60),
            Cut::In(work) => spans[&work],
        };
        // Beyond the end as well: what was just said to be done is not on the disk yet.
        let moment = draw.moment(span * 5 / 4)?;
        let idle = [0, 0, 0, 1500][draw.below(4)];
        let lost = [0, 0, 0, 0, 1, 2][draw.below(6)];
        let options = MOUNTS[draw.below(MOUNTS.len())];
        let name = format!(
            "cut {number}: {cut:?}, after {} ms, idle {idle} ms, {}, {options}, version {version}",
            moment.as_millis(),
            disk.losses()[lost]
        );
        let idle = Duration::from_millis(idle);
        let ended = one(disk, &site, cut, version, (moment, idle), (lost, options), known)
            .with_context(|| name.clone())?;
        let row = counts.entry(cut).or_default();
        row[lost] += 1;
        row[3] += usize::from(ended);
        if number % 10 == 0 {
            println!("{name}: good, {} s so far", begun.elapsed().as_secs());
        }
    }
    Ok(counts)
}

/// Cuts once, and looks at what comes after; says whether osier had ended before.
fn one(
    disk: &mut dyn Power,
    site: &Site<'_>,
    cut: Cut,
    version: usize,
    moment: (Duration, Duration),
    (lost, options): (usize, &str),
    known: &[Known],
) -> Result<bool> {
    let shop = &site.shop;
    let fresh = disk.place().join("fresh");
    let import = root().join("osier.lock");
    let first = ["--store", fresh.to_str().context("UTF-8")?, "fetch", "--import"];
    let first = [first.as_slice(), &[import.to_str().context("UTF-8")?]].concat();
    let words = match cut {
        Cut::In(work) => {
            site.prepare(work, version, (version + 2) % VERSIONS)?;
            work.words()
        }
        Cut::First => &first,
    };
    let ended = disk.run_and_cut(shop.command(words), moment, lost)?;
    disk.boot(options)?;
    match cut {
        Cut::In(work) => {
            // What a person wrote last may be lost as well.
            site.write_again(work, version)?;
            site.finish(work, version, &known[version])?;
        }
        Cut::First => {
            let fresh = fresh.to_str().context("UTF-8")?;
            shop.good(&first)?;
            shop.good(&["--store", fresh, "verify"])?;
            shop.good(&["--store", fresh, "gc", "--all"])?;
        }
    }
    Ok(ended)
}

/// A place whose power can be cut, and the boot of the machine that osier sees there.
trait Power {
    /// Where the project and the store lie.
    fn place(&self) -> &Path;

    /// The three ways in which it loses things.
    fn losses(&self) -> [&'static str; 3];

    /// Begins a new boot of the machine.
    fn boot(&mut self, options: &str) -> Result<()>;

    /// Starts a command, cuts the power at a moment or some time later, and says whether the command had ended by then.
    fn run_and_cut(
        &mut self,
        command: Command,
        moment: (Duration, Duration),
        lost: usize,
    ) -> Result<bool>;

    fn remove(&mut self) -> Result<()>;
}

fn shop(place: &Path) -> Result<Workshop> {
    let project = place.join("project");
    fs::create_dir_all(&project)?;
    fs::write(project.join("osier.toml"), "name = \"gallery\"\nsuite = \"bookworm\"\n")?;
    Ok(Workshop { project, store: place.join("store") })
}

/// What osier takes for the boot of the machine.
struct Boot {
    file: PathBuf,
    whole: PathBuf,
    number: u32,
}

impl Boot {
    fn make(folder: &Path) -> Result<Self> {
        let (file, whole) = (folder.join("power-boot"), folder.join("power-proc"));
        fs::write(&file, "boot-0\n")?;
        // A sandbox may mount a /proc of its own where it can see one that nothing covers.
        fs::create_dir_all(&whole)?;
        run(Command::new("mount").args(["-t", "proc", "proc"]).arg(&whole))?;
        run(Command::new("mount").arg("--bind").arg(&file).arg(BOOT_ID))?;
        Ok(Self { file, whole, number: 0 })
    }

    fn next(&mut self) -> Result<()> {
        self.number += 1;
        let text = format!("{:08x}-0000-4000-8000-000000000000\n", self.number);
        Ok(fs::write(&self.file, text)?)
    }

    fn remove(&self) -> Result<()> {
        run(Command::new("umount").arg(BOOT_ID))?;
        run(Command::new("umount").arg(&self.whole))?;
        fs::remove_dir(&self.whole)?;
        Ok(fs::remove_file(&self.file)?)
    }
}

/// A folder, of which [`crate::unsynced`] loses what osier has not synced.
struct Simulated {
    place: PathBuf,
    boot: Boot,
    draw: Draw,
    output: PathBuf,
}

impl Simulated {
    fn make() -> Result<Self> {
        let folder = root().join("target/proofs");
        fs::create_dir_all(&folder)?;
        // The processes of this namespace.
        run(Command::new("mount").args(["-t", "proc", "proc", "/proc"]))?;
        let (place, output) = (folder.join("power-simulated"), folder.join("power-output"));
        if place.exists() {
            osier_store::remove_tree(&place)?;
        }
        fs::create_dir_all(&place)?;
        Ok(Self { place, boot: Boot::make(&folder)?, draw: Draw(1), output })
    }
}

impl Power for Simulated {
    fn place(&self) -> &Path {
        &self.place
    }

    fn losses(&self) -> [&'static str; 3] {
        ["everything unsynced lost", "files lost", "blocks lost"]
    }

    fn boot(&mut self, _: &str) -> Result<()> {
        self.boot.next()
    }

    fn run_and_cut(
        &mut self,
        command: Command,
        (moment, idle): (Duration, Duration),
        lost: usize,
    ) -> Result<bool> {
        let mut disk = unsynced::Disk::new(&self.place)?;
        let mut child = start_stopped(&command, &self.output)?;
        let begun = Instant::now();
        // Every call is two stops for the one who traces.
        let moment = moment * 2 + idle / 10;
        let mut noted = Ok(());
        let cut = run_until(&mut child, When::Before, Whom::All, &mut |call| {
            if begun.elapsed() >= moment {
                return true;
            }
            if noted.is_ok() {
                noted = disk.note(call);
            }
            false
        })?;
        noted?;
        if let Some(family) = &cut {
            wait_for_end(family, &self.place.join("store"))?;
        }
        disk.cut(LOSSES[lost], &mut self.draw)?;
        Ok(cut.is_none())
    }

    fn remove(&mut self) -> Result<()> {
        self.boot.remove()?;
        osier_store::remove_tree(&self.place)?;
        Ok(fs::remove_file(&self.output)?)
    }
}

/// An ext4 file system in a file.
struct Disk {
    file: PathBuf,
    place: PathBuf,
    boot: Boot,
    mounted: bool,
}

impl Disk {
    fn make() -> Result<Self> {
        let folder = root().join("target/proofs");
        let file = folder.join("power.ext4");
        let place = folder.join("power");
        let _ = fs::remove_file(&file);
        fs::create_dir_all(&place)?;
        ensure!(
            fs::read_dir(&place)?.next().is_none(),
            "{} should be empty; something is mounted there, or was left",
            place.display()
        );
        fs::File::create(&file)?.set_len(8 << 30)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&file))?;
        Ok(Self { file, place, boot: Boot::make(&folder)?, mounted: false })
    }

    /// Cuts the power.
    fn cut(&self, flag: u32) -> Result<()> {
        // EXT4_IOC_SHUTDOWN, by a program that every Debian has.
        let script = "open(my $disk, '<', $ARGV[0]) or die $!; my $flag = pack('L', $ARGV[1]); ioctl($disk, 0x8004587d, $flag) or die $!";
        run(Command::new("perl").args(["-e", script]).arg(&self.place).arg(flag.to_string()))
    }

    fn unmount(&mut self) -> Result<()> {
        let begun = Instant::now();
        // The kernel takes the mounts of processes that were killed down in its own time.
        while !Command::new("umount").arg(&self.place).stderr(Stdio::null()).status()?.success() {
            ensure!(begun.elapsed() < Duration::from_secs(20), "the disk cannot be unmounted");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.mounted = false;
        Ok(())
    }
}

impl Power for Disk {
    fn place(&self) -> &Path {
        &self.place
    }

    fn losses(&self) -> [&'static str; 3] {
        LOST.map(|(_, words)| words)
    }

    fn boot(&mut self, options: &str) -> Result<()> {
        self.boot.next()?;
        let options = format!("loop,{options}");
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", &options])
            .args([&self.file, &self.place]))?;
        self.mounted = true;
        Ok(())
    }

    fn run_and_cut(
        &mut self,
        mut command: Command,
        (moment, idle): (Duration, Duration),
        lost: usize,
    ) -> Result<bool> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(moment);
        let ended = child.try_wait()?.is_some();
        std::thread::sleep(idle);
        self.cut(LOST[lost].0)?;
        let family = kill_now(&mut child, Whom::All)?;
        wait_for_end(&family, &self.place.join("store"))?;
        self.unmount()?;
        Ok(ended)
    }

    fn remove(&mut self) -> Result<()> {
        if self.mounted {
            self.unmount()?;
        }
        self.boot.remove()?;
        fs::remove_dir(&self.place)?;
        Ok(fs::remove_file(&self.file)?)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
