//! Why a component has to be built again: the first part that differs from the nearest time it was built.
//!
//! The last few builds of a component are remembered and not just the last one: a change that is taken back is not built
//! again, and what comes after it is told against the state that was gone back to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::iter;
use std::path::PathBuf;

use osier_store::{Digest, FileError, IoContext, Key, KeyBuilder, Store};
use serde::{Deserialize, Serialize};

use crate::graph::{Component, ComponentId, Graph, Step, StepCheck, StepId};
use crate::key::Places;
use crate::key::Reason;
use crate::key::{
    Except, KnownInput, Part, Parts, StepInputs, Value, format_of, output_parts, step_parts,
};

/// How many builds of a component are remembered.
const BUILDS: usize = 5;

/// A value is shown up to this length; longer ones, digests among them, tell a person nothing.
const SHOWN: usize = 60;

/// What one build was made from.
type Record = Vec<Ingredient>;

/// One part that a component was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ingredient {
    /// What it is.
    part: Part,
    /// The hash of all its fields.
    mark: Mark,
    /// Its value for people.
    value: String,
    /// Its text, in which a line can be named.
    text: Option<String>,
    /// The stored tree that it is, in which a path can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tree: Option<String>,
    /// The file that it comes from, with a line where it is known without a look at the recipe; empty where there is none.
    place: String,
}

/// The first bytes of a key: enough to tell a few values of one part from each other.
type Mark = u64;

fn record_path(store: &Store, component: &Component) -> PathBuf {
    store.root().join("ingredients").join(format!(
        "{}-{}",
        component.name.replace('/', "%"),
        component.target
    ))
}

/// Whether a component was ever built into this store.
pub(crate) fn was_built(store: &Store, component: &Component) -> bool {
    record_path(store, component).exists()
}

/// All that a component's keys are computed from.
pub(crate) struct Basis<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) id: ComponentId,
    pub(crate) needs: Vec<KnownInput>,
    pub(crate) tools: Vec<KnownInput>,
    /// The keys of all steps, as far as they are known.
    pub(crate) keys: &'a [Option<Key>],
    pub(crate) checks: &'a [&'a dyn StepCheck],
    pub(crate) store: &'a Store,
}

