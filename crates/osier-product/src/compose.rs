//! From the outputs of components and the overlays to a root file system as a value.

use std::collections::BTreeMap;

use osier_build::{MakeError, NotMade, ProductPart};
use osier_image::{
    Accounts, Area, ComposeError, ComposeOptions, Composition, Entry, ImagePath, Manifest, Role,
    compose,
};
use osier_store::{Digest, Store, TreeNode};

/// Everything that a root file system is composed of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Overlays and components, in the order of search.
    pub areas: Vec<PartArea>,
    /// The manifest's name for messages, and its text.
    pub manifest: (String, String),
    /// Where users and groups are looked up, as far as the system says.
    pub accounts: [Option<String>; 2],
}

/// An overlay, or what a component delivers.
#[derive(Debug, Clone)]
pub struct PartArea {
    /// Its name for messages, such as `overlay files`.
    pub name: String,
    /// Which of the two it is.
    pub role: Role,
    /// A stored tree.
    pub tree: Digest,
    /// Where a person changes it: its folder, or the line that names it.
    pub place: String,
}

/// Says that the root file system cannot be composed.
pub(crate) fn wrong(message: impl std::fmt::Display, lines: Vec<String>) -> MakeError {
    let message = message.to_string();
    MakeError::Wrong(NotMade { part: ProductPart::Root, message, lines, hint: None })
}

/// Reads a manifest.
fn manifest((label, text): &(String, String)) -> Result<Manifest, MakeError> {
    Manifest::parse(label, text).map_err(|errors| {
        let lines: Vec<&str> = text.lines().collect();
        let mut shown = Vec::new();
        for error in &errors {
            let line = lines.get(error.line.saturating_sub(1)).copied().unwrap_or_default();
            shown.extend([error.to_string(), format!("  {line}")]);
            shown.extend(error.hint.as_ref().map(|hint| format!("  hint: {hint}")));
        }
        wrong(format!("{label} has {} error(s)", errors.len()), shown)
    })
}

impl Parts {
    /// Composes the root file system.
    pub fn composition(&self, store: &Store) -> Result<Composition<Digest>, MakeError> {
        let manifest = manifest(&self.manifest)?;
        let areas = self.areas.iter().map(|part| area(store, part));
        let areas = areas.collect::<Result<Vec<_>, _>>()?;
        let accounts = self.accounts(store, &areas, true)?.unwrap_or_default();
        compose(&areas, &manifest, &accounts, &ComposeOptions::default())
            .map_err(|errors| not_composed(&errors))
    }

    /// Finds what is wrong whatever the components deliver; `self` has the overlays alone.
    pub fn check(&self, store: &Store) -> Result<(), MakeError> {
        let manifest = manifest(&self.manifest)?;
        let areas = self.areas.iter().map(|part| area(store, part));
        let areas = areas.collect::<Result<Vec<_>, _>>()?;
        // Where a component has the users or groups they are not known yet.
        let Some(accounts) = self.accounts(store, &areas, false)? else { return Ok(()) };
        let composed = compose(&areas, &manifest, &accounts, &ComposeOptions::default());
        let unknown = |error: &ComposeError| matches!(error, ComposeError::UnknownAccount { .. });
        let unknown: Vec<_> = composed.err().into_iter().flatten().filter(unknown).collect();
        if unknown.is_empty() { Ok(()) } else { Err(not_composed(&unknown)) }
    }

    /// Reads the users and groups from the first area that has the files; nothing where one of them is not there and might
    /// still come.
    fn accounts(
        &self,
        store: &Store,
        areas: &[Area<Digest>],
        all: bool,
    ) -> Result<Option<Accounts>, MakeError> {
        let read = |named: &Option<String>, usual: &str| -> Result<Option<Vec<u8>>, MakeError> {
            let path = named.as_deref().unwrap_or(usual);
            let path = ImagePath::new(path).map_err(|error| wrong(error, Vec::new()))?;
            for area in areas {
                if let Some(Entry::File { content, .. }) = area.entries.get(&path) {
                    return Ok(Some(store.read_blob(content)?));
                }
            }
            match named {
                _ if !all => Ok(None),
                Some(path) => Err(wrong(
                    format!(
                        "no overlay and no component has the file {path}, which the system's `accounts` name"
                    ),
                    Vec::new(),
                )),
                None => Ok(Some(Vec::new())),
            }
        };
        let [passwd, group] = &self.accounts;
        let (passwd, group) = (read(passwd, "etc/passwd")?, read(group, "etc/group")?);
        let (Some(passwd), Some(group)) = (passwd, group) else { return Ok(None) };
        let accounts = Accounts::parse(&passwd, &group);
        accounts.map(Some).map_err(|errors| {
            let lines = errors.iter().map(ToString::to_string).collect();
            wrong("the users or groups of the system cannot be read", lines)
        })
    }
}

fn not_composed(errors: &[ComposeError]) -> MakeError {
    let message = format!("the system cannot be composed: {} problem(s)", errors.len());
    wrong(message, errors.iter().map(ToString::to_string).collect())
}

fn area(store: &Store, part: &PartArea) -> Result<Area<Digest>, MakeError> {
    let tree = store.tree(&part.tree)?;
    let mut entries = BTreeMap::new();
    for (path, node) in tree.iter() {
        let path = ImagePath::new(path.to_vec()).map_err(|error| wrong(error, Vec::new()))?;
        let bits = |mode: u32| u16::try_from(mode & 0o7777).unwrap_or(0);
        let entry = match node {
            TreeNode::Folder { mode } => Entry::Folder { mode: bits(*mode) },
            TreeNode::Symlink { target } => Entry::Symlink { target: target.clone() },
            TreeNode::File { mode, content, size, .. } => {
                Entry::File { content: *content, size: *size, mode: bits(*mode) }
            }
        };
        entries.insert(path, entry);
    }
    Ok(Area { name: part.name.clone(), role: part.role, entries })
}
