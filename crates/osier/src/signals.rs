//! The signals that end osier: Ctrl-C, SIGTERM and SIGHUP, all alike.
//!
//! Work that looks at [`INTERRUPTED`] ends by itself, in a state that resumes. Anything else ends at once, which is as
//! sound: nothing half-done is ever taken as done, and what runs in sandboxes ends with osier.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::report::problem::{Code, Problem};

/// Set once osier is to end.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How many pieces of work look at [`INTERRUPTED`] just now.
static LOOKING: AtomicUsize = AtomicUsize::new(0);

/// Whether the person asked for JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// How long work that looks may take to end by itself. A second signal does not wait for it.
const GRACE: Duration = Duration::from_secs(10);

/// Stands for work that looks at [`INTERRUPTED`] now and then.
pub(crate) struct Looking(());

impl Looking {
    pub(crate) fn begin() -> Self {
        LOOKING.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        LOOKING.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn interrupted() -> Problem {
    Problem::of(Code::Interrupted, "interrupted; the next run continues from here")
}

/// Sets how the end is told.
pub(crate) fn tell_as_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Takes care of the signals from now on. The launcher of sandboxes is started first, as it is a copy of this process.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ignored = ignored();
        let wanted = [SIGINT, SIGTERM, SIGHUP];
        // Who has started osier by `nohup`, or in the background of a script, wants it to stay.
        let wanted = wanted.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let Ok(mut signals) = Signals::new(Vec::from_iter(wanted)) else { return };
        let stdin = std::io::stdin();
        let terminal = stdin.is_terminal().then(|| tcgetattr(stdin.as_fd()).ok()).flatten();
        std::thread::spawn(move || {
            for _ in signals.forever() {
                let again = INTERRUPTED.swap(true, Ordering::SeqCst);
                if again || LOOKING.load(Ordering::SeqCst) == 0 {
                    leave(terminal.as_ref());
                }
                let terminal = terminal.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(GRACE);
                    leave(terminal.as_ref());
                });
            }
        });
    });
}

/// The signals that this process was started with as ignored, as the kernel's mask.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Ends osier in the middle of whatever it does.
fn leave(terminal: Option<&Termios>) -> ! {
    let problem = interrupted();
    if let Some(terminal) = terminal {
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, terminal);
    }
    // The streams' own locks may be held by what is interrupted.
    if JSON.load(Ordering::Relaxed)
        && let Ok(event) = serde_json::to_string(&problem.event())
    {
        let line = event + "\n";
        let _ = rustix::io::write(std::io::stdout().as_fd(), line.as_bytes());
    }
    let _ = rustix::io::write(std::io::stderr().as_fd(), problem.render().as_bytes());
    std::process::exit(problem.code.exit() as i32)
}
