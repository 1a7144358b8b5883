//! A script played to a started guest.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::classify::KVM_BROKEN;
use crate::console::{Console, Record};
use crate::emulator::{Guest, GuestExit, GuestStatus};
use crate::kernel_lines::Lines;
use crate::plan::{BootEvent, BootPlan, rounded};
use crate::script::{Action, BootScript, GuestEnding, Matcher};
use crate::verdict::Outcome;

/// How long the console must be silent before an unfinished line counts as it stands.
const QUIET: Duration = Duration::from_secs(1);
/// How long a wait for news lasts; the guest's end is noticed this late at most.
const TICK: Duration = Duration::from_millis(100);
/// How long a killed or ended QEMU may take until its streams are closed.
const CLOSING: Duration = Duration::from_secs(5);
/// The part of one processor that an idle guest may use by its timer ticks, in percent.
const IDLE_PERCENT: u32 = 4;

/// A started guest and the place in its script.
pub(crate) struct Playing {
    guest: Box<dyn Guest>,
    console: Console,
    stdin: File,
    matcher: Matcher,
    exit: Option<GuestExit>,
    /// Multiplies the script's limits.
    scale: f64,
    no_progress: Duration,
    /// How long the console must be quiet after text after which nothing comes.
    grace: Duration,
    progress: Progress,
}

/// The last moment at which the guest did something.
struct Progress {
    since: Instant,
    bytes: u64,
    cpu: Option<Duration>,
}

impl Playing {
    pub(crate) fn new(
        plan: &BootPlan<'_>,
        guest: Box<dyn Guest>,
        console: Console,
        stdin: OwnedFd,
    ) -> Playing {
        let fits = plan.patience.is_finite() && plan.patience > 0.0;
        let patience = if fits { plan.patience.min(1000.0) } else { 1.0 };
        let slowness = plan.accelerator.slowness();
        Playing {
            progress: Progress { since: Instant::now(), bytes: 0, cpu: guest.cpu_time() },
            guest,
            console,
            stdin: File::from(stdin),
            matcher: Matcher::default(),
            exit: None,
            scale: patience * f64::from(slowness),
            no_progress: scaled(plan.no_progress, patience),
            grace: scaled(Duration::from_secs(2), patience) + QUIET * (slowness / 4),
        }
    }

    pub(crate) fn play(
        &mut self,
        script: &BootScript,
        started: Instant,
        events: &dyn Fn(BootEvent<'_>),
    ) -> Result<(), Outcome> {
        for action in &script.actions {
            events(BootEvent::Waiting { action });
            let waiting_for = action.to_string();
            match action {
                Action::Expect { pattern, within } => {
                    self.wait_for(&waiting_for, *within, |matcher, record, exit| {
                        let quiet = exit.is_some() || record.last_output.elapsed() >= QUIET;
                        matcher.find(&record.tail, record.tail_start, pattern, quiet)
                    })?;
                }
                Action::Send { text } => self.send(text, &waiting_for)?,
                Action::Booted { within } => {
                    self.wait_for(&waiting_for, *within, |matcher, record, _| {
                        record.proved.inspect(|(_, behind)| matcher.advance(*behind)).is_some()
                    })?;
                    if let Some((when, _)) = self.console.record().proved {
                        let seconds = rounded(when.duration_since(started));
                        events(BootEvent::Proved { seconds });
                    }
                }
                Action::End { how, within } => self.end(*how, &waiting_for, *within)?,
            }
        }
        Ok(())
    }

    /// Waits until `ready`, which sees the matcher, the console and QEMU's exit.
    fn wait_for(
        &mut self,
        waiting_for: &str,
        within: Duration,
        mut ready: impl FnMut(&mut Matcher, &Record, Option<GuestExit>) -> bool,
    ) -> Result<(), Outcome> {
        let limit = scaled(within, self.scale);
        let begun = Instant::now();
        self.progress.since = begun;
        loop {
            self.poll_exit()?;
            let cpu = self.guest.cpu_time();
            let record = self.console.record();
            if ready(&mut self.matcher, &record, self.exit) {
                return Ok(());
            }
            if record.overflow {
                return Err(Outcome::TooMuchOutput);
            }
            if let Some(message) = kvm_broken(&record.messages) {
                return Err(Outcome::EmulatorFailed { message });
            }
            let waiting_for = waiting_for.to_owned();
            if let Some(exit) = self.exit {
                return Err(Outcome::GuestEnded { waiting_for, status: exit.status });
            }
            if record.stands_still(self.grace) {
                return Err(Outcome::Settled { waiting_for });
            }
            if begun.elapsed() >= limit {
                return Err(Outcome::TimedOut { waiting_for, limit });
            }
            if self.progress.stands_still(record.bytes, cpu, self.no_progress) {
                let quiet = self.progress.since.elapsed();
                return Err(Outcome::NoProgress { waiting_for, quiet });
            }
            drop(record);
            self.console.wait(TICK);
        }
    }

    fn poll_exit(&mut self) -> Result<(), Outcome> {
        if self.exit.is_none() {
            let failed = |error: crate::EmulatorError| Outcome::EmulatorFailed {
                message: error.to_string(),
            };
            self.exit = self.guest.try_wait(Duration::ZERO).map_err(failed)?;
            if self.exit.is_some() {
                self.console.wait_closed(CLOSING);
            }
        }
        Ok(())
    }

    fn send(&mut self, text: &str, waiting_for: &str) -> Result<(), Outcome> {
        self.matcher.sent(text);
        let (mut rest, stdin) = (text.as_bytes(), self.stdin.try_clone());
        let Ok(mut stdin) = stdin else {
            let message = "no descriptor left to write to the console".to_owned();
            return Err(Outcome::EmulatorFailed { message });
        };
        // A guest takes what fits its serial port at once; one that never reads is a time-out.
        self.wait_for(waiting_for, Duration::from_secs(10), |_, _, _| {
            match stdin.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // QEMU is gone; its exit says so in the next round.
                Err(_) => return false,
            }
            rest.is_empty()
        })
    }

