//! Numbers drawn from a seed, the same ones each time: what a proof did can be done again.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

/// SplitMix64, by Sebastiano Vigna, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// Begins with the seed that `OSIER_PROOF_SEED` names, or else with one of the clock; tells it.
    pub(crate) fn seeded(proof: &str) -> Result<Self> {
        let clock = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() % 1_000_000_000;
        let seed = Self::asked("OSIER_PROOF_SEED")?.unwrap_or(usize::try_from(clock)?);
        println!("prove {proof}: OSIER_PROOF_SEED={seed}");
        Ok(Self(seed as u64))
    }

    /// Reads a number that a variable gives.
    pub(crate) fn asked(variable: &str) -> Result<Option<usize>> {
        let Ok(text) = std::env::var(variable) else { return Ok(None) };
        let number = text.parse().with_context(|| format!("{variable} is a number"))?;
        Ok(Some(number))
    }

    /// Draws a number below a limit, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap_or_default()
    }

    /// Begins another row of numbers.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }

    /// Draws a moment of a span.
    pub(crate) fn moment(&mut self, span: Duration) -> Result<Duration> {
        let span = usize::try_from(span.as_micros())?;
        Ok(Duration::from_micros(self.below(span.max(1)) as u64))
    }
}