impl Basis<'_> {
    fn component(&self) -> &Component {
        self.graph.component(self.id)
    }

    /// Lists the parts of the component's own steps, in the order in which they matter.
    fn ingredients(&self) -> Result<Record, FileError> {
        let component = self.component();
        let mut list = Listing::default();
        for id in &component.steps {
            let step = self.graph.step(*id);
            let mut notes = Notes::new(self.store, component, step);
            let inputs = StepInputs {
                component,
                step,
                below: self.foreign(step.below),
                needs: &self.needs,
                tools: &self.tools,
                checks: self.checks,
            };
            step_parts(&inputs, &Except::default(), &mut notes);
            let (work, version) = format_of(&step.work);
            notes.part(|| Part::Format { work: work.to_owned() });
            notes.field("version", Value::Number(version));
            list.take_in(notes)?;
        }
        let mut notes = Notes::of_component(self.store, component);
        // They are in the pins already, and tell more.
        for name in &component.environment.request {
            notes.part(|| Part::Package { name: name.clone() });
        }
        output_parts(&component.outputs, &mut notes);
        list.take_in(notes)?;
        let mut record: Record = list.0.into_iter().map(Note::finish).collect();
        record.sort_by_key(|one| one.part.rank());
        Ok(record)
    }

    /// The key of a step below, where it is one of another component.
    fn foreign(&self, below: Option<StepId>) -> Option<&Key> {
        let below = below.filter(|below| self.graph.step(*below).component != self.id)?;
        self.keys[below.0 as usize].as_ref()
    }

    /// The builds that are remembered, the last one first; nothing where none of them can be read.
    fn records(&self) -> Option<Vec<Record>> {
        match fs::read(record_path(self.store, self.component())) {
            Ok(bytes) => {
                let read = |line| serde_json::from_slice(line).ok();
                let records: Vec<Record> = lines(&bytes).filter_map(read).collect();
                (!records.is_empty()).then_some(records)
            }
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then(Vec::new),
        }
    }

    /// Notes what the component was built from: a line of JSON for each build, so that nothing has to read the older ones.
    pub(crate) fn record(&self) -> Result<(), FileError> {
        let path = record_path(self.store, self.component());
        let record = self.ingredients()?;
        let record = serde_json::to_vec(&record).map_err(io::Error::from).at("write", &path)?;
        let known = fs::read(&path).unwrap_or_default();
        let others = lines(&known).filter(|line| *line != record);
        let records: Vec<&[u8]> =
            iter::once(record.as_slice()).chain(others).take(BUILDS).collect();
        self.store.put_note(&path, &records.join(&b'\n'))
    }

    /// Finds what differs from the nearest build.
    pub(crate) fn difference(&self, places: &Places) -> Reason {
        let component = self.component().name.clone();
        let Some(records) = self.records() else { return Reason::RecordUnreadable { component } };
        let now = match self.ingredients() {
            Ok(now) => now,
            Err(error) => return Reason::Unknown { component, error: error.to_string() },
        };
        let Some(nearest) = records.iter().min_by_key(|record| distance(record, &now)) else {
            return Reason::NeverBuilt { component };
        };
        let old: BTreeMap<&Part, &Ingredient> =
            nearest.iter().map(|one| (&one.part, one)).collect();
        // That osier does a new kind of work is no cause: something asks for that work.
        let tells = |part: &Part| !matches!(part, Part::Format { .. });
        let (order, now): (Vec<_>, Vec<_>) = now.iter().partition(|one| one.part == Part::Order);
        for one in &now {
            let part = one.part.clone();
            match old.get(&part) {
                Some(before) if before.mark == one.mark => {}
                Some(before) => return self.changed(component, before, one, places),
                None if tells(&part) => {
                    let place = places.find(&part, 0).unwrap_or_else(|| one.place.clone());
                    return Reason::PartAdded { component, part, place };
                }
                None => {}
            }
        }
        let known: BTreeSet<&Part> = now.iter().chain(&order).map(|one| &one.part).collect();
        if let Some(gone) =
            nearest.iter().find(|one| tells(&one.part) && !known.contains(&one.part))
        {
            let (part, place) = (gone.part.clone(), gone.place.clone());
            return Reason::PartGone { component, part, place };
        }
        let is_other =
            |one: &&&Ingredient| old.get(&one.part).is_some_and(|before| before.mark != one.mark);
        match order.iter().find(is_other) {
            Some(one) => self.changed(component, one, one, places),
            None => Reason::ResultGone { component },
        }
    }

    /// Tells at which path two trees differ.
    fn changed_path(
        &self,
        component: &str,
        now: &Ingredient,
        one: &str,
        two: &str,
    ) -> Option<Reason> {
        let (path, turned) = changed_path(self.store, one, two)?;
        let part = Part::Made { name: format!("the file {path} of {}", now.part) };
        let (component, place) = (component.to_owned(), format!("{}/{path}", now.place));
        Some(match turned {
            Turned::New => Reason::PartAdded { component, part, place },
            Turned::Gone => Reason::PartGone { component, part, place },
            Turned::Other => {
                Reason::PartChanged { component, part, before: None, now: None, place }
            }
        })
    }

    /// Tells how one part changed, and in which line or element.
    fn changed(
        &self,
        component: String,
        before: &Ingredient,
        now: &Ingredient,
        places: &Places,
    ) -> Reason {
        if let (Some(one), Some(two)) = (&before.tree, &now.tree)
            && let Some(reason) = self.changed_path(&component, now, one, two)
        {
            return reason;
        }
        let part = now.part.clone();
        let (mut old, mut new) = (None, None);
        let number = match (&before.text, &now.text) {
            (Some(one), Some(two)) if one != two => {
                let line = changed_line(self.store, one, two);
                let is_file =
                    matches!(part, Part::File { .. } | Part::Edit { .. } | Part::Made { .. });
                if let (true, Some(line)) = (is_file, line) {
                    let place = format!("{}:{}", now.place, line + 1);
                    return Reason::PartChanged { component, part, before: old, now: new, place };
                }
                line.unwrap_or(0)
            }
            _ => {
                let (one, two) = (&before.value, &now.value);
                if one != two && one.len().max(two.len()) < SHOWN {
                    (old, new) = (Some(one.clone()), Some(two.clone()));
                }
                one.split(' ').zip(two.split(' ')).take_while(|(one, two)| one == two).count()
            }
        };
        let place = places.find(&part, number).unwrap_or_else(|| now.place.clone());
        Reason::PartChanged { component, part, before: old, now: new, place }
    }
}

