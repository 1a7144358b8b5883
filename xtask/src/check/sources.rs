//! The sources of a crate as its modules: what each defines, imports and names. What only tests see is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// The modules of one crate, by path; the crate's root is the empty path.
pub(crate) type Modules = BTreeMap<Vec<String>, Module>;

/// One module.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    items: BTreeSet<String>,
    /// The path of each imported name.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    pub(crate) named: Vec<Named>,
}

/// A place where something is named.
pub(crate) struct Named {
    /// A path as it stands there: `crate::store::open`. A macro ends in `!`, an import of all in `*`; a method is one word that
    /// begins with `.`.
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// Reads a crate, from the file of its root on.
pub(crate) fn read(root: &Path) -> Result<Modules> {
    let mut modules = Modules::new();
    read_file(root, Vec::new(), &mut modules)?;
    Ok(modules)
}

fn read_file(file: &Path, path: Vec<String>, modules: &mut Modules) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed =
        syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
    let beside = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let stem = file.file_stem().unwrap_or_default();
    let owns_folder = path.is_empty() || stem == "mod";
    let below = if owns_folder { beside } else { beside.join(stem) };
    read_items(&parsed.items, file, &below, path, modules)
}

fn read_items(
    items: &[Item],
    file: &Path,
    below: &Path,
    path: Vec<String>,
    modules: &mut Modules,
) -> Result<()> {
    let mut module = Module { file: file.to_path_buf(), ..Module::default() };
    for item in items {
        if let Item::Mod(inner) = item {
            if only_for_tests(&inner.attrs) {
                continue;
            }
            let name = inner.ident.to_string();
            let mut inner_path = path.clone();
            inner_path.push(name.clone());
            if let Some((_, items)) = &inner.content {
                read_items(items, file, &below.join(&name), inner_path, modules)?;
                continue;
            }
            let places = [below.join(format!("{name}.rs")), below.join(&name).join("mod.rs")];
            let Some(place) = places.iter().find(|place| place.exists()) else {
                bail!("{}: the file of module `{name}` is not found", file.display());
            };
            read_file(place, inner_path, modules)?;
        } else {
            module.visit_item(item);
        }
    }
    modules.insert(path, module);
    Ok(())
}

/// Tells whether an item is compiled for tests only.
fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| list.tokens.to_string().trim() == "test")
    })
}

impl Module {
    fn name(&mut self, path: Vec<String>, line: usize) {
        self.named.push(Named { path, line });
    }

    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| {
            let mut path = before.to_vec();
            if name != "self" || path.is_empty() {
                path.push(name);
            }
            path
        };
        let line = tree.span().start().line;
        match tree {
            UseTree::Path(inner) => self.import(&inner.tree, &with(inner.ident.to_string())),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before);
                }
            }
            UseTree::Glob(_) => {
                self.globs.push(before.to_vec());
                self.name(with("*".to_owned()), line);
            }
            UseTree::Name(name) => {
                let path = with(name.ident.to_string());
                self.imports
                    .entry(path.last().cloned().unwrap_or_default())
                    .or_insert(path.clone());
                self.name(path, line);
            }
            UseTree::Rename(renamed) => {
                let path = with(renamed.ident.to_string());
                self.imports.entry(renamed.rename.to_string()).or_insert(path.clone());
                self.name(path, line);
            }
        }
    }

    /// What stands in a macro's parentheses is no syntax, but its paths, macros and methods can be told by their tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let (mut colons, mut after_dot) = (0, false);
        for token in tokens {
            let mut ended = true;
            let dot = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '.');
            match token {
                TokenTree::Ident(word) => {
                    if after_dot {
                        self.name(vec![format!(".{word}")], word.span().start().line);
                    } else {
                        if colons != 2 {
                            self.end(&mut path, line);
                        }
                        line = word.span().start().line;
                        path.push(word.to_string());
                        ended = false;
                    }
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    let joint = mark.spacing() == Spacing::Joint;
                    ended = colons > 2 || (colons == 1) != joint;
                }
                TokenTree::Punct(mark) if mark.as_char() == '!' && colons == 0 => {
                    if let Some(last) = path.last_mut() {
                        last.push('!');
                    }
                }
                TokenTree::Group(group) => {
                    self.end(&mut path, line);
                    self.tokens(group.stream());
                }
                _ => {}
            }
            if ended {
                self.end(&mut path, line);
                colons = 0;
            }
            after_dot = dot && !after_dot;
        }
        self.end(&mut path, line);
    }

    fn end(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        if path.len() > 1 || path.last().is_some_and(|word| word.ends_with('!')) {
            self.name(path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            Item::Mod(item) => (&item.attrs, None),
            Item::ExternCrate(item) => {
                let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
                self.imports.insert(name.to_string(), vec![item.ident.to_string()]);
                return;
            }
            _ => return visit::visit_item(self, item),
        };
        if only_for_tests(attributes) {
            return;
        }
        if let Some(name) = name {
            self.items.insert(name.to_string());
        }
        if let Item::Use(item) = item {
            self.import(&item.tree, &[]);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let words = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.name(words, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.name(vec![format!(".{}", call.method)], call.method.span().start().line);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, used: &'ast syn::Macro) {
        let mut path: Vec<String> =
            used.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(last) = path.last_mut() {
            last.push('!');
        }
        self.name(path, used.path.span().start().line);
        self.tokens(used.tokens.clone());
    }
}

/// What a path leads to.
pub(crate) enum Leads {
    /// To this module of the crate, or to something that it defines.
    Inside(Vec<String>),
    /// Out of the crate: the whole path, with every name that was imported written out.
    Outside(Vec<String>),
}

/// Follows a path that is named in a module, through imports and re-exports, to where the thing is defined.
pub(crate) fn follow(modules: &Modules, from: &[String], path: &[String]) -> Leads {
    follow_at_most(modules, from, path, 16)
}

fn follow_at_most(modules: &Modules, from: &[String], path: &[String], turns: usize) -> Leads {
    let mut at = from.to_vec();
    let mut rest = path.iter().peekable();
    let mut in_crate = false;
    while let Some(word) = rest.peek() {
        match word.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            _ => break,
        }
        in_crate = true;
        rest.next();
    }
    while let Some(word) = rest.next() {
        let Some(module) = modules.get(&at) else { break };
        let inner = [at.as_slice(), std::slice::from_ref(word)].concat();
        if modules.contains_key(&inner) {
            (at, in_crate) = (inner, true);
            continue;
        }
        let bare = word.trim_end_matches('!');
        if module.items.contains(bare) || turns == 0 {
            return Leads::Inside(at);
        }
        let remaining = || rest.clone().cloned();
        if let Some(import) = module.imports.get(bare).filter(|import| import.as_slice() != path) {
            let onward: Vec<String> = import.iter().cloned().chain(remaining()).collect();
            return follow_at_most(modules, &at, &onward, turns - 1);
        }
        for glob in &module.globs {
            if let Leads::Inside(target) = follow_at_most(modules, &at, glob, turns - 1)
                && target != at
                && modules.get(&target).is_some_and(|module| {
                    module.items.contains(bare) || module.imports.contains_key(bare)
                })
            {
                let onward: Vec<String> =
                    std::iter::once(word.clone()).chain(remaining()).collect();
                return follow_at_most(modules, &target, &onward, turns - 1);
            }
        }
        if in_crate {
            return Leads::Inside(at);
        }
        return Leads::Outside(path.to_vec());
    }
    if in_crate { Leads::Inside(at) } else { Leads::Outside(path.to_vec()) }
}
