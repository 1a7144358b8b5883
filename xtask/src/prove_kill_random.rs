//! Kills osier at random moments, and looks at what comes after: `cargo xtask prove kill-random`, which is a part of `prove kill`.
//!
//! Builds, builds of images alone and of an edited source, builds that fail, the begin and the end of edits and two kinds of gc
//! are killed; half of the kills hit osier alone, half everything that it had started. Afterwards no process may be left, the
//! same must succeed, the next build must deliver the bytes that an undisturbed build in another store has delivered, leave
//! nothing half-done, and be followed by one that runs no step; and the store must be found sound. A kill that came after the
//! end is not counted, and another one takes its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::draw::Draw;
use crate::stop_at::{Whom, kill_now, wait_for_end};
use crate::works::{Known, Site, Source, Work};

/// How many kills, unless `OSIER_PROOF_KILLS` says another number.
const KILLS: usize = 600;
/// How many stores are worked in at one time, unless `OSIER_PROOF_LANES` says another number.
const LANES: usize = 3;
/// How many versions of the sources there are.
const VERSIONS: usize = 12;

/// What the kills hit.
#[derive(Default)]
struct Tally {
    /// By the work and what it was doing: how many hit osier alone, how many all processes.
    hits: BTreeMap<(Work, String), [usize; 2]>,
    /// How many came after the end.
    late: usize,
}

/// All of it.
pub(crate) fn all(_: &Path) -> Result<()> {
    let kills = Draw::asked("OSIER_PROOF_KILLS")?.unwrap_or(KILLS);
    let lanes = Draw::asked("OSIER_PROOF_LANES")?.unwrap_or(LANES).max(1);
    let mut draw = Draw::seeded("kill-random")?;
    let begun = Instant::now();
    let source = Source::serve()?;
    let known = Site::undisturbed("kill-reference", &source, VERSIONS)?;
    let undisturbed = begun.elapsed().as_secs();
    println!("prove kill-random: {} undisturbed builds took {undisturbed} s", 2 * VERSIONS);
    let shares = (0..lanes).map(|lane| (kills + lane) / lanes);
    let shares: Vec<_> =
        shares.enumerate().map(|(lane, share)| (lane, share, draw.fork())).collect();
    let tallies = std::thread::scope(|scope| {
        let begin = |(number, kills, draw)| {
            let (source, known) = (&source, known.as_slice());
            scope.spawn(move || Lane { number, begun, known, draw }.run(source, kills))
        };
        let lanes: Vec<_> = shares.into_iter().map(begin).collect();
        lanes.into_iter().map(|lane| lane.join().map_err(|_| anyhow!("a lane panicked"))?).collect()
    });
    let tallies: Result<Vec<Tally>> = tallies;
    let mut all = Tally::default();
    for Tally { hits, late } in tallies? {
        all.late += late;
        for (hit, [alone, whole]) in hits {
            let sum = all.hits.entry(hit).or_default();
            *sum = [sum[0] + alone, sum[1] + whole];
        }
    }
    println!("| killed | in | osier alone | all processes |");
    println!("| --- | --- | --- | --- |");
    for ((work, phase), [alone, whole]) in &all.hits {
        println!("| {work:?} | {phase} | {alone} | {whole} |");
    }
    println!(
        "prove kill-random: {kills} kills in {lanes} stores (and {} that came after the end) in {} s, 0 wrong: no process was left, each next \
         build delivered the bytes of an undisturbed one, left nothing half-done, was followed by one that ran nothing, and the \
         store was sound",
        all.late,
        begun.elapsed().as_secs()
    );
    Ok(())
}

/// Kills in one store.
struct Lane<'a> {
    number: usize,
    begun: Instant,
    known: &'a [Known],
    draw: Draw,
}

impl Lane<'_> {
    fn run(mut self, source: &Source, kills: usize) -> Result<Tally> {
        let name = format!("kill-random-{}", self.number + 1);
        let site = Site::beside(&name, source, Some("kill-reference"))?;
        let mut spans = site.spans(self.known)?;
        let mut tally = Tally::default();
        let mut number = 0;
        while number < kills {
            let (work, version) = (Work::draw(&mut self.draw), self.draw.below(VERSIONS));
            let whom = if self.draw.below(2) == 0 { Whom::Alone } else { Whom::All };
            let span = spans.entry(work).or_default();
            let moment = self.draw.moment(*span)?;
            let name = format!(
                "lane {}, kill {}: {work:?}, {whom:?}, after {} ms, version {version}",
                self.number + 1,
                number + 1,
                moment.as_millis()
            );
            let phase = one(&site, work, version, (moment, whom), &self.known[version]);
            let Some(phase) = phase.with_context(|| name.clone())? else {
                // The machine has become faster.
                *span = *span * 9 / 10;
                tally.late += 1;
                continue;
            };
            *span += *span / 50;
            number += 1;
            let phase = phase.unwrap_or_else(|| {
                let quarter = (4 * moment.as_micros() / span.as_micros().max(1)).min(3);
                format!("quarter {} of its time", quarter + 1)
            });
            tally.hits.entry((work, phase)).or_default()[usize::from(whom == Whom::All)] += 1;
            if number % 20 == 0 {
                println!("{name}: good, {} s so far", self.begun.elapsed().as_secs());
            }
        }
        site.shop.good(&["gc", "--all"])?;
        Ok(tally)
    }
}

/// Kills once, and looks at what comes after; says in what it was killed where that can be told, or nothing where it had ended.
fn one(
    site: &Site<'_>,
    work: Work,
    version: usize,
    (moment, whom): (Duration, Whom),
    known: &Known,
) -> Result<Option<Option<String>>> {
    let shop = &site.shop;
    site.prepare(work, version, (version + 2) % VERSIONS)?;
    // Beside the project.
    let told = shop.project.with_extension("log");
    let output = fs::File::create(&told)?;
    let mut command = shop.command(work.words());
    let mut child = command.stdout(output.try_clone()?).stderr(output).spawn()?;
    std::thread::sleep(moment);
    let ended = child.try_wait()?.is_some();
    let family = kill_now(&mut child, whom)?;
    wait_for_end(&family, &shop.store)?;
    let told = fs::read_to_string(&told)?;
    site.finish(work, version, known).with_context(|| format!("it had told:\n{told}"))?;
    Ok((!ended).then(|| phase(&told)))
}

/// Finds in what osier says what it was doing.
fn phase(told: &str) -> Option<String> {
    let mut running: Vec<&str> = Vec::new();
    let mut last = None;
    for line in told.lines() {
        let Some((word, rest)) = line.trim_start().split_once("  ") else { continue };
        match word {
            "run" => running.push(rest),
            "done" => running.retain(|label| !rest.starts_with(&format!("{label} "))),
            _ => {}
        }
        last = Some(match word {
            "fetch" | "unpack" | "image" => format!("after `{word}`"),
            "run" | "reuse" | "done" => "between steps".to_owned(),
            "built" => "after the steps".to_owned(),
            _ => continue,
        });
    }
    // Steps of one name are of one kind.
    let name = |label: &&str| label.rsplit(':').next().unwrap_or_default().to_owned();
    running.last().map(name).map(|step| format!("step {step}")).or(last)
}
