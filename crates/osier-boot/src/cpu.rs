//! Which instructions a machine's processor has, by the levels that compilers know.

use crate::board::{Accelerator, Architecture};

/// The processor of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor<'m> {
    /// The level that the model has as a whole; none for all that the host, or the translator, has.
    pub level: Option<&'static str>,
    /// Features that are switched on beside the model's own, as QEMU names them.
    pub added: Vec<&'m str>,
    /// Features that are switched off.
    pub removed: Vec<&'m str>,
}

/// The model for a machine that names none.
pub(crate) fn default_model(accelerator: Accelerator, architecture: Architecture) -> &'static str {
    match (accelerator, architecture) {
        (Accelerator::Kvm, _) => "host",
        (Accelerator::Tcg, Architecture::X86_64) => "max",
        // Linux of any age boots on it.
        (Accelerator::Tcg, Architecture::Aarch64) => "cortex-a57",
    }
}

/// The highest level that QEMU's translator has as a whole, from QEMU 7.2 on.
pub fn translated(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86-64-v3",
        Architecture::Aarch64 => "armv8.6-a",
    }
}

/// Models of QEMU by the beginnings of their names, the longer ones first, and the level that each has as a whole.
const PC_MODELS: &[(&str, &str)] = &[
    ("Nehalem", "x86-64-v2"),
    ("Westmere", "x86-64-v2"),
    ("SandyBridge", "x86-64-v2"),
    ("IvyBridge", "x86-64-v2"),
    ("Denverton", "x86-64-v2"),
    ("Snowridge", "x86-64-v2"),
    ("Opteron_G4", "x86-64-v2"),
    ("Opteron_G5", "x86-64-v2"),
    ("Haswell", "x86-64-v3"),
    ("Broadwell", "x86-64-v3"),
    ("Skylake-Client", "x86-64-v3"),
    ("KnightsMill", "x86-64-v3"),
    ("EPYC-Genoa", "x86-64-v4"),
    ("EPYC", "x86-64-v3"),
    ("Dhyana", "x86-64-v3"),
    ("Skylake-Server", "x86-64-v4"),
    ("Cascadelake-Server", "x86-64-v4"),
    ("Cooperlake", "x86-64-v4"),
    ("Icelake-Server", "x86-64-v4"),
    ("SapphireRapids", "x86-64-v4"),
    ("qemu64", "x86-64"),
    ("kvm64", "x86-64"),
    ("core2duo", "x86-64"),
    ("phenom", "x86-64"),
    ("Conroe", "x86-64"),
    ("Penryn", "x86-64"),
    ("Opteron_G", "x86-64"),
];

const ARM_MODELS: &[(&str, &str)] = &[
    ("cortex-a35", "armv8-a"),
    ("cortex-a53", "armv8-a"),
    ("cortex-a57", "armv8-a"),
    ("cortex-a72", "armv8-a"),
    ("cortex-a55", "armv8.2-a"),
    ("cortex-a76", "armv8.2-a"),
    ("neoverse-n1", "armv8.2-a"),
    ("a64fx", "armv8.2-a"),
    ("neoverse-v1", "armv8.4-a"),
];

impl<'m> Processor<'m> {
    /// Reads what a machine's `-cpu` says: a model, and features that are switched on or off.
    ///
    /// Nothing for a model that is not known, and for one that the accelerator does not have.
    pub fn of(
        architecture: Architecture,
        accelerator: Accelerator,
        cpu: Option<&'m str>,
    ) -> Option<Self> {
        let default = default_model(accelerator, architecture);
        let mut words = cpu.unwrap_or(default).split(',');
        let level = match (words.next()?, accelerator) {
            ("max", _) | ("host", Accelerator::Kvm) => None,
            (model, _) => {
                let models = match architecture {
                    Architecture::X86_64 => PC_MODELS,
                    Architecture::Aarch64 => ARM_MODELS,
                };
                Some(models.iter().find(|(known, _)| model.starts_with(known))?.1)
            }
        };
        let mut processor = Self { level, added: Vec::new(), removed: Vec::new() };
        for word in words {
            let (on, name) = match word.split_once('=') {
                Some((name, value)) => (value == "on", name),
                None => (!word.starts_with('-'), word.trim_start_matches(['+', '-'])),
            };
            if on { &mut processor.added } else { &mut processor.removed }.push(name);
        }
        Some(processor)
    }

    /// Names the model that comes with the least of what this level asks for, where QEMU's translator has it.
    pub fn model_of(level: &str) -> Option<&'static str> {
        Some(match level {
            "x86-64" => "qemu64",
            "x86-64-v2" => "Nehalem",
            "x86-64-v3" => "Haswell",
            "armv8-a" => "cortex-a57",
            "armv8.1-a" | "armv8.2-a" => "neoverse-n1",
            level if level.starts_with("armv8.") => "max",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Accelerator::{Kvm, Tcg};
    use Architecture::{Aarch64, X86_64};

    fn level(architecture: Architecture, cpu: &str) -> Option<Option<&'static str>> {
        Processor::of(architecture, Tcg, Some(cpu)).map(|processor| processor.level)
    }

    #[test]
    fn models_have_levels() {
        for (cpu, expected) in [
            ("qemu64", "x86-64"),
            ("Nehalem-IBRS", "x86-64-v2"),
            ("Opteron_G3", "x86-64"),
            ("Opteron_G4", "x86-64-v2"),
            ("Haswell-noTSX", "x86-64-v3"),
            ("EPYC-Rome-v2", "x86-64-v3"),
            ("EPYC-Genoa", "x86-64-v4"),
            ("Skylake-Server-v5", "x86-64-v4"),
        ] {
            assert_eq!(level(X86_64, cpu), Some(Some(expected)), "{cpu}");
        }
        assert_eq!(level(Aarch64, "cortex-a72"), Some(Some("armv8-a")));
        assert_eq!(level(Aarch64, "max,sve=off"), Some(None));
        for (architecture, cpu) in
            [(X86_64, "486"), (X86_64, "cortex-a57"), (Aarch64, "Haswell"), (X86_64, "host")]
        {
            assert_eq!(level(architecture, cpu), None, "{cpu}");
        }
        for (accelerator, architecture, expected) in
            [(Kvm, X86_64, None), (Tcg, X86_64, None), (Tcg, Aarch64, Some("armv8-a"))]
        {
            let processor = Processor::of(architecture, accelerator, None).unwrap();
            assert_eq!(processor.level, expected);
        }
        for level in ["x86-64", "x86-64-v2", "x86-64-v3"] {
            let model = Processor::model_of(level).unwrap();
            assert_eq!(Processor::of(X86_64, Tcg, Some(model)).unwrap().level, Some(level));
        }
    }

    #[test]
    fn features_are_switched() {
        let processor =
            Processor::of(X86_64, Kvm, Some("qemu64,+ssse3,-sse4.1,avx2=on,fma=off")).unwrap();
        assert_eq!(processor.level, Some("x86-64"));
        assert_eq!(
            (processor.added, processor.removed),
            (vec!["ssse3", "avx2"], vec!["sse4.1", "fma"])
        );
    }
}
