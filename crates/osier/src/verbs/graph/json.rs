//! The graph as JSON.

use osier_build::Took;
use serde_json::{Value, json};

use super::{How, Overview, Part, State};

/// Gives the graph as one JSON object. Times are in seconds and sizes in bytes; null where they are not known.
pub(super) fn value(overview: &Overview) -> Value {
    let parts: Vec<Value> = overview.parts.iter().map(|part| component(overview, part)).collect();
    let critical = overview.parts.iter().flat_map(|part| {
        let steps = part.steps.iter().filter(|step| step.is_critical);
        steps.map(|step| format!("{}:{}", part.name, step.name))
    });
    json!({
        "event": "graph",
        "name": overview.name,
        "is_system": overview.is_system,
        "components": parts,
        "seconds": overview.seconds,
        "critical": { "seconds": overview.critical_seconds, "steps": critical.collect::<Vec<_>>() },
        "never_timed": overview.unknown,
    })
}

fn component(overview: &Overview, part: &Part) -> Value {
    let (state, failed) = match &part.state {
        State::Built => ("built", None),
        State::Reused => ("reused", None),
        State::Failed(step) => ("failed", Some(step)),
        State::Open => ("open", None),
    };
    let uses = part.uses.iter().map(|one| {
        let (how, what) = match &one.how {
            How::Need(output) => ("need", json!({ "output": output })),
            How::Tool(output) => ("tool", json!({ "output": output })),
            How::From(step) => ("from", json!({ "step": step })),
        };
        let mut value = what;
        let other = &overview.parts[one.part];
        value["how"] = how.into();
        value["component"] = other.name.clone().into();
        value["target"] = other.target.clone().into();
        value["critical"] = one.is_critical.into();
        value
    });
    let steps = part.steps.iter().map(|step| {
        // A step that ran in under half a second is not noted, but is known to be short.
        let (seconds, timed) = match step.took {
            Took::Time(time) => (Some(time.wall), true),
            Took::Little => (None, true),
            Took::Unknown => (None, false),
        };
        json!({
            "name": step.name,
            "seconds": seconds,
            "timed": timed,
            "done": step.is_done,
            "critical": step.is_critical,
        })
    });
    let outputs = part.outputs.iter().map(|output| {
        json!({
            "name": output.name,
            "digest": output.digest,
            "bytes": output.bytes,
            "files": output.files,
        })
    });
    json!({
        "name": part.name,
        "version": part.version,
        "target": part.target,
        "state": state,
        "failed_step": failed,
        "edited": part.is_edited,
        "wanted": part.is_wanted,
        "seconds": part.seconds(),
        "uses": uses.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
    })
}
