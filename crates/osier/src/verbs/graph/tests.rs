//! What the drawings look like, on a small graph that has something of everything.

use osier_build::Took;

use super::*;

fn step(name: &str, took: Took, is_critical: bool) -> StepLine {
    StepLine { name: name.into(), took, is_done: true, is_critical }
}

fn part(name: &str, state: State, uses: Vec<Use>, steps: Vec<StepLine>) -> Part {
    let (version, target) = ("1.2".to_owned(), "x86_64".to_owned());
    Part {
        name: name.into(),
        version,
        target,
        state,
        is_wanted: false,
        is_edited: false,
        uses,
        steps,
        outputs: Vec::new(),
    }
}

fn using(part: usize, how: How, is_critical: bool) -> Use {
    Use { part, how, is_critical }
}

fn size(name: &str, bytes: u64) -> OutputLine {
    OutputLine { name: name.into(), digest: "00".into(), bytes: Some(bytes), files: 3 }
}

fn timed(seconds: f64) -> Took {
    Took::Time(osier_build::Time { wall: seconds, cpu: seconds })
}

/// A tool, a library of two outputs, a part that starts on a step of it, and a program that uses them all.
fn overview() -> Overview {
    let main = || "main".to_owned();
    let mut tool = part(
        "tool",
        State::Built,
        Vec::new(),
        vec![step("unpack", Took::Little, false), step("build", timed(4.0), false)],
    );
    tool.outputs = vec![size("main", 20_500)];
    let mut library = part(
        "lib<z>",
        State::Reused,
        vec![using(0, How::Tool(main()), false)],
        vec![step("unpack", timed(1.5), true), step("build", timed(90.0), true)],
    );
    library.outputs = vec![size("main", 1_200_000), size("dev", 900)];
    let headers = part(
        "headers",
        State::Failed("copy".into()),
        vec![using(1, How::From("unpack".into()), false)],
        vec![step("copy", Took::Unknown, false)],
    );
    let mut program = part(
        "program",
        State::Open,
        vec![
            using(1, How::Need("dev".into()), true),
            using(1, How::Need(main()), true),
            using(2, How::Need(main()), false),
            using(0, How::Tool(main()), false),
        ],
        vec![step("unpack", Took::Little, true), step("build", timed(130.0), true)],
    );
    program.is_wanted = true;
    for step in &mut program.steps {
        step.is_done = false;
    }
    Overview {
        name: "tiny".into(),
        is_system: true,
        parts: vec![tool, library, headers, program],
        critical_seconds: 221.5,
        seconds: 225.5,
        unknown: 1,
    }
}

#[test]
fn as_text() {
    insta::assert_snapshot!(text::write(&overview()));
}

#[test]
fn as_json() {
    insta::assert_snapshot!(format!("{:#}", json::value(&overview())));
}

#[test]
fn for_graphviz() {
    insta::assert_snapshot!(dot::write(&overview()));
}

#[test]
fn as_a_drawing() {
    insta::assert_snapshot!(svg::write(&overview()));
}

#[test]
fn the_drawing_is_well_formed_and_needs_nothing_else() {
    let svg = svg::write(&overview());
    for address in svg.match_indices("http").map(|(at, _)| &svg[at..]) {
        assert!(address.starts_with("http://www.w3.org/2000/svg"), "{address}");
    }
    let mut open: Vec<&str> = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains('>') && !text.replace("&lt;", "").contains("lt;"), "{text}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split_whitespace().next().unwrap()),
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    assert!(svg.contains("lib&lt;z&gt;"));
}
