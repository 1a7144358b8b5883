//! One stage of a component, as a recipe or a kind gives it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::schema::Table;
use crate::walk::{self, Node, Walk};
use crate::{Code, Jobs, Spanned, parse_size, tables};

/// What `after` names to place a step before all of the kind's.
pub const AFTER_SOURCES: &str = "patch";

/// One `[[step]]`: a new step, or the changes to the kind's step of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The name.
    pub name: Spanned<String>,
    /// The script.
    pub run: Option<Spanned<String>>,
    /// The step behind which a new one is placed; never in a kind.
    pub after: Option<Spanned<String>>,
    /// The step of another component on whose layer this one starts.
    pub from: Option<Spanned<StepRef>>,
    /// Debian packages for this step alone.
    pub packages: Vec<Spanned<String>>,
    /// The working folder, in which variables of the environment may stand.
    pub folder: Option<Spanned<String>>,
    /// Whether the step may use several processors.
    pub parallel: Option<bool>,
    /// How the step gets its jobs.
    pub jobs: Option<Jobs>,
    /// Most bytes of memory that all processes of the step use together.
    pub memory: Option<u64>,
    /// Minutes of CPU time without a word after which the step is ended; 0 for none.
    pub silence: Option<u64>,
    /// Whether what the steps before left is copied into the step's own layer first.
    pub flat: Option<bool>,
    /// Built-in checks behind the script.
    pub checks: Vec<Check>,
    /// Whether the kind's step is dropped; never in a kind.
    pub skip: bool,
    /// From which earlier builds the step may start.
    pub reuse: Option<Spanned<Reuse>>,
}

/// From which earlier builds of a step it may start instead of starting clean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reuse {
    /// Files below the source's folder that may differ.
    pub files: Vec<Spanned<String>>,
    /// Variables that may differ, and with them the files that they name.
    pub variables: Vec<Spanned<String>>,
    /// Whether files of the source may differ while somebody edits it.
    pub edits: bool,
}

/// A built-in check and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The check's name.
    pub name: Spanned<String>,
    /// The arguments by name.
    pub arguments: BTreeMap<String, Spanned<String>>,
}

/// A step of a component: `linux:patch`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepRef {
    /// The component.
    pub component: String,
    /// Its step.
    pub step: String,
}

impl StepRef {
    /// Reads `COMPONENT:STEP`.
    pub fn parse(text: &str) -> Option<Self> {
        let (component, step) = text.split_once(':')?;
        Some(Self { component: component.to_owned(), step: step.to_owned() })
    }
}

impl Step {
    fn new(span: Range<usize>) -> Self {
        Self {
            name: Spanned::new(String::new(), span),
            run: None,
            after: None,
            from: None,
            packages: Vec::new(),
            folder: None,
            parallel: None,
            jobs: None,
            memory: None,
            silence: None,
            flat: None,
            checks: Vec::new(),
            skip: false,
            reuse: None,
        }
    }

    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "name" => self.name = walk::text(node),
            "run" => self.run = Some(walk::text(node)),
            "after" => self.after = Some(walk::text(node)),
            "from" => self.from = walk::parsed_one(node, StepRef::parse),
            "packages" => self.packages = walk::texts(node),
            "folder" => self.folder = Some(walk::text(node)),
            "parallel" => self.parallel = Some(walk::boolean(node)),
            "jobs" => self.jobs = walk::parsed_one(node, Jobs::parse).map(|jobs| jobs.value),
            "memory" => self.memory = walk::parsed_one(node, parse_size).map(|size| size.value),
            "silence" => self.silence = Some(walk::unsigned(node)),
            "flat" => self.flat = Some(walk::boolean(node)),
            "checks" => self.checks = checks(walk, node),
            "skip" => self.skip = walk::boolean(node),
            "reuse" => self.reuse = reuse(walk, node),
            _ => walk::unread("step", key),
        }
    }
}

/// Reads `[[step]]` by the table of a recipe's or a kind's steps.
pub(crate) fn steps(walk: &mut Walk, node: &Node<'_>, schema: &'static Table) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(walk::count(node));
    for (table, span) in walk::tables(node) {
        let mut step = Step::new(span.clone());
        walk.table(table, &span, schema, &mut step, Step::read);
        if let Some(number) = table.get("jobs").filter(|jobs| jobs.get_ref().is_integer()) {
            let hint = "write `parallel = false` for a step that must run one job at a time; the number of jobs for all others comes from `-j`";
            walk.hint(&number.span(), hint);
        }
        if step.skip && (step.run.is_some() || step.after.is_some()) {
            walk.error(
                Code::Conflict,
                &span,
                "`skip` and `run` or `after` cannot be used together",
            );
        }
        if step.jobs.is_some() && step.parallel == Some(false) {
            walk.error(
                Code::Conflict,
                &span,
                "`jobs` and `parallel = false` cannot be used together",
            );
        }
        if !step.name.is_empty() {
            steps.push(step);
        }
    }
    walk.distinct("the step", steps.iter().map(|step| &step.name));
    steps
}

fn reuse(walk: &mut Walk, node: &Node<'_>) -> Option<Spanned<Reuse>> {
    let (table, span) = walk::tables(node).next()?;
    let mut reuse = Reuse::default();
    walk.table(table, &span, &tables::REUSE_TABLE, &mut reuse, |reuse, _, key, node| match key {
        "files" => reuse.files = walk::texts(node),
        "variables" => reuse.variables = walk::texts(node),
        "edits" => reuse.edits = walk::boolean(node),
        _ => walk::unread("reuse", key),
    });
    if reuse.files.is_empty() && !reuse.edits {
        walk.error(Code::MissingKey, &span, "`reuse` needs `files`, or `edits = true`");
    }
    Some(Spanned::new(reuse, span))
}

fn checks(walk: &mut Walk, node: &Node<'_>) -> Vec<Check> {
    let mut checks = Vec::with_capacity(walk::count(node));
    for (table, span) in walk::tables(node) {
        let mut check =
            Check { name: Spanned::new(String::new(), span.clone()), arguments: BTreeMap::new() };
        walk.table(table, &span, &tables::CHECK, &mut check, |check, _, key, node| match key {
            "check" => check.name = walk::text(node),
            _ => walk::unread("checks", key),
        });
        let arguments = table.iter().filter(|(key, _)| key.get_ref() != "check");
        check.arguments = arguments
            .map(|(key, node)| (key.get_ref().clone().into_owned(), walk::text(node)))
            .collect();
        checks.push(check);
    }
    checks
}
