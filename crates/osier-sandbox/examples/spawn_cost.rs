//! Measures what one trivial sandbox costs: `cargo run --release --example spawn_cost [COUNT] [LAYERS]`.
//!
//! The program inside is a static one that only exits, made with the host's `cc`. CPU time is that of the launcher's whole tree,
//! as the kernel adds it up when the launcher is reaped; net namespaces are torn down by the kernel's own threads, which that leaves out.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use osier_sandbox::{Launcher, Root, Spec, Status, Stdio};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().map_or(Ok(300), |text| text.parse())?;
    let layers: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;

    let scratch = tempfile::tempdir()?;
    let lowers = make_layers(scratch.path(), layers)?;

    for round in 1..=3 {
        let before = children_time();
        let start = Instant::now();
        let launcher = Launcher::start()?;
        let mut to_exec = Duration::ZERO;
        for number in 0..count {
            let upper = scratch.path().join(format!("u{round}-{number}"));
            let work = scratch.path().join(format!("w{round}-{number}"));
            std::fs::create_dir(&upper)?;
            std::fs::create_dir(&work)?;
            let root = Root::Overlay { lowers: lowers.clone(), upper, work };
            let begin = Instant::now();
            let running =
                launcher.spawn(&Spec::new(root, vec!["/true".into()]), Stdio::default())?;
            to_exec += begin.elapsed();
            let exit = running.wait()?;
            assert_eq!(exit.status, Status::Code(0));
        }
        let wall = start.elapsed();
        drop(launcher);
        let used = children_time() - before;
        println!(
            "{count} sandboxes, {layers} layers: {:.2} CPU ms and {:.2} ms wall each, {:.2} ms of it until the exec",
            used * 1e3 / f64::from(count),
            wall.as_secs_f64() * 1e3 / f64::from(count),
            to_exec.as_secs_f64() * 1e3 / f64::from(count),
        );
    }
    Ok(())
}

fn make_layers(
    scratch: &std::path::Path,
    layers: usize,
) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let lowers: Vec<PathBuf> =
        (0..layers).map(|number| scratch.join(format!("l{number}"))).collect();
    for lower in &lowers {
        std::fs::create_dir(lower)?;
    }
    let base = lowers.last().ok_or("no layers")?;
    for folder in ["proc", "dev", "tmp"] {
        std::fs::create_dir(base.join(folder))?;
    }
    let source = scratch.join("true.c");
    std::fs::write(&source, "int main(void) { return 0; }\n")?;
    let status = Command::new("cc")
        .args(["-static", "-O2", "-o"])
        .arg(base.join("true"))
        .arg(&source)
        .status()?;
    if !status.success() {
        return Err("cc failed".into());
    }
    Ok(lowers)
}

/// Seconds of CPU time of all reaped children.
fn children_time() -> f64 {
    // SAFETY: rusage is plain data for which all zeros is valid, and the kernel fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
