//! Shows what happens: live on a terminal, plain lines in a pipe, JSON on request.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use osier_build::Event;
use serde::Serialize;

use super::event::{self, Told};
use super::figures::{duration, plural};
use super::{escape, patching, screen};

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

    /// Tells what happens, in the way that was asked for.
    pub(crate) fn tell(&self, event: &event::Event) {
        self.json(event);
        match event.told() {
            Told::News(line) if self.style != Style::Json => self.say(line),
            Told::Warning(line) => {
                self.bars.suspend(|| screen::tell(&format!("warning: {line}\n")));
            }
            Told::News(_) | Told::Nothing => {}
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
            self.json(&event::Event::Result { text: line.to_owned() });
        } else {
            self.bars.suspend(|| screen::line(line));
        }
    }

    /// Says something that must not be missed, whatever was asked for.
    pub(crate) fn warn(&self, line: &str) {
        self.tell(&event::Event::Warning { text: line.to_owned() });
    }

    /// Prints one event as JSON, where JSON was asked for.
    pub(crate) fn json(&self, value: &impl Serialize) {
        if self.style == Style::Json {
            screen::json(value);
        }
    }

    /// Takes in an event of the build.
    pub(crate) fn event(&self, event: Event) {
        if self.style == Style::Json {
            self.json(&event);
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
                    "   reuse  {component}:{step} starts from an earlier build's objects"
                ));
            }
            Event::TimeLeft { steps, seconds, unknown } => self.time_left(steps, seconds, unknown),
            Event::StepPatched { component, step, patches } => {
                patching::news(&component, &patches).iter().for_each(|line| self.say(line));
                patching::waived(&component, &step, &patches)
                    .iter()
                    .for_each(|line| self.warn(line));
            }
            Event::StepFinished { component, step, seconds, cpu } => {
                let label = format!("{component}:{step}");
                self.end(&label);
                self.say(format!(
                    "    done  {label} in {} ({} of CPU time)",
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
                    "   built  {steps} step{} in {}, {} of CPU time: {:.0}% of {processors} processor{}",
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

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn what_is_left_says_what_is_not_known() {
        assert_eq!(left(3, 200.4, 0), "about 3 min 20 s for 3 steps");
        assert_eq!(left(3, 75.0, 2), "about 75 s for 1 step, and 2 steps never timed before");
        assert_eq!(left(1, 0.0, 1), "1 step, never timed before");
        assert_eq!(left(2, 0.3, 0), "moments for 2 steps");
    }
}
