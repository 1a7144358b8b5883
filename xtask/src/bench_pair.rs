//! One make step through osier and by hand, at the same time.
//!
//! By hand means: the same root as a plain folder, entered by `unshare` and `chroot`, with the same command and environment.
//! Both run side by side with one job each, so that whatever slows the machine slows both: by turns, the CPU seconds of
//! one and the same command by hand differed by a quarter.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::bench::seconds_of_children;
use crate::workshop::Workshop;

/// What a make step cost, in CPU seconds.
pub(crate) struct Pair {
    /// In osier's sandbox.
    pub(crate) step: f64,
    /// In osier's sandbox, and what osier did itself in that build.
    pub(crate) osier: f64,
    pub(crate) hand: f64,
}

/// The `build` step of a component that osier has built already.
pub(crate) struct MakeStep<'a> {
    pub(crate) component: &'a str,
    /// Where the project has, or gets, the component's recipe.
    pub(crate) file: &'a str,
    /// The text of that recipe.
    pub(crate) recipe: &'a str,
    /// What the step runs, by hand.
    pub(crate) command: &'a str,
}

/// Runs the step again through osier, and by hand. Each number can be used once in a store.
pub(crate) fn pair(shop: &Workshop, step: &MakeStep<'_>, number: usize) -> Result<Pair> {
    let &MakeStep { component, file, recipe, command } = step;
    let folder = shop.project.join("by-hand");
    copy_root(shop, component, &folder)?;
    let environment = environment_of(shop, &format!("{component}:build"))?;
    shop.write(file, &salted(recipe, number))?;
    let before = seconds_of_children()?;
    let (built, hand) = std::thread::scope(|scope| {
        let hand = scope.spawn(|| by_hand(&folder, command, &environment));
        let built = shop.osier(&["--json", "--offline", "-j1", "build", component]);
        (built, hand.join())
    });
    let (built, Ok(hand)) = (built?, hand) else { anyhow::bail!("the thread by hand panicked") };
    let hand = hand?;
    let spent = seconds_of_children()? - before;
    fs::remove_dir_all(&folder)?;
    shop.write(file, recipe)?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let steps = step_costs(&built);
    let step = cost_of(&steps, &format!("{component}:build"))?;
    let all: f64 = steps.iter().map(|(_, cpu)| cpu).sum();
    Ok(Pair { step, osier: spent - hand - (all - step), hand })
}

/// Gives the label of each step that ran in a build with `--json`, with its CPU seconds.
pub(crate) fn step_costs(built: &Output) -> Vec<(String, f64)> {
    let text = String::from_utf8_lossy(&built.stdout);
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let finished = events.filter(|event| event["event"] == "step_finished");
    let steps = finished.filter_map(|event| {
        let label = format!("{}:{}", event["component"].as_str()?, event["step"].as_str()?);
        Some((label, event["cpu"].as_f64()?))
    });
    steps.collect()
}

/// Gives the CPU seconds of a step, which has to have run.
pub(crate) fn cost_of(steps: &[(String, f64)], label: &str) -> Result<f64> {
    let step = steps.iter().find(|(step, cpu)| step == label && *cpu > 0.0);
    Ok(step.with_context(|| format!("{label} did not run"))?.1)
}

/// Gives a recipe a variable that nothing reads, so that its steps run again.
fn salted(recipe: &str, pair: usize) -> String {
    let salt = format!("[env]\nOSIER_BENCH = \"{pair}\"\n");
    match recipe.contains("[env]\n") {
        true => recipe.replace("[env]\n", &salt),
        false => format!("{recipe}\n{salt}"),
    }
}

/// Gives the environment of a step.
fn environment_of(shop: &Workshop, step: &str) -> Result<Vec<String>> {
    let text = shop.good(&["-j1", "shell", step, "--then", "leave", "--", "env", "-0"])?;
    let environment = text.split('\0').filter(|variable| variable.contains('='));
    let environment = environment.map(|variable| match variable.rsplit_once('\n') {
        // What osier says before the program's own output.
        Some((_, variable)) => variable.to_owned(),
        None => variable.to_owned(),
    });
    Ok(environment.collect())
}

/// Makes a plain folder of the root as it is after a component's `configure`.
fn copy_root(shop: &Workshop, component: &str, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let step = format!("{component}:configure");
    let mut packed = shop
        .command(&["shell", &step, "--then", "leave", "--"])
        .args(["tar", "-C", "/", "--exclude=./dev", "--exclude=./proc", "-cf", "-", "."])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stream = packed.stdout.take().context("the shell has an output")?;
    let unpacked =
        Command::new("tar").arg("-C").arg(folder).args(["-xf", "-"]).stdin(stream).status()?;
    ensure!(packed.wait()?.success() && unpacked.success(), "the root could not be copied");
    Ok(())
}

/// Runs a command in a folder as root; gives what it cost, in CPU seconds.
fn by_hand(folder: &Path, command: &str, environment: &[String]) -> Result<f64> {
    let enter = r#"
root=$1; command=$2; shift 2
mkdir -p "$root/dev" "$root/proc"
mount --rbind /dev "$root/dev"; mount --rbind /proc "$root/proc"
exec chroot "$root" /usr/bin/env -i "$@" /bin/sh -euc "cd \"\$SOURCE\"; ($command) > /dev/null; times"
"#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-euc", enter, "sh"])
        .arg(folder)
        .arg(command)
        .args(environment)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "`{command}` by hand failed: {text}");
    times(&output).context("the shell gave no times")
}

/// Reads what the shell's `times` says of its children: `1m2.500000s 0m4.250000s`, user and system, in its second line.
fn times(output: &Output) -> Option<f64> {
    let text = str::from_utf8(&output.stdout).ok()?;
    text.lines().last()?.split_whitespace().try_fold(0.0, |sum, time| {
        let (minutes, seconds) = time.strip_suffix('s')?.split_once('m')?;
        Some(sum + minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    })
}
