//! Numbers drawn from a seed, the same ones each time: what a proof did can be done again.

/// SplitMix64, by Sebastiano Vigna, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// Draws a number below a limit, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap_or_default()
    }
}
