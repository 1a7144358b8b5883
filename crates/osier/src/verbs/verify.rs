//! `osier verify`: everything that the store holds, read and compared.

use osier_store::Damage;

use crate::report::event::{DamageEntry, Event};
use crate::report::figures::bytes;
use crate::report::problem::{Code, Outcome, Problem};
use crate::workplace::Workplace;

pub(crate) fn run(workplace: &Workplace) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let report = store.verify()?;
    let set_aside = report.set_aside;
    if workplace.global.json {
        let damages = report.damages.iter().map(|Damage { kind, name, problem, of }| DamageEntry {
            kind: (*kind).to_owned(),
            name: name.clone(),
            problem: problem.clone(),
            of: of.clone(),
        });
        workplace.reporter.tell(&Event::Verify {
            blobs: report.blobs,
            bytes: report.bytes,
            areas: report.areas,
            layers: report.layers,
            environments: report.environments,
            unknown: report.unknown,
            half: report.half,
            damages: damages.collect(),
            set_aside,
        });
    } else {
        let result = |line: String| workplace.reporter.result(line);
        result(format!("read  {} files, {}", report.blobs, bytes(report.bytes)));
        result(format!("read  {} trees that are laid out for other steps", report.areas));
        result(format!(
            "compared  {} layers and {} build environments by names, sizes, modes and times",
            report.layers, report.environments
        ));
        if report.unknown > 0 {
            result(format!(
                "not compared  {} layers and build environments of an earlier version of osier",
                report.unknown
            ));
        }
        if report.half > 0 {
            result(format!("half-written  {} files, which nothing uses", report.half));
        }
        for Damage { kind, name, problem, of } in &report.damages {
            let of = if of.is_empty() { "no result".to_owned() } else { of.join(", ") };
            result(format!("damaged  {kind} {name} of {of}: {problem}"));
        }
    }
    if report.damages.is_empty() {
        return Ok(());
    }
    let message = format!("the store has {} damaged things", report.damages.len());
    Err(Problem::of(Code::DamageFound, message).hint(if set_aside {
        "osier moved them aside; the next build makes again what it needs"
    } else {
        "nothing was changed, because another osier is using the store or the store is read-only; run this again when it is free"
    }))
}
