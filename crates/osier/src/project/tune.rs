//! For which processors is compiled: what the command line, a system or the project says, what this machine has, and
//! whether the machine that boots a system has it too.

use std::path::Path;
use std::sync::OnceLock;

use osier_boot::cpu::{Processor, translated};
use osier_boot::{Accelerator, Architecture};
use osier_recipe::{Code, Diagnostic, Level, MachineFile, Origin, Spanned, System, Target, Tune};

use crate::project::{BUILD, Project};
use crate::report::event::Event;
use crate::report::problem::diagnosed;
use crate::report::problem::{Outcome, Problem};

/// What somebody says is to be compiled for: one level for a target.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// The file that says it; none for the command line.
    origin: Option<Origin>,
    tunes: Vec<Spanned<Tune>>,
}

impl Tuning {
    pub(crate) fn of_file(origin: Origin, tunes: Vec<Spanned<Tune>>) -> Option<Self> {
        (!tunes.is_empty()).then_some(Self { origin: Some(origin), tunes })
    }

    fn of_command_line(tunes: &[Tune]) -> Option<Self> {
        let tunes = tunes.iter().map(|tune| Spanned::new(*tune, 0..0)).collect::<Vec<_>>();
        (!tunes.is_empty()).then_some(Self { origin: None, tunes })
    }
}

impl From<Level> for Tuning {
    fn from(level: Level) -> Self {
        Self { origin: None, tunes: vec![Spanned::new(Tune::Level(level), 0..0)] }
    }
}

/// The highest level that this machine has as a whole.
fn this_machine() -> Option<Level> {
    static LEVEL: OnceLock<Option<Level>> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Level::of_machine(BUILD, &text)
    })
}

fn names(target: Target) -> String {
    Level::all(target).map(|level| format!("`{level}`")).collect::<Vec<_>>().join(", ")
}

impl Project<'_> {
    /// Says what counts for a system, or for a component that is asked for by itself: the command line, then the system's
    /// own, then the project's.
    pub(crate) fn tuning(&self, system: Option<(&System, Target)>) -> Option<Tuning> {
        let of_system = || {
            let (system, target) = system?;
            Tuning::of_file(system.origin.clone(), system.effective(target).tune.to_vec())
        };
        Tuning::of_command_line(&self.workplace.global.tune)
            .or_else(of_system)
            .or_else(|| self.tune.clone())
    }

    /// Gives the level that a system is compiled for.
    pub(crate) fn level_of(&self, system: &System, target: Target) -> Outcome<Option<Level>> {
        let toolchain = system.toolchain.as_ref().map(|toolchain| toolchain.as_str());
        self.level(self.tuning(Some((system, target))).as_ref(), target, toolchain)
    }

    /// Gives the level that is meant for a target.
    ///
    /// What is compiled without a toolchain runs in its own build, so this machine must have the level.
    pub(crate) fn level(
        &self,
        tuning: Option<&Tuning>,
        target: Target,
        toolchain: Option<&str>,
    ) -> Outcome<Option<Level>> {
        let Some(tuning) = tuning else { return Ok(None) };
        let wrong = |span, message: String, hint: String| self.wrong(tuning, span, message, hint);
        let mut of_target = tuning.tunes.iter().filter_map(|tune| match tune.value {
            Tune::Level(level) if level.target() == target => Some((level, &tune.span)),
            _ => None,
        });
        let found = of_target.next();
        if let (Some((first, _)), Some((second, span))) = (found, of_target.next()) {
            let message = format!("`{first}` and `{second}` are both levels of {target}");
            return Err(wrong(span, message, "name one of them".to_owned()));
        }
        let native = tuning.tunes.iter().find(|tune| tune.value == Tune::Native);
        let (level, span) = match (found, native) {
            (Some(found), _) => found,
            (None, Some(native)) if target != BUILD => {
                let message = format!(
                    "`native` is the processor of this machine, {BUILD}, and names no level for {target}"
                );
                let hint = format!("name a level of {target} as well: {}", names(target));
                return Err(wrong(&native.span, message, hint));
            }
            (None, Some(native)) => match this_machine() {
                Some(level) => (level, &native.span),
                None => {
                    let message =
                        "`/proc/cpuinfo` does not say what this machine's processor has".to_owned();
                    return Err(wrong(
                        &native.span,
                        message,
                        format!("name a level: {}", names(target)),
                    ));
                }
            },
            (None, None) => {
                let span = tuning.tunes.first().map_or(&(0..0), |tune| &tune.span).clone();
                let said: Vec<String> =
                    tuning.tunes.iter().map(|tune| format!("`{tune}`")).collect();
                let message = format!("{} names no level for {target}", said.join(", "));
                let hint = format!("name a level of {target} as well: {}", names(target));
                return Err(wrong(&span, message, hint));
            }
        };
        if toolchain.is_none() && target == BUILD && this_machine().is_some_and(|own| level > own) {
            let own = this_machine().map(Level::as_str).unwrap_or_default();
            let message = format!(
                "without a toolchain, built programs also run on this machine, which supports at most `{own}`, not `{level}`"
            );
            let hint = "name a `toolchain` in the system: what it compiles is not run in the build";
            return Err(wrong(span, message, hint.to_owned()));
        }
        Ok(Some(level))
    }

    fn wrong(
        &self,
        tuning: &Tuning,
        span: &std::ops::Range<usize>,
        message: String,
        hint: String,
    ) -> Problem {
        match &tuning.origin {
            None => Problem::of(Code::WrongTune, message).hint(hint),
            Some(origin) => {
                let error = origin.error(Code::WrongTune, span, message).hint(hint);
                diagnosed(&[error], |file| self.text_of(file))
            }
        }
    }
}

