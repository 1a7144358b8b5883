//! Levels of processors: which instructions a compiler may use for a target.

use std::fmt;
use std::ops::Range;

use crate::walk::{self, Node, Walk};
use crate::{Code, Spanned, Target};

/// A level of a target's processors, by the name that compilers give it; of one target each level has all that the
/// ones before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    target: Target,
    number: u8,
}

/// What programs are compiled for, as a person writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tune {
    /// The highest level that the processor of the machine that builds has as a whole.
    Native,
    /// This level.
    Level(Level),
}

/// A level's name, and what it has beyond the one before it, as `/proc/cpuinfo` names these.
type Row = (&'static str, &'static [&'static str]);

/// The levels of the x86-64 psABI.
const X86_64: &[Row] = &[
    ("x86-64", &[]),
    ("x86-64-v2", &["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"]),
    ("x86-64-v3", &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"]),
    ("x86-64-v4", &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]),
];

/// The versions of the Arm architecture that gcc 12 and QEMU 7.2 both know, by what a compiler makes use of.
const AARCH64: &[Row] = &[
    ("armv8-a", &["fp", "asimd"]),
    ("armv8.1-a", &["atomics", "crc32", "asimdrdm"]),
    ("armv8.2-a", &["dcpop"]),
    ("armv8.3-a", &["paca", "jscvt", "fcma", "lrcpc"]),
    ("armv8.4-a", &["asimddp", "asimdfhm", "flagm", "ilrcpc"]),
    ("armv8.5-a", &["sb", "ssbs", "frint", "flagm2"]),
    ("armv8.6-a", &["i8mm", "bf16"]),
];

fn rows(target: Target) -> &'static [Row] {
    match target {
        Target::X86_64 => X86_64,
        Target::Aarch64 => AARCH64,
    }
}

impl Level {
    /// The levels of a target, the lowest first.
    pub fn all(target: Target) -> impl DoubleEndedIterator<Item = Self> + use<> {
        (0..)
            .zip(rows(target))
            .map(move |(number, _)| Self { target, number })
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Finds a level by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Target::ALL.into_iter().flat_map(Self::all).find(|level| level.as_str() == text)
    }

    /// The level's name.
    pub fn as_str(self) -> &'static str {
        rows(self.target)[usize::from(self.number)].0
    }

    /// Whose processors it is a level of.
    pub fn target(self) -> Target {
        self.target
    }

    /// The argument of the compiler.
    pub fn flag(self) -> String {
        format!("-march={}", self.as_str())
    }

    /// All that a processor of the level has, as `/proc/cpuinfo` names it.
    pub fn features(self) -> impl Iterator<Item = &'static str> {
        rows(self.target)[..=usize::from(self.number)]
            .iter()
            .flat_map(|(_, new)| new.iter().copied())
    }

    /// Finds the highest level that a processor has as a whole; `has` says what it has.
    pub fn highest(target: Target, has: impl Fn(&str) -> bool) -> Option<Self> {
        Self::all(target).take_while(|level| level.features().all(&has)).last()
    }

    /// Finds the highest level that all processors of a machine have, by the text of its `/proc/cpuinfo`.
    pub fn of_machine(target: Target, cpuinfo: &str) -> Option<Self> {
        let key = match target {
            Target::X86_64 => "flags",
            Target::Aarch64 => "Features",
        };
        let processors = cpuinfo.lines().filter_map(|line| {
            let (name, features) = line.split_once(':')?;
            (name.trim() == key).then(|| features.split_whitespace().collect::<Vec<_>>())
        });
        let levels =
            processors.map(|features| Self::highest(target, |name| features.contains(&name)));
        levels.min().flatten()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Tune {
    /// The word for the processor of the machine that builds.
    pub const NATIVE: &str = "native";

    /// Reads `native` or the name of a level.
    pub fn parse(text: &str) -> Option<Self> {
        if text == Self::NATIVE { Some(Self::Native) } else { Level::parse(text).map(Self::Level) }
    }

    /// All that can be written, `native` first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        [Self::NATIVE].into_iter().chain(
            [Target::X86_64, Target::Aarch64].into_iter().flat_map(Level::all).map(Level::as_str),
        )
    }
}

