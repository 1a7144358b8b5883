//! The graph as one SVG file that needs nothing else: no script, no font, no style sheet.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use osier_build::Took;

use super::layered::{Layout, lay_out, reduced};
use super::{How, Overview, Part, State, text, took};
use crate::report::figures::duration;

/// The width of one character of a fixed-width font of 12 px, and the height of a line of it.
const LETTER: f64 = 7.3;
const ROW: f64 = 17.0;
/// Room inside the border of a box, and around the drawing.
const PAD: f64 = 9.0;
const MARGIN: f64 = 24.0;
/// The longest bar of a step's time.
const BAR: f64 = 56.0;
/// The height of title and legend.
const HEAD: f64 = 74.0;

const STYLE: &str = "text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#222}\
.title{font-size:16px;font-weight:bold}.name{font-weight:bold}.faint{fill:#666}.end{text-anchor:end}\
.box{stroke-width:1.2}.built{fill:#f3f8f2;stroke:#5b8c5a}.reused{fill:#fff8e0;stroke:#b8912a}\
.failed{fill:#fdeceb;stroke:#c0392b}.open{fill:#f1f1f1;stroke:#888;stroke-dasharray:5 3}.goal{fill:#eaf1fb;stroke:#4a74ad}\
.line{fill:none;stroke:#8a8a8a;stroke-width:1.2}.tool{stroke-dasharray:6 4}.from{stroke-dasharray:2 3}\
.critical{stroke:#e8590c;stroke-width:2.6}.bar{fill:#b9c6b8}.hot{fill:#e8590c}";

/// The kinds of lines, and what they mean.
const LEGEND: [(&str, &str); 4] = [
    ("line", "linked with"),
    ("line tool", "runs in the build"),
    ("line from", "starts on a step of"),
    ("line critical", "critical path"),
];

/// One box: what stands in it.
struct Card {
    class: String,
    name: String,
    /// The line below the name.
    detail: String,
    rows: Vec<Row>,
    /// What a person sees who points at it.
    tip: String,
    width: f64,
}

/// One line of a box.
struct Row {
    name: String,
    /// The share of the longest step, where there is a bar.
    share: Option<f64>,
    value: String,
    is_critical: bool,
}