    fn end(
        &mut self,
        how: GuestEnding,
        waiting_for: &str,
        within: Duration,
    ) -> Result<(), Outcome> {
        if how == GuestEnding::Kill {
            return Ok(());
        }
        let grace = self.grace;
        self.wait_for(waiting_for, within, |_, record, exit| {
            exit.is_some() || record.stands_still(grace)
        })?;
        let record = self.console.record();
        let (console, behind) = record.text();
        let (_, end) = record.said();
        drop(record);
        let end = end.filter(|_| self.has_ended());
        let found = Lines::new(&console, behind).ended(end).ending().map(|(ending, _)| ending);
        match self.exit {
            Some(GuestExit { status, .. })
                if matches!(status, GuestStatus::Signal(_))
                    || (status != GuestStatus::Code(0) && how != GuestEnding::Exit) =>
            {
                Err(Outcome::GuestEnded { waiting_for: waiting_for.to_owned(), status })
            }
            Some(_) if how == GuestEnding::Exit && found != Some(GuestEnding::Panic) => Ok(()),
            _ if found == Some(how) => Ok(()),
            _ => Err(Outcome::OtherEnd { expected: how, found }),
        }
    }

    /// Whether QEMU has ended without being told to.
    pub(crate) fn has_ended(&self) -> bool {
        self.exit.is_some()
    }

    /// Ends the guest if it still runs; its CPU time.
    pub(crate) fn stop(&mut self) -> Duration {
        let used = self.guest.cpu_time();
        if self.exit.is_none() {
            self.guest.kill();
            self.exit = self.guest.try_wait(CLOSING).ok().flatten();
            self.console.wait_closed(CLOSING);
        }
        self.exit.map(|exit| exit.cpu).or(used).unwrap_or_default()
    }
}

// However the playing ends, an unwinding test included, no QEMU stays behind.
impl Drop for Playing {
    fn drop(&mut self) {
        if self.exit.is_none() {
            self.guest.kill();
        }
    }
}

impl Progress {
    /// Whether nothing has happened for `limit`; what cannot be known counts as progress.
    fn stands_still(&mut self, bytes: u64, cpu: Option<Duration>, limit: Duration) -> bool {
        let elapsed = self.since.elapsed();
        let used = match (self.cpu, cpu) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => Duration::MAX,
        };
        if bytes != self.bytes {
            *self = Progress { since: Instant::now(), bytes, cpu };
            return false;
        }
        if elapsed < limit {
            return false;
        }
        if used > elapsed * IDLE_PERCENT / 100 {
            *self = Progress { since: Instant::now(), bytes, cpu };
            return false;
        }
        true
    }
}

fn kvm_broken(messages: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(messages);
    let broken = |line: &&str| KVM_BROKEN.iter().any(|words| line.contains(words));
    text.lines().find(broken).map(str::to_owned)
}

fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}
