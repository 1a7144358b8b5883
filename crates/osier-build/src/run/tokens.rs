//! The two pipes by which one step takes jobs and gives them back.
//!
//! GNU make's jobserver is one pipe for all, in which each byte is a job. Here each step has two of its own: from one it reads bytes that
//! osier has put there, into the other it writes bytes that osier takes out. make cannot tell the difference, and osier knows at any
//! moment how many jobs which step has, whatever the step does with its ends, and has them all back when the step is over.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::{Errno, ioctl_fionread, read, write};
use rustix::pipe::{PipeFlags, pipe_with};

/// osier's ends of a step's two pipes.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// What is written here can be taken by the step.
    give: OwnedFd,
    /// What the step has not taken yet is read here.
    unread: OwnedFd,
    /// What the step gives back is read here.
    back: OwnedFd,
    /// The step's own end of that, so that it never hangs up.
    _open: OwnedFd,
    /// How many jobs the step has, those among them that it has not taken yet.
    given: usize,
}

impl Tokens {
    /// Makes both pipes; gives osier's ends and the step's: where it reads, where it writes.
    pub(crate) fn new() -> Result<(Self, [OwnedFd; 2]), Errno> {
        let (take, give) = pipe_with(PipeFlags::CLOEXEC)?;
        let (back, put) = pipe_with(PipeFlags::CLOEXEC)?;
        for own in [&give, &back] {
            fcntl_setfl(own, fcntl_getfl(own)? | OFlags::NONBLOCK)?;
        }
        // Opened anew: whether the step's own end blocks is the step's to say, and is said of all copies of that end.
        let number = std::os::fd::AsRawFd::as_raw_fd(&take);
        let path = PathBuf::from(format!("/proc/self/fd/{number}"));
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let unread = open(path, flags, Mode::empty())?;
        let open = rustix::io::fcntl_dupfd_cloexec(&put, 0)?;
        Ok((Self { give, unread, back, _open: open, given: 0 }, [take, put]))
    }

    /// Becomes readable when the step gives something back.
    pub(crate) fn back(&self) -> impl AsFd + '_ {
        &self.back
    }

    /// How many jobs the step has, those among them that it has not taken yet.
    pub(crate) fn given(&self) -> usize {
        self.given
    }

    /// How many jobs lie there for the step to take.
    pub(crate) fn unread(&self) -> usize {
        // A step that puts bytes into its own pipe has not been given them.
        let count = ioctl_fionread(&self.unread).unwrap_or(0);
        usize::try_from(count).unwrap_or(usize::MAX).min(self.given)
    }

    /// Lays one job there for the step to take; says whether it went.
    pub(crate) fn offer(&mut self) -> bool {
        let went = write(&self.give, b"+") == Ok(1);
        self.given += usize::from(went);
        went
    }

    /// Takes back what the step has not taken; says how many jobs that was.
    pub(crate) fn withdraw(&mut self) -> usize {
        let before = self.given;
        let mut byte = [0];
        while self.given > 0 && read(&self.unread, &mut byte) == Ok(1) {
            self.given -= 1;
        }
        before - self.given
    }

    /// Takes what the step has given back. No more of it counts than the step had taken; says whether there was more.
    pub(crate) fn collect(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let mut count = 0;
        // Not for ever: a step may write faster than this reads.
        for _ in 0..16 {
            match read(&self.back, &mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(some) => count += some,
            }
        }
        let taken = self.given - self.unread();
        self.given -= count.min(taken);
        count > taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(ends: &[OwnedFd; 2]) -> bool {
        fcntl_setfl(&ends[0], OFlags::NONBLOCK).unwrap();
        read(&ends[0], &mut [0]) == Ok(1)
    }

    #[test]
    fn jobs_go_out_and_come_back() {
        let (mut tokens, ends) = Tokens::new().unwrap();
        assert!(!take(&ends));
        assert!(tokens.offer() && tokens.offer());
        assert_eq!((tokens.given(), tokens.unread()), (2, 2));
        assert!(take(&ends));
        assert_eq!((tokens.given(), tokens.unread()), (2, 1));
        assert_eq!((tokens.withdraw(), tokens.given()), (1, 1));
        assert!(!take(&ends));
        write(&ends[1], b"x").unwrap();
        assert!(!tokens.collect());
        assert_eq!(tokens.given(), 0);
    }

    #[test]
    fn what_is_given_back_without_having_been_taken_counts_for_nothing() {
        let (mut tokens, ends) = Tokens::new().unwrap();
        for _ in 0..3 {
            tokens.offer();
        }
        assert!(take(&ends));
        write(&ends[1], &[b'+'; 1000]).unwrap();
        assert!(tokens.collect());
        assert_eq!((tokens.given(), tokens.unread()), (2, 2));
        // Nor does what a step puts into the pipe that it should read.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&ends[0]));
        std::fs::write(path, [b'+'; 1000]).unwrap();
        assert_eq!((tokens.withdraw(), tokens.given()), (2, 0));
        assert_eq!(tokens.withdraw(), 0);
    }

    #[test]
    fn a_step_that_closes_its_ends_disturbs_nobody() {
        let (mut tokens, ends) = Tokens::new().unwrap();
        assert!(tokens.offer() && take(&ends));
        drop(ends);
        assert!(!tokens.collect() && tokens.offer());
        assert_eq!((tokens.given(), tokens.withdraw()), (2, 1));
    }
}
