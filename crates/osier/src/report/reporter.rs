//! Shows what happens: live on a terminal, plain lines in a pipe, JSON on request.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use osier_build::{Event, Failure, FailureCause};

use super::{escape, screen};

/// How things are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Live,
    Plain,
    Json,
    Quiet,
}

/// Takes in events and messages from any thread.
pub(crate) struct Reporter {
    style: Style,
    bars: MultiProgress,
    running: Mutex<BTreeMap<String, ProgressBar>>,
    /// The last line: how much of the build is left.
    left: Mutex<Option<ProgressBar>>,
    download: Mutex<Option<ProgressBar>>,
}

impl Reporter {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let style = if json {
            Style::Json
        } else if quiet {
            Style::Quiet
        } else if screen::is_seen() {
            Style::Live
        } else {
            Style::Plain
        };
        Self {
            style,
            bars: MultiProgress::new(),
            running: Mutex::default(),
            left: Mutex::default(),
            download: Mutex::default(),
        }
    }

    /// Prints one line of news on standard error.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        match self.style {
            Style::Live => self.bars.suspend(|| screen::tell(&format!("{line}\n"))),
            Style::Plain => screen::tell(&format!("{line}\n")),
            Style::Json => self.json(&serde_json::json!({"event": "message", "text": line})),
            Style::Quiet => {}
        }
    }

    /// Prints the result that the person asked for, on standard output.
    pub(crate) fn result(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if self.style == Style::Json {
            self.json(&serde_json::json!({"event": "result", "text": line}));
        } else {
            self.bars.suspend(|| screen::line(line));
        }
    }

    /// Says something that must not be missed, whatever was asked for.
    pub(crate) fn warn(&self, line: &str) {
        if self.style == Style::Json {
            self.json(&serde_json::json!({"event": "warning", "text": line}));
        }
        self.bars.suspend(|| screen::tell(&format!("warning: {line}\n")));
    }

    /// Prints one event as JSON, where JSON was asked for.
    pub(crate) fn json(&self, value: &serde_json::Value) {
        if self.style == Style::Json {
            screen::json(value);
        }
    }

    /// Takes in an event of the build.
    pub(crate) fn event(&self, event: Event) {
        if self.style == Style::Json {
            self.json(&serde_json::to_value(&event).unwrap_or_default());
            return;
        }
        match event {
            Event::Planned { .. } | Event::ComponentFinished { .. } => {}
            Event::EnvironmentStarted { packages } => {
                self.say(format!("  unpack  build environment of {packages} packages"));
            }
            Event::EnvironmentFinished { seconds } => {
                self.say(format!("    done  build environment in {}", duration(seconds)));
            }
            Event::StepStarted { component, step, expected } => {
                let label = format!("{component}:{step}");
                if self.style != Style::Live {
                    self.say(format!("     run  {label}"));
                    return;
                }
                let bar = ProgressBar::new_spinner();
                let bar = match &*lock(&self.left) {
                    Some(left) => self.bars.insert_before(left, bar),
                    None => self.bars.add(bar),
                };
                let last = expected.map(|seconds| format!(" (last time {})", duration(seconds)));
                let style = ProgressStyle::with_template("     run  {msg} {elapsed}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                let message = format!("{label}{}", last.unwrap_or_default());
                bar.set_message(escape::printable(&message).into_owned());
                bar.enable_steady_tick(Duration::from_millis(250));
                lock(&self.running).insert(label, bar);
            }
            Event::StepReused { component, step } => {
                self.say(format!(
                    "   reuse  {component}:{step} goes on from an earlier build's objects"
                ));
            }
            Event::TimeLeft { steps, seconds, unknown } => self.time_left(steps, seconds, unknown),
            Event::StepPatched { component, step, patches } => {
                super::patching::tell(self, &component, &step, &patches);
            }
            Event::StepFinished { component, step, seconds, cpu } => {
                let label = format!("{component}:{step}");
                self.end(&label);
                self.say(format!(
                    "    done  {label} in {} ({} of processor time)",
                    duration(seconds),
                    duration(cpu)
                ));
            }
            Event::StepWarned { component, step, message } => {
                self.warn(&format!("{component}:{step} {message}"));
            }
            Event::Damaged { message } => self.warn(&message),
            Event::StepsEnded { steps, seconds, cpu, processors, utilisation } => {
                self.say(format!(
                    "   built  {steps} step{} in {}, {} of processor time: {:.0}% of {processors} processor{}",
                    plural(steps),
                    duration(seconds),
                    duration(cpu),
                    utilisation * 100.0,
                    plural(processors),
                ));
            }
            Event::StepFailed { failure } => {
                self.end(&format!("{}:{}", failure.component, failure.step));
            }
        }
    }

    fn end(&self, label: &str) {
        let mut running = lock(&self.running);
        let ended = running.remove(label);
        // What is left is told anew when the next step starts, if one does.
        let left = if running.is_empty() { lock(&self.left).take() } else { None };
        for bar in ended.into_iter().chain(left) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Shows how much of the build is left, counting down until it is told anew.
    fn time_left(&self, steps: usize, seconds: f64, unknown: usize) {
        if self.style != Style::Live || lock(&self.running).is_empty() {
            return;
        }
        let told = Instant::now();
        let count = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let passed = told.elapsed().as_secs_f64();
            let _ = out.write_str(&left(steps, (seconds - passed).max(0.0), unknown));
        };
        let style = ProgressStyle::with_template("    left  {left}");
        let style =
            style.unwrap_or_else(|_| ProgressStyle::default_spinner()).with_key("left", count);
        let mut slot = lock(&self.left);
        let bar = slot.get_or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        bar.set_style(style);
    }

    /// Shows how far the downloads are.
    pub(crate) fn download(&self, done: u64, total: u64) {
        if self.style != Style::Live {
            return;
        }
        let mut slot = lock(&self.download);
        let bar = slot.get_or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new(total));
            let style = ProgressStyle::with_template(
                "   fetch  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
        if done >= total
            && let Some(bar) = slot.take()
        {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Writes seconds as a person reads them: `0.4 s`, `12 s`, `3 min 20 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{seconds:.0} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// Says how much of a build is left, and how much of that is not known.
fn left(steps: usize, seconds: f64, unknown: usize) -> String {
    let count = |number: usize| format!("{number} step{}", plural(number));
    let known = match seconds {
        ..1.0 => format!("moments for {}", count(steps - unknown.min(steps))),
        _ => format!("about {} for {}", duration(seconds), count(steps - unknown.min(steps))),
    };
    match unknown {
        0 => known,
        _ if unknown >= steps => format!("{}, never timed before", count(steps)),
        _ => format!("{known}, and {} never timed before", count(unknown)),
    }
}

/// Writes bytes as a person reads them, in powers of 1000.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// Draws the screen of one failed step: what, where, the first real error, how to look closer.
pub(crate) fn failure_screen(failure: &Failure) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let _ = writeln!(text, "error[{}]: {}", failure.cause.code(), failure.headline());
    if !failure.origin.is_empty() {
        let _ = writeln!(text, "  step      {}", failure.origin);
    }
    if let Some(command) = &failure.command {
        let _ = writeln!(text, "  command   {command}");
    }
    if let FailureCause::Check { findings } = &failure.cause {
        for finding in findings {
            let place =
                finding.place.as_deref().map(|place| format!("{place}: ")).unwrap_or_default();
            let _ = writeln!(text, "  finding   {place}{}", finding.message);
            if let Some(hint) = &finding.hint {
                let _ = writeln!(text, "            hint: {hint}");
            }
        }
    }
    if let FailureCause::Patches { patches } = &failure.cause {
        text.push_str(&super::patching::screen(patches));
    }
    if let Some(line) = &failure.first_error {
        let _ = writeln!(
            text,
            "  first     {} (line {} of the log)",
            line.text.trim_end(),
            line.number
        );
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "  hint      {hint}");
    }
    if !failure.last_lines.is_empty() {
        let _ = writeln!(text, "  last lines of the log:");
        for line in &failure.last_lines {
            let _ = writeln!(text, "    | {line}");
        }
    }
    let name = format!("{}:{}", failure.component, failure.step);
    if failure.log.is_some() {
        let _ = writeln!(text, "  look      osier log {name}");
    }
    if let FailureCause::Machine { .. } = &failure.cause {
        text.push_str("  machine   `osier doctor` tries what it gives\n");
    }
    if !failure.on.is_empty() {
        let recipe = failure.component.split('@').next().unwrap_or_default();
        let _ = writeln!(
            text,
            "  edited    it went on from an earlier build's objects; `osier edit --afresh {recipe}` starts clean"
        );
    }
    if failure.layer_kept {
        let _ = writeln!(text, "  enter     osier shell {name}");
    }
    let _ = writeln!(text, "  explain   osier explain {}", failure.cause.code());
    text
}

#[cfg(test)]
mod tests {
    use super::{bytes, duration, left};

    #[test]
    fn what_is_left_says_what_is_not_known() {
        assert_eq!(left(3, 200.4, 0), "about 3 min 20 s for 3 steps");
        assert_eq!(left(3, 75.0, 2), "about 75 s for 1 step, and 2 steps never timed before");
        assert_eq!(left(1, 0.0, 1), "1 step, never timed before");
        assert_eq!(left(2, 0.3, 0), "moments for 2 steps");
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(duration(0.44), "0.4 s");
        assert_eq!(duration(75.4), "75 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(118_000_000), "118 MB");
        assert_eq!(bytes(1_700), "1.7 kB");
    }
}