/// Draws the graph: what is built first on the left.
///
/// A line that is implied by others is left out, so that a person can follow those that are left.
pub(super) fn write(overview: &Overview) -> String {
    let longest = overview.parts.iter().flat_map(|part| &part.steps);
    let longest = longest.filter_map(|step| match step.took {
        Took::Time(time) => Some(time.wall),
        _ => None,
    });
    let longest = longest.fold(0.0, f64::max);
    let mut cards: Vec<Card> =
        overview.parts.iter().map(|part| card(overview, part, longest)).collect();
    // Of several lines between two boxes one is drawn, the plainest.
    let mut lines: BTreeMap<(usize, usize), (&'static str, bool)> = BTreeMap::new();
    for (number, part) in overview.parts.iter().enumerate() {
        for one in &part.uses {
            let class = match one.how {
                How::Need(_) => "line",
                How::From(_) => "line from",
                How::Tool(_) => "line tool",
            };
            let slot = lines.entry((one.part, number)).or_insert((class, one.is_critical));
            if class == "line" {
                slot.0 = class;
            }
        }
    }
    if overview.is_system {
        let name = overview.name.clone();
        let width = PAD * 2.0 + LETTER * (name.chars().count().max(8)) as f64;
        let tip = format!("the system {name}");
        let detail = "system".to_owned();
        cards.push(Card { class: "goal".into(), name, detail, rows: Vec::new(), tip, width });
        let wanted = overview.parts.iter().enumerate().filter(|(_, part)| part.is_wanted);
        for (number, _) in wanted {
            lines.insert((number, cards.len() - 1), ("line", false));
        }
    }
    let ends: Vec<(usize, usize)> = lines.keys().copied().collect();
    let kept = reduced(cards.len(), &ends);
    let drawn: Vec<_> = lines
        .into_iter()
        .zip(kept)
        .filter(|((_, (_, critical)), kept)| *kept || *critical)
        .collect();
    let ends: Vec<(usize, usize)> = drawn.iter().map(|((ends, _), _)| *ends).collect();
    let sizes: Vec<(f64, f64)> = cards.iter().map(|card| (card.width, card.height())).collect();
    let layout = lay_out(&sizes, &ends);
    let mut svg = head(overview, &layout);
    // Critical lines last, on top of the others.
    for critical in [false, true] {
        for (line, ((_, (class, _)), _)) in layout
            .lines
            .iter()
            .zip(&drawn)
            .filter(|(_, ((_, (_, is_critical)), _))| *is_critical == critical)
        {
            let more = if critical { " critical" } else { "" };
            let _ = writeln!(svg, "<path class=\"{class}{more}\" d=\"{}\"/>", path(line));
        }
    }
    for (card, (x, y)) in cards.iter().zip(&layout.boxes) {
        card.draw(&mut svg, *x, *y);
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// Writes size, style, title and legend.
fn head(overview: &Overview, layout: &Layout) -> String {
    let title = format!(
        "{}: {} of {} components are built",
        overview.name,
        overview.built(),
        overview.parts.len()
    );
    let times = overview.times();
    let legend: f64 = LEGEND.iter().map(|(_, words)| words.len() as f64 * LETTER + 56.0).sum();
    // The title's letters are larger by a third.
    let words = times.chars().count().max(title.chars().count() * 4 / 3) as f64 * LETTER;
    let width = layout.width.max(words).max(legend) + MARGIN * 2.0;
    let height = layout.height + HEAD + MARGIN * 2.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"34\">{0}</text>\n\
         <text class=\"faint\" x=\"{MARGIN}\" y=\"54\">{1}</text>\n",
        escaped(&title),
        escaped(&times)
    );
    let mut x = MARGIN;
    for (class, words) in LEGEND {
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"M{x:.1} 72h30\"/><text class=\"faint\" x=\"{:.1}\" y=\"76\">{words}</text>",
            x + 36.0
        );
        x += 36.0 + words.len() as f64 * LETTER + 20.0;
    }
    let _ = writeln!(svg, "<g transform=\"translate({MARGIN} {})\">", HEAD + MARGIN);
    svg
}

/// Says what stands in the box of a component.
fn card(overview: &Overview, part: &Part, longest: f64) -> Card {
    let class = match part.state {
        State::Built => "built",
        State::Reused => "reused",
        State::Failed(_) => "failed",
        State::Open => "open",
    };
    let is_critical = part.steps.iter().any(|step| step.is_critical);
    let name = part.name.clone();
    let mut detail = part.version.clone();
    match (&part.state, part.bytes()) {
        (State::Built, Some(bytes)) if !part.is_edited => {
            let _ = write!(detail, ", {}", crate::report::figures::bytes(bytes));
        }
        _ => {
            let _ = write!(detail, ", {}", part.words());
        }
    }
    let mut rows = Vec::new();
    let (mut little, mut never) = (0, 0);
    for step in &part.steps {
        match step.took {
            Took::Time(time) => rows.push(Row {
                name: step.name.clone(),
                share: Some(time.wall / longest.max(0.1)),
                value: duration(time.wall),
                is_critical: step.is_critical,
            }),
            Took::Little => little += 1,
            Took::Unknown => never += 1,
        }
    }
    for (count, words) in [(little, "under 0.5 s"), (never, "never timed")] {
        if count > 0 {
            let name = format!("{count} step{}", if count == 1 { "" } else { "s" });
            let value = words.to_owned();
            rows.push(Row { name, share: None, value, is_critical: false });
        }
    }
    let mut tip = format!("{name} {}: {}{}", part.version, part.words(), text::sizes(part));
    for (word, names) in text::used(overview, part) {
        let _ = write!(tip, "\n{word}: {names}");
    }
    for step in &part.steps {
        let _ = write!(tip, "\n{}: {}", step.name, took(step.took));
    }
    let class = if is_critical { format!("{class} critical") } else { class.to_owned() };
    let mut card = Card { class, name, detail, rows, tip, width: 0.0 };
    card.width = card.needed();
    card
}

impl Card {
    /// The width that its words and bars take.
    fn needed(&self) -> f64 {
        let longest = |of: fn(&Row) -> &str, bars: bool| {
            let rows = self.rows.iter().filter(|row| row.share.is_some() == bars);
            rows.map(|row| of(row).chars().count()).max().unwrap_or(0)
        };
        let letters = |bars| {
            (longest(|row| &row.name, bars) + longest(|row| &row.value, bars) + 3) as f64 * LETTER
        };
        let words = self.name.chars().count().max(self.detail.chars().count()) as f64 * LETTER;
        words.max(letters(false)).max(letters(true) + BAR) + PAD * 2.0
    }

    fn height(&self) -> f64 {
        PAD * 2.0 + ROW * (2 + self.rows.len()) as f64
    }

    fn draw(&self, svg: &mut String, x: f64, y: f64) {
        let (width, height) = (self.width, self.height());
        let _ = writeln!(
            svg,
            "<g transform=\"translate({x:.1} {y:.1})\"><title>{}</title>",
            escaped(&self.tip)
        );
        let _ = writeln!(
            svg,
            "<rect class=\"box {}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"5\"/>",
            self.class
        );
        let values = self.rows.iter().filter(|row| row.share.is_some());
        let values = values.map(|row| row.value.chars().count()).max().unwrap_or(0);
        let mut line = PAD + 11.0;
        let text = |svg: &mut String, class: &str, x: f64, line: f64, words: &str| {
            let _ = writeln!(
                svg,
                "<text class=\"{class}\" x=\"{x:.1}\" y=\"{line:.1}\">{}</text>",
                escaped(words)
            );
        };
        text(svg, "name", PAD, line, &self.name);
        line += ROW;
        text(svg, "faint", PAD, line, &self.detail);
        for row in &self.rows {
            line += ROW;
            text(svg, if row.share.is_some() { "step" } else { "faint" }, PAD, line, &row.name);
            text(svg, "faint end", width - PAD, line, &row.value);
            if let Some(share) = row.share {
                let left = width - PAD - (values + 1) as f64 * LETTER - BAR;
                let class = if row.is_critical { "bar hot" } else { "bar" };
                let _ = writeln!(
                    svg,
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"9\"/>",
                    line - 9.0,
                    (BAR * share).max(1.0)
                );
            }
        }
        svg.push_str("</g>\n");
    }
}

/// Draws a line: level through the ranks, bent between them.
fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let mut last = (0.0, 0.0);
    for (number, (x, y)) in points.iter().enumerate() {
        let _ = match number {
            0 => write!(path, "M{x:.1} {y:.1}"),
            _ if number % 2 == 1 => write!(path, "H{x:.1}"),
            _ => {
                let middle = (last.0 + x) / 2.0;
                write!(path, "C{middle:.1} {:.1} {middle:.1} {y:.1} {x:.1} {y:.1}", last.1)
            }
        };
        last = (*x, *y);
    }
    path
}

/// Escapes a text for XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