/// The lines of a file that have something in them.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What became of a path between two trees.
enum Turned {
    New,
    Other,
    Gone,
}

/// Finds the first path at which two stored trees differ, and what became of it. What was long ago may be gone.
fn changed_path(store: &Store, old: &str, now: &str) -> Option<(String, Turned)> {
    let tree = |digest: &str| store.tree(&digest.parse().ok()?).ok();
    let (old, now) = (tree(old)?, tree(now)?);
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let changed = now.iter().filter_map(|(path, node)| match old.get(path) {
        None => Some((shown(path), Turned::New)),
        Some(before) if before != node => Some((shown(path), Turned::Other)),
        Some(_) => None,
    });
    let gone = old.iter().filter(|(path, _)| now.get(path).is_none());
    let gone = gone.map(|(path, _)| (shown(path), Turned::Gone));
    // A new file below a new folder says more than the folder.
    changed.chain(gone).max_by_key(|(path, _)| path.matches('/').count())
}

/// Parts of several steps; what all steps see is among them once.
#[derive(Default)]
struct Listing(Vec<Note>);

impl Listing {
    fn take_in(&mut self, notes: Notes<'_>) -> Result<(), FileError> {
        if let Some(error) = notes.failed {
            return Err(error);
        }
        let known: BTreeMap<Part, usize> =
            self.0.iter().enumerate().map(|(at, note)| (note.part.clone(), at)).collect();
        for mut note in notes.list {
            note.close();
            match known.get(&note.part) {
                Some(at) => self.0[*at].join(note),
                None => self.0.push(note),
            }
        }
        Ok(())
    }
}

/// One part as it is being noted.
struct Note {
    part: Part,
    key: KeyBuilder,
    /// The marks of the steps that see it, where they differ.
    marks: Vec<Mark>,
    value: String,
    text: Option<String>,
    tree: Option<String>,
    place: String,
}

impl Note {
    fn new(part: Part, place: String) -> Self {
        let key = KeyBuilder::new("part", 1);
        let (marks, value) = (Vec::new(), String::new());
        Self { part, key, marks, value, text: None, tree: None, place }
    }

    fn show(&mut self, words: impl AsRef<str>) {
        let words = words.as_ref();
        if !self.value.is_empty() && !words.is_empty() {
            self.value.push(' ');
        }
        self.value.push_str(words);
    }

    /// Ends the fields of one step.
    fn close(&mut self) {
        let key = std::mem::replace(&mut self.key, KeyBuilder::new("part", 1)).finish();
        let (first, _) = key.0.split_at(8);
        self.marks.push(first.iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte)));
    }

    /// Adds what another step sees of it, where that is something else.
    fn join(&mut self, other: Self) {
        for mark in other.marks {
            if !self.marks.contains(&mark) {
                self.marks.push(mark);
                self.show(&other.value);
            }
        }
    }

    fn finish(self) -> Ingredient {
        let Self { part, marks, value, text, tree, place, .. } = self;
        let mark = match marks.as_slice() {
            [mark] => *mark,
            marks => marks.iter().fold(0, |all: Mark, mark| all.rotate_left(1) ^ mark),
        };
        Ingredient { part, mark, value, text, tree, place }
    }
}

/// Notes the parts of one step.
struct Notes<'a> {
    store: &'a Store,
    component: &'a Component,
    /// The step; nothing for what is of the component alone.
    step: Option<&'a Step>,
    list: Vec<Note>,
    at: BTreeMap<Part, usize>,
    current: Option<usize>,
    failed: Option<FileError>,
}

