//! A kind: a reusable set of steps.

use crate::part::{environment, no_blanks};
use crate::schema::FileKind;
use crate::walk::{self, Node, Walk};
use crate::{Code, Diagnostic, Named, Origin, Spanned, Step, Value, ValueType, step, tables};

/// One parsed kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The file.
    pub origin: Origin,
    /// The kind's name.
    pub name: Spanned<String>,
    /// One line that says what it is.
    pub summary: Option<Spanned<String>>,
    /// Debian packages added to the build environment.
    pub packages: Vec<Spanned<String>>,
    /// Environment variables of all steps.
    pub env: Named<Spanned<String>>,
    /// The variables that recipes can set; names are all different.
    pub variables: Vec<Variable>,
    /// The steps in order; each has a script.
    pub steps: Vec<Step>,
    /// The editor of a component's configuration.
    pub editor: Option<Editor>,
}

/// The editor of a component's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editor {
    /// The kind's step whose result is edited.
    pub after: Spanned<String>,
    /// The script that starts it.
    pub run: Spanned<String>,
    /// The configuration that it reads and writes, below the source's folder.
    pub config: Spanned<String>,
    /// Debian packages that it needs beside those of the build environment.
    pub packages: Vec<Spanned<String>>,
}

/// A variable that recipes can set in `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name, which is also the environment variable's.
    pub name: Spanned<String>,
    /// The type of its values.
    pub kind: ValueType,
    /// The value where the recipe gives none; without one the recipe must give it.
    pub default: Option<Value>,
    /// What it is for.
    pub doc: String,
}

impl Kind {
    /// Reads a kind; `expected` is the name that the file's own name asks for.
    ///
    /// Fails with every error of the file, in the order of the text.
    pub fn parse(file: &str, text: &str, expected: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        let (mut walk, root) = Walk::open(file, text);
        let mut kind = Self {
            origin: walk.origin(),
            name: Spanned::new(String::new(), 0..0),
            summary: None,
            packages: Vec::new(),
            env: Named::default(),
            variables: Vec::new(),
            steps: Vec::new(),
            editor: None,
        };
        walk.root(&root, FileKind::Kind, &mut kind, Self::read);
        walk.expect_name(&kind.name, expected);
        for variable in &kind.variables {
            if let Some(value) = kind.env.get(&variable.name) {
                let message =
                    format!("`{}` is a variable of the kind, but `env` sets it too", variable.name);
                walk.error(Code::DuplicateName, &value.span, message);
            }
        }
        if let Some(editor) = kind.editor.as_ref().filter(|editor| !editor.after.is_empty())
            && kind.steps.iter().all(|step| step.name.value != editor.after.value)
        {
            let known = kind.steps.iter().map(|step| step.name.as_str());
            let (origin, after) = (&kind.origin, &editor.after);
            walk.push(Diagnostic::unknown(
                Code::UnknownStep,
                "step",
                origin,
                &after.span,
                after,
                known,
            ));
        }
        walk.finish(kind)
    }

    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "name" => self.name = walk::text(node),
            "summary" => self.summary = Some(walk::text(node)),
            "packages" => self.packages = walk::texts(node),
            "env" => self.env = environment(node),
            "var" => self.variables = variables(walk, node),
            "step" => self.steps = step::steps(walk, node, &tables::KIND_STEP),
            "editor" => self.editor = editor(walk, node),
            _ => walk::unread("kind", key),
        }
    }

    /// Finds a variable.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name.value == name)
    }
}

fn editor(walk: &mut Walk, node: &Node<'_>) -> Option<Editor> {
    let table = node.get_ref().as_table()?;
    let empty = || Spanned::new(String::new(), node.span());
    let mut editor = Editor { after: empty(), run: empty(), config: empty(), packages: Vec::new() };
    walk.table(
        table,
        &node.span(),
        &tables::EDITOR,
        &mut editor,
        |editor, _, key, node| match key {
            "after" => editor.after = walk::text(node),
            "run" => editor.run = walk::text(node),
            "config" => editor.config = walk::text(node),
            "packages" => editor.packages = walk::texts(node),
            _ => walk::unread("editor", key),
        },
    );
    Some(editor)
}

fn variables(walk: &mut Walk, node: &Node<'_>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (table, span) in walk::tables(node) {
        let mut variable = Variable {
            name: Spanned::new(String::new(), span.clone()),
            kind: ValueType::String,
            default: None,
            doc: String::new(),
        };
        let mut typed = false;
        walk.table(
            table,
            &span,
            &tables::VARIABLE_TABLE,
            &mut variable,
            |variable, walk, key, node| match key {
                "name" => variable.name = walk::text(node),
                "type" => {
                    let kind = node.get_ref().as_str().and_then(ValueType::parse);
                    typed = kind.is_some();
                    variable.kind = kind.unwrap_or(ValueType::String);
                }
                "default" => {
                    variable.default = walk::value(node);
                    if let Some(value) = &variable.default {
                        no_blanks(walk, value);
                    }
                }
                "required" => {}
                "doc" => variable.doc = walk::text(node).value,
                _ => walk::unread("var", key),
            },
        );
        let default =
            variable.default.as_ref().filter(|default| typed && default.kind() != variable.kind);
        if let (Some(default), Some(node)) = (default, table.get("default")) {
            let message = format!(
                "the default is of type {}, the variable of type {}",
                default.kind(),
                variable.kind
            );
            walk.error(Code::WrongVariable, &node.span(), message);
        }
        variables.push(variable);
    }
    walk.distinct("the variable", variables.iter().map(|variable: &Variable| &variable.name));
    variables
}
