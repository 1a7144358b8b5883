//! The value that proves that process 1 ran.

use std::fmt;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// The file of the initramfs that holds the value, without the leading slash (as cpio names it).
pub const CHALLENGE_FILE: &str = ".osier/challenge";

/// The `fw_cfg` item that holds the value where there is no initrd; Linux shows it as
/// `/sys/firmware/qemu_fw_cfg/by_name/opt/osier/challenge/raw`.
pub const CHALLENGE_FW_CFG: &str = "opt/osier/challenge";

/// What process 1 prints directly before the value, at any place of a line.
pub const PROOF_PREFIX: &str = "osier-booted:";

/// A value that is new at each boot: 16 random bytes as 32 lower-case hexadecimal digits.
///
/// It is never on the kernel's command line and never sent to the console, so that neither
/// an echo nor a log of the command line can be taken for the proof.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// Draws a fresh value from the kernel.
    ///
    /// # Errors
    ///
    /// `getrandom(2)` failed.
    pub fn fresh() -> Result<Challenge, Errno> {
        let mut bytes = [0u8; 16];
        // Up to 256 bytes are never cut short by a signal (random(7)).
        let count = getrandom(&mut bytes[..], GetRandomFlags::empty())?;
        if count != bytes.len() {
            return Err(Errno::AGAIN);
        }
        Ok(Challenge(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The 32 digits: what the guest must find in [`CHALLENGE_FILE`] or [`CHALLENGE_FW_CFG`].
    pub fn value(&self) -> &str {
        &self.0
    }

    /// The text that process 1 must print on a line of its console.
    pub fn proof(&self) -> String {
        format!("{PROOF_PREFIX}{}", self.0)
    }
}

// The value stays out of logs until the guest itself has shown it.
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_fresh_and_well_formed() {
        let (one, two) = (Challenge::fresh().unwrap(), Challenge::fresh().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.value().len(), 32);
        assert!(one.value().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_eq!(one.proof(), format!("osier-booted:{}", one.value()));
        assert!(!format!("{one:?}").contains(one.value()));
    }
}