impl fmt::Display for Tune {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => out.write_str(Self::NATIVE),
            Self::Level(level) => level.fmt(out),
        }
    }
}

/// Reads `tune`: one level for a target, of which there can be several.
pub(crate) fn tunes(walk: &mut Walk, node: &Node<'_>) -> Vec<Spanned<Tune>> {
    let tunes = walk::parsed(node, Tune::parse);
    let target = |tune: &Spanned<Tune>| match tune.value {
        Tune::Native => None,
        Tune::Level(level) => Some(level.target),
    };
    for (at, tune) in tunes.iter().enumerate() {
        if tunes[..at].iter().any(|earlier| target(earlier) == target(tune)) {
            let whose = target(tune).map_or("this machine", Target::as_str);
            let message = format!("a level for {whose} is already given");
            walk.error(Code::Conflict, &tune.span, message);
        }
    }
    tunes
}

/// Reports levels of processors that what is built is never for.
pub(crate) fn of_other_targets(walk: &mut Walk, tunes: &[Spanned<Tune>], supported: &[Target]) {
    let foreign = tunes.iter().filter_map(|tune| match tune.value {
        Tune::Level(level) if !supported.contains(&level.target) => {
            Some((level, tune.span.clone()))
        }
        _ => None,
    });
    let foreign: Vec<(Level, Range<usize>)> = foreign.collect();
    for (level, span) in foreign {
        let known = supported.iter().flat_map(|target| Level::all(*target)).map(Level::as_str);
        let known: Vec<&str> = known.collect();
        let message = format!("`{level}` is a level of {}", level.target);
        let error = walk.error(Code::WrongTune, &span, message);
        error.hints.push(format!("write {}", crate::words::list(&known, "or")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_levels_of_their_targets() {
        for target in Target::ALL {
            let levels: Vec<Level> = Level::all(target).collect();
            assert!(levels.is_sorted());
            for level in levels {
                assert_eq!(Level::parse(level.as_str()), Some(level));
                assert_eq!(level.target(), target);
                assert_eq!(level.flag(), format!("-march={level}"));
                assert!(Target::parse(level.as_str()).is_none(), "{level}");
            }
        }
        assert_eq!(Level::parse("x86-64-v5"), None);
        assert_eq!(Tune::parse("native"), Some(Tune::Native));
        assert_eq!(Tune::names().filter_map(Tune::parse).count(), Tune::names().count());
    }

    #[test]
    fn a_machine_has_the_highest_level_that_it_has_as_a_whole() {
        let level = |cpuinfo: &str| Level::of_machine(Target::X86_64, cpuinfo).map(Level::as_str);
        let v3: Vec<&str> = Level::parse("x86-64-v3").unwrap().features().collect();
        let v3 = v3.join(" ");
        let line = |flags: &str| {
            format!("processor\t: 0\nflags\t\t: fpu sse2 {flags} ht\nbugs\t\t: spectre_v1\n\n")
        };
        assert_eq!(level(&line("")), Some("x86-64"));
        assert_eq!(level(&line(&v3)), Some("x86-64-v3"));
        // One instruction less, and it is the level below; one more is no level.
        assert_eq!(level(&line(&v3.replace("movbe ", ""))), Some("x86-64-v2"));
        assert_eq!(level(&line(&format!("{v3} avx512f avx512vl"))), Some("x86-64-v3"));
        // What needs v2 is not had by v3's alone.
        assert_eq!(level(&line(&v3.replace("ssse3", "pni"))), Some("x86-64"));
        // Of two kinds of processors the lesser counts.
        assert_eq!(level(&(line(&v3) + &line(&v3.replace("avx2", "")))), Some("x86-64-v2"));
        assert_eq!(level(""), None);
        let arm = "processor : 0\nFeatures : fp asimd evtstrm aes crc32 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp\n";
        let level = Level::of_machine(Target::Aarch64, arm).unwrap();
        assert_eq!(level.as_str(), "armv8.2-a");
        assert_eq!(Level::of_machine(Target::X86_64, arm), None);
    }
}