/// The levels that a machine's processor must have to boot systems: each with the name of a system that asks for it.
#[derive(Debug)]
pub(crate) struct Demand(Vec<(String, Level)>);

impl Demand {
    /// Gathers what the systems ask for that a machine boots from and has on its disks.
    pub(crate) fn of<'s>(
        project: &Project<'_>,
        systems: impl IntoIterator<Item = &'s System>,
        target: Target,
    ) -> Outcome<Self> {
        let mut levels = Vec::new();
        for system in systems {
            if let Some(level) = project.level_of(system, target)? {
                levels.push((system.name.value.clone(), level));
            }
        }
        Ok(Self(levels))
    }

    /// Checks that the machine has the levels by one of the ways in which it can be run here; says whether KVM is the
    /// only one.
    pub(crate) fn check(&self, project: &Project<'_>, machine: &MachineFile) -> Outcome<bool> {
        let translated = self.missing(machine, Accelerator::Tcg);
        let Some(missing) = translated else { return Ok(false) };
        let kvm = machine.architecture == BUILD && Path::new("/dev/kvm").exists();
        if kvm && self.missing(machine, Accelerator::Kvm).is_none() {
            return Ok(true);
        }
        Err(missing_level(project, machine, missing))
    }

    /// Chooses the accelerator once it is known whether KVM works here.
    pub(crate) fn accelerator(
        &self,
        project: &Project<'_>,
        machine: &MachineFile,
        found: Accelerator,
    ) -> Outcome<Accelerator> {
        let Some(missing) = self.missing(machine, found) else { return Ok(found) };
        if found == Accelerator::Kvm && self.missing(machine, Accelerator::Tcg).is_none() {
            let (_, level) = missing;
            let reason =
                format!("this machine does not support {level}, but QEMU's emulation does");
            project.workplace.reporter.tell(&Event::KvmUnused { reason });
            return Ok(Accelerator::Tcg);
        }
        Err(missing_level(project, machine, missing))
    }

    /// Finds the first level that the machine lacks.
    fn missing(&self, machine: &MachineFile, accelerator: Accelerator) -> Option<&(String, Level)> {
        self.0.iter().find(|(_, level)| !has(machine, accelerator, *level))
    }
}

fn architecture(machine: &MachineFile) -> Architecture {
    match machine.architecture {
        Target::X86_64 => Architecture::X86_64,
        Target::Aarch64 => Architecture::Aarch64,
    }
}

/// Says whether a machine's processor has a level as a whole.
fn has(machine: &MachineFile, accelerator: Accelerator, level: Level) -> bool {
    let architecture = architecture(machine);
    let cpu = machine.cpu.as_ref().map(|cpu| cpu.as_str());
    let Some(processor) = Processor::of(architecture, accelerator, cpu) else { return false };
    let most = match accelerator {
        Accelerator::Tcg => Level::parse(translated(architecture)),
        Accelerator::Kvm => this_machine(),
    };
    let of = |level: Option<Level>, feature: &str| {
        level.is_some_and(|level| level.features().any(|known| known == feature))
    };
    let model = processor.level.and_then(Level::parse);
    let switched =
        |names: &[&str], feature: &str| names.iter().any(|name| as_linux(name) == feature);
    level.features().all(|feature| {
        of(most, feature)
            && (processor.level.is_none()
                || of(model, feature)
                || switched(&processor.added, feature))
            && !switched(&processor.removed, feature)
    })
}

