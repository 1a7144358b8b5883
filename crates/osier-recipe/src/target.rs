//! The processors that osier builds for.

use std::fmt;

/// A processor that osier builds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit x86.
    X86_64,
}

impl Target {
    /// All targets, by name.
    pub const ALL: [Self; 2] = [Self::Aarch64, Self::X86_64];

    /// Reads a target's name or Debian's name for it (`amd64`, `arm64`).
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "x86_64" | "amd64" => Some(Self::X86_64),
            "aarch64" | "arm64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The target's own name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's name of the architecture.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_one_target() {
        for target in Target::ALL {
            assert_eq!(Target::parse(target.as_str()), Some(target));
            assert_eq!(Target::parse(target.debian()), Some(target));
        }
        assert_eq!(Target::parse("riscv64"), None);
        assert_eq!(Target::parse("X86_64"), None);
    }
}
