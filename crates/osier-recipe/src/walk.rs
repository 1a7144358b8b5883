//! The walk over a parsed TOML text that checks it against its tables.
//!
//! Reading is by hand and not derived: that keeps every span, reports all errors of a file at once and
//! costs less than parsing does.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::quoted;
use crate::schema::{FileKind, Key, Table, Type};
use crate::words::{article, list, words};
use crate::{Code, Diagnostic, Origin, Spanned, nearest};

pub(crate) use crate::node::{
    Node, NodeKey, boolean, count, elements, entries, integer, parsed, parsed_one, tables, target,
    text, texts, unsigned, value,
};

/// Collects what is wrong in one file while the file's type reads its values.
pub(crate) struct Walk {
    origin: Origin,
    found: Vec<Diagnostic>,
    /// The bytes around syntax errors: what was read from them may be the parser's guess.
    doubtful: Vec<Range<usize>>,
}

impl Walk {
    /// Parses `text`, which is the content of `file`.
    pub(crate) fn open<'t>(file: &str, text: &'t str) -> (Self, DeTable<'t>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let origin = Origin::new(file, text);
        let mut walk = Self { origin, found: Vec::new(), doubtful: Vec::new() };
        walk.syntax(text, errors);
        (walk, root.into_inner())
    }

    /// Hands each key of the outermost table to `read`: known keys, with values of the right type.
    pub(crate) fn root<'t, T>(
        &mut self,
        root: &DeTable<'t>,
        kind: FileKind,
        value: &mut T,
        read: impl FnMut(&mut T, &mut Self, &'static str, &Node<'t>),
    ) {
        self.table(root, &(0..0), kind.table(), value, read);
    }

    /// Keeps one error of each line, as the later ones mostly follow from it.
    fn syntax(&mut self, text: &str, mut errors: Vec<toml::de::Error>) {
        let place = |error: &toml::de::Error| error.span().unwrap_or(0..0);
        errors.sort_by_key(|error| place(error).start);
        let line = |error: &toml::de::Error| self.origin.line(&place(error));
        let lines: Vec<_> = errors.chunk_by(|a, b| line(a) == line(b)).map(<[_]>::to_vec).collect();
        for errors in lines {
            // A `=` inside an array says more than what the parser makes of the words around it.
            let in_array =
                errors.iter().find(|error| error.message().starts_with("unexpected `=` in array"));
            let Some(error) = in_array.or(errors.first()) else { continue };
            let span = place(error);
            match (error.message(), text.get(span.clone())) {
                ("duplicate key", Some(key)) => {
                    self.error(Code::DuplicateKey, &span, format!("duplicate key {}", quoted(key)));
                }
                (message, _) => {
                    let hints = &mut self.error(Code::Syntax, &span, message).hints;
                    if in_array.is_some() {
                        hints.push("an array above has no `]`".into());
                    }
                    self.doubt(text, &span);
                }
            }
        }
    }

    /// Notes what cannot be trusted behind a syntax error: the line, and all that a broken heading would have headed.
    fn doubt(&mut self, text: &str, span: &Range<usize>) {
        let before = text.get(..span.start).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = &text[start..];
        let end =
            if line.trim_start().starts_with('[') { line.find("\n[") } else { line.find('\n') };
        self.doubtful.push(start..end.map_or(text.len(), |end| start + end + 1));
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin.clone()
    }

    pub(crate) fn push(&mut self, error: Diagnostic) {
        self.found.push(error);
    }

    /// Adds an error; the result takes hints.
    pub(crate) fn error(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.found.push(self.origin.error(code, span, message));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// Puts a hint before those of the last error at a place.
    pub(crate) fn hint(&mut self, span: &Range<usize>, hint: &str) {
        if let Some(error) = self.found.iter_mut().rfind(|error| error.span == *span) {
            error.hints.insert(0, hint.to_owned());
        }
    }

    /// Adds an error for each further thing of the same name; empty names have been reported as missing.
    pub(crate) fn distinct<'n>(
        &mut self,
        what: &str,
        names: impl IntoIterator<Item = &'n Spanned<String>>,
    ) {
        let mut seen: BTreeMap<&str, &Spanned<String>> = BTreeMap::new();
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            if let Some(first) = seen.get(name.as_str()) {
                let (origin, first) = (&self.origin, &first.span);
                self.found.push(Diagnostic::duplicate(
                    what,
                    name,
                    (origin, &name.span),
                    (origin, first),
                ));
            } else {
                seen.insert(name, name);
            }
        }
    }

    /// Adds an error where the file's name asks for another `name`.
    pub(crate) fn expect_name(&mut self, name: &Spanned<String>, expected: Option<&str>) {
        if let Some(expected) =
            expected.filter(|expected| !name.is_empty() && *expected != name.value)
        {
            let message =
                format!("the name is {} and the file's is {}", quoted(name), quoted(expected));
            let hint = format!("write `name = \"{expected}\"` or rename the file");
            self.error(Code::NameMismatch, &name.span, message).hints.push(hint);
        }
    }

    /// Forgets all errors found so far, as the next one explains them.
    pub(crate) fn forget(&mut self) {
        self.found.clear();
    }

    /// Ends the walk: the value, or all errors in the order of the text.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<T, Vec<Diagnostic>> {
        if self.found.is_empty() {
            return Ok(value);
        }
        if !self.doubtful.is_empty() {
            // Beside syntax errors only what stands there in full can be trusted to be wrong.
            self.found.retain(|error| match error.code {
                Code::Syntax | Code::DuplicateKey => true,
                Code::UnknownKey | Code::WrongType | Code::WrongForm => {
                    !self.doubtful.iter().any(|range| range.contains(&error.span.start))
                }
                _ => false,
            });
        }
        self.found.sort_by(|a, b| {
            (a.span.start, a.code, &a.message).cmp(&(b.span.start, b.code, &b.message))
        });
        Err(self.found)
    }

    /// Checks one table against `schema` and hands its keys to `read`, in the order of their names.
    pub(crate) fn table<'t, T>(
        &mut self,
        table: &DeTable<'t>,
        span: &Range<usize>,
        schema: &'static Table,
        value: &mut T,
        mut read: impl FnMut(&mut T, &mut Self, &'static str, &Node<'t>),
    ) {
        let mut given = 0_u64;
        for (key, node) in table {
            if let Some((at, known)) = schema.key(key.get_ref()) {
                given |= 1 << at;
                if self.fits(&known.kind, node, Subject::Key(known.name)) {
                    read(value, self, known.name, node);
                } else if let Some(error) = self.found.last_mut()
                    && error.code == Code::WrongType
                    && error.hints.is_empty()
                {
                    error.hints.push(format!("for example `{} = {}`", known.name, known.example));
                }
            } else if let Some(kind) = schema.open {
                self.fits(kind, node, Subject::Key(key.get_ref()));
            } else {
                self.unknown_key(key, schema);
            }
        }
        self.together(given, span, schema);
    }

    /// Checks which keys must and may stand together.
    fn together(&mut self, given: u64, span: &Range<usize>, schema: &'static Table) {
        let has = |name: &str| schema.key(name).is_some_and(|(at, _)| given & (1 << at) != 0);
        if !schema.exactly_one.is_empty() {
            let ones: Vec<&str> =
                schema.exactly_one.iter().copied().filter(|name| has(name)).collect();
            let all = list(schema.exactly_one, "or");
            match ones.len() {
                0 => {
                    self.error(
                        Code::Conflict,
                        span,
                        format!("`{}` needs one of {all}", schema.name),
                    );
                    return;
                }
                1 => {}
                _ => {
                    let message = format!("{} cannot be used together", list(&ones, "and"));
                    self.error(Code::Conflict, span, message)
                        .hints
                        .push(format!("keep only one of {all}"));
                    return;
                }
            }
        }
        for (at, key) in schema.keys.iter().enumerate() {
            let allowed = key.beside.is_empty() || key.beside.iter().any(|name| has(name));
            if given & (1 << at) != 0 {
                if !allowed {
                    let message =
                        format!("`{}` is allowed only with {}", key.name, list(key.beside, "or"));
                    self.error(Code::Conflict, span, message);
                }
            } else if key.required && allowed {
                self.missing_key(key, span, schema);
            }
        }
    }

    fn missing_key(&mut self, key: &Key, span: &Range<usize>, schema: &Table) {
        let example = format!("for example `{} = {}`", key.name, key.example);
        if key.name == "sha256" && key.beside == ["url"] {
            let hint =
                "write the SHA-256 that the file's author publishes: `sha256 = \"…\"`".to_owned();
            self.error(Code::MissingHash, span, "a `url` without its `sha256`").hints.push(hint);
        } else {
            let message = format!("`{}` needs the key `{}`", schema.name, key.name);
            self.error(Code::MissingKey, span, message).hints.push(example);
        }
    }

    fn unknown_key(&mut self, key: &NodeKey<'_>, schema: &Table) {
        let name: &str = key.get_ref();
        let names = schema.keys.iter().map(|key| key.name);
        let refused = schema.refused.iter().find(|(refused, _)| *refused == name);
        let hint = match refused {
            Some((_, instead)) => (*instead).to_owned(),
            None => match nearest(name, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    format!("`{}` has {}", schema.name, list(&names.collect::<Vec<_>>(), "and"))
                }
            },
        };
        self.error(Code::UnknownKey, &key.span(), format!("unknown key {}", quoted(name)))
            .hints
            .push(hint);
    }

    /// Checks a value's type; the content of tables is checked when it is read.
    ///
    /// An array passes with wrong elements: they are reported here and left out by the readers below.
    fn fits(&mut self, kind: &Type, node: &Node<'_>, key: Subject<'_>) -> bool {
        match (kind, node.get_ref()) {
            (Type::OneOrMore(kind), DeValue::Array(_)) => self.fits(&Type::Array(kind), node, key),
            (Type::OneOrMore(kind), _) => self.fits(kind, node, key),
            (Type::Array(kind), DeValue::Array(array)) => {
                for element in array {
                    self.fits(kind, element, key.element());
                }
                true
            }
            (Type::Set(kind), DeValue::Array(array)) => {
                for element in array {
                    self.fits(kind, element, key.element());
                }
                self.different(node, key);
                true
            }
            (Type::Map(form, kind), DeValue::Table(table)) => {
                for (name, value) in table {
                    self.form(form, name.get_ref(), &name.span());
                    self.fits(kind, value, Subject::Key(name.get_ref()));
                }
                true
            }
            (Type::Value, DeValue::Array(_)) => self.fits(&Type::Array(&Type::Text), node, key),
            (Type::Value, DeValue::Integer(_)) => {
                self.fits(&Type::Integer(i64::MIN, i64::MAX), node, key)
            }
            (Type::Table(_), DeValue::Table(_))
            | (Type::Value | Type::Boolean, DeValue::Boolean(_)) => true,
            (Type::Text | Type::Value, DeValue::String(text)) => self.free_of_nul(text, node, key),
            (Type::Form(form), DeValue::String(text)) => self.form(form, text, &node.span()),
            (Type::Choice(choices), DeValue::String(text)) => {
                let known = choices.contains(&&**text);
                if !known {
                    let message = format!("{key} cannot be {}", quoted(text));
                    let hint = match nearest(text, choices.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("write {}", list(choices, "or")),
                    };
                    self.error(Code::WrongForm, &node.span(), message).hints.push(hint);
                }
                known
            }
            (Type::Integer(least, most), DeValue::Integer(_)) => {
                let fits = integer(node).is_some_and(|number| (*least..=*most).contains(&number));
                if !fits {
                    let message = format!("{key} is not a whole number from {least} to {most}");
                    self.error(Code::WrongForm, &node.span(), message);
                }
                fits
            }
            (Type::True, DeValue::Boolean(value)) => {
                if !value {
                    let message = format!("{key} can only be `true`");
                    self.error(Code::WrongForm, &node.span(), message)
                        .hints
                        .push("leave it out".into());
                }
                *value
            }
            (_, value) => {
                let message =
                    format!("{key} must be {}, not {}", words(kind), article(value.type_str()));
                self.error(Code::WrongType, &node.span(), message);
                false
            }
        }
    }

    fn free_of_nul(&mut self, text: &str, node: &Node<'_>, key: Subject<'_>) -> bool {
        let free = !text.contains('\0');
        if !free {
            // No environment variable, argument or script could hold it.
            self.error(Code::WrongForm, &node.span(), format!("{key} contains a NUL character"));
        }
        free
    }

    fn form(&mut self, form: &crate::schema::Form, text: &str, span: &Range<usize>) -> bool {
        let accepted = (form.accepts)(text);
        if !accepted {
            let hint = (form.advice)(text).unwrap_or_else(|| format!("expected: {}", form.looks));
            self.error(form.code, span, format!("{} is not {}", quoted(text), form.what))
                .hints
                .push(hint);
        }
        accepted
    }

    /// Reports strings that an array holds twice.
    fn different(&mut self, node: &Node<'_>, key: Subject<'_>) {
        let mut texts: Vec<_> =
            elements(node).filter_map(|e| Some((e.get_ref().as_str()?, e.span()))).collect();
        if texts.len() < 2 {
            return;
        }
        texts.sort_by(|a, b| (a.0, a.1.start).cmp(&(b.0, b.1.start)));
        for pair in texts.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let message = format!("{} is listed twice in {key}", quoted(pair[1].0));
            let error = self.origin.error(Code::DuplicateName, &pair[1].1, message);
            self.found.push(error.related(&self.origin, &pair[0].1, "first here"));
        }
    }
}

/// A key that a table has and its reader forgot: a fault of this crate, which the tests look for.
pub(crate) fn unread(table: &str, key: &str) {
    debug_assert!(false, "the key `{key}` of `{table}` is in its table and is never read");
}

/// What a value is the value of, for messages.
#[derive(Clone, Copy)]
enum Subject<'k> {
    Key(&'k str),
    Element(&'k str),
}

impl Subject<'_> {
    fn element(self) -> Self {
        match self {
            Self::Key(key) | Self::Element(key) => Self::Element(key),
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => out.write_str(&quoted(key)),
            Self::Element(key) => write!(out, "an element of {}", quoted(key)),
        }
    }
}