/// Gives Linux's name of a feature for QEMU's.
fn as_linux(name: &str) -> String {
    match name {
        "sse3" => "pni".to_owned(),
        "lzcnt" => "abm".to_owned(),
        name => name.replace(['-', '.'], "_"),
    }
}

/// Says that a machine cannot boot what is compiled for a level, and what to write.
fn missing_level(
    project: &Project<'_>,
    machine: &MachineFile,
    missing: &(String, Level),
) -> Problem {
    let (system, level) = missing;
    let architecture = architecture(machine);
    let tcg = |level: &Level| has(machine, Accelerator::Tcg, *level);
    let at_most = Level::all(level.target()).rfind(tcg);
    let processor = match &machine.cpu {
        Some(cpu) => format!("the processor `{cpu}`"),
        None => "QEMU's usual processor".to_owned(),
    };
    let message = format!(
        "`{system}` is compiled for {level}, but the machine `{}` has {processor}: {}",
        machine.name,
        match at_most {
            Some(at_most) => format!("{at_most} at most"),
            None => "osier does not know which level that supports".to_owned(),
        }
    );
    let span = machine.cpu.as_ref().map_or(&machine.name.span, |cpu| &cpu.span);
    let error: Diagnostic = machine.origin.error(Code::WrongTune, span, message);
    let error = match Processor::model_of(level.as_str()) {
        Some(model) => error.hint(format!("write `cpu = \"{model}\"` into the machine's file")),
        None => {
            let most = translated(architecture);
            error.hint(format!(
                "QEMU emulates at most {most}: tune the system to that, or boot it with KVM on a machine that supports {level}"
            ))
        }
    };
    diagnosed(&[error], |file| project.text_of(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(architecture: &str, cpu: &str) -> MachineFile {
        let cpu = if cpu.is_empty() { String::new() } else { format!("cpu = \"{cpu}\"\n") };
        let text = format!(
            "name = \"m\"\narchitecture = \"{architecture}\"\nboard = \"q35\"\nconsole = \"ttyS0\"\n{cpu}"
        );
        MachineFile::parse("machines/m.toml", &text, None).unwrap()
    }

    fn most(architecture: &str, cpu: &str) -> Option<&'static str> {
        let machine = machine(architecture, cpu);
        let levels = Level::all(machine.architecture);
        let had: Vec<Level> =
            levels.filter(|level| has(&machine, Accelerator::Tcg, *level)).collect();
        had.last().copied().map(Level::as_str)
    }

    #[test]
    fn a_machine_has_what_its_processor_and_the_translator_have() {
        for (cpu, expected) in [
            ("", Some("x86-64-v3")),
            ("max", Some("x86-64-v3")),
            ("max,-avx2", Some("x86-64-v2")),
            ("qemu64", Some("x86-64")),
            ("Nehalem", Some("x86-64-v2")),
            ("Nehalem,popcnt=off", Some("x86-64")),
            ("qemu64,+ssse3,+sse4.1,+sse4.2,+cx16,+popcnt,+lahf-lm,+sse3", Some("x86-64-v2")),
            ("Haswell,-lzcnt", Some("x86-64-v2")),
            // What the translator lacks no model has.
            ("Skylake-Server", Some("x86-64-v3")),
            ("no-such-model", None),
            ("host", None),
        ] {
            assert_eq!(most("x86_64", cpu), expected, "{cpu}");
        }
        for (cpu, expected) in [
            ("", Some("armv8-a")),
            ("cortex-a72", Some("armv8-a")),
            ("neoverse-n1", Some("armv8.2-a")),
            ("max", Some("armv8.6-a")),
        ] {
            assert_eq!(most("aarch64", cpu), expected, "{cpu}");
        }
    }

    #[test]
    fn under_kvm_a_machine_has_what_the_host_has_and_no_more() {
        for level in Level::all(BUILD) {
            let host = this_machine().is_some_and(|own| level <= own);
            for cpu in ["", "host", "max"] {
                let machine = machine("x86_64", cpu);
                assert_eq!(has(&machine, Accelerator::Kvm, level), host, "{level} on {cpu}");
            }
            let old = machine("x86_64", "qemu64");
            assert_eq!(has(&old, Accelerator::Kvm, level), level.as_str() == "x86-64", "{level}");
        }
    }

    #[test]
    fn each_level_has_a_model_to_write_that_has_it() {
        for target in Target::ALL {
            for level in Level::all(target).filter(|level| level.as_str() != "x86-64-v4") {
                let model = Processor::model_of(level.as_str()).unwrap();
                let machine = machine(target.as_str(), model);
                assert!(has(&machine, Accelerator::Tcg, level), "{level} on {model}");
            }
        }
    }
}