impl<'a> Notes<'a> {
    fn of_component(store: &'a Store, component: &'a Component) -> Self {
        let (list, at) = (Vec::new(), BTreeMap::new());
        Self { store, component, step: None, list, at, current: None, failed: None }
    }

    fn new(store: &'a Store, component: &'a Component, step: &'a Step) -> Self {
        Self { step: Some(step), ..Self::of_component(store, component) }
    }

    /// Where a part is written, as far as that is known without a look at the recipe.
    fn written_at(&self, part: &Part) -> String {
        let file = |path: &str| self.component.files.iter().find(|file| file.path == path);
        let step = self.step.map_or(&self.component.origin, |step| &step.origin);
        match part {
            Part::File { path } | Part::Executable { path } => {
                file(path).map(|file| file.origin.clone()).unwrap_or_default()
            }
            Part::Edit { path } => format!("{step}/{path}"),
            Part::Pins => "osier.lock".to_owned(),
            Part::Format { .. } => String::new(),
            Part::Variable { .. }
            | Part::Need { .. }
            | Part::Tool { .. }
            | Part::Package { .. }
            | Part::Below { .. }
            | Part::Output { .. }
            | Part::Order => self.component.origin.clone(),
            _ => step.clone(),
        }
    }

    fn note(&mut self, label: &str, value: Value<'_>) -> Result<(), FileError> {
        let Some(note) = self.current.map(|at| &mut self.list[at]) else { return Ok(()) };
        value.hash(label, &mut note.key);
        match value {
            Value::Name(_) => {}
            Value::Text(bytes) => note.show(String::from_utf8_lossy(bytes)),
            Value::Labelled([]) => {}
            Value::Labelled(bytes) => {
                note.show(format!("{label} {}", String::from_utf8_lossy(bytes)));
            }
            Value::Content(bytes) => note.text = Some(self.store.put_bytes(bytes)?.to_string()),
            Value::Stored(digest) => note.text = Some(digest.to_string()),
            Value::Tree(digest) => note.tree = Some(digest.to_string()),
            Value::Hash(bytes) => note.show(Digest(*bytes).to_string()),
            Value::Number(number) => note.show(format!("{label} {number}")),
            Value::Mode(mode) => note.show(format!("{mode:o}")),
            Value::Choice(_, word) | Value::Word(word) => note.show(word),
        }
        Ok(())
    }
}

impl Parts for Notes<'_> {
    fn part(&mut self, part: impl FnOnce() -> Part) {
        let part = part();
        if let Some(known) = self.at.get(&part) {
            // A text is the same each time.
            self.current = Some(*known).filter(|at| self.list[*at].text.is_none());
            return;
        }
        self.at.insert(part.clone(), self.list.len());
        self.current = Some(self.list.len());
        let place = self.written_at(&part);
        self.list.push(Note::new(part, place));
    }

    fn place(&mut self, place: &str) {
        if let Some(at) = self.current {
            place.clone_into(&mut self.list[at].place);
        }
    }

    fn field(&mut self, label: &'static str, value: Value<'_>) {
        if let Err(error) = self.note(label, value) {
            self.failed.get_or_insert(error);
        }
    }
}

/// How many parts differ.
fn distance(record: &Record, now: &Record) -> usize {
    let old: BTreeMap<&Part, u64> = record.iter().map(|one| (&one.part, one.mark)).collect();
    let same = now.iter().filter(|one| old.get(&one.part) == Some(&one.mark)).count();
    now.len().max(record.len()) - same
}

/// Finds the first line that differs between two stored texts, counted from 0.
fn changed_line(store: &Store, old: &str, new: &str) -> Option<usize> {
    let text = |digest: &str| {
        let bytes = store.read_blob(&digest.parse().ok()?).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (old, new) = (text(old)?, text(new)?);
    let common = old.lines().zip(new.lines()).take_while(|(one, two)| one == two).count();
    (old != new).then_some(common)
}
