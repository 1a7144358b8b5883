//! The steps that make a product.

use std::fs;
use std::path::Path;

use osier_build::{Field, Make, MakeError, MakePlace};
use osier_image::{Composition, FsTree, RECORD_VERSION, Role, read_record, write_record};
use osier_recipe::Image;
use osier_store::{Digest, FileError, IoContext as _, Store, TreeNode};

use crate::compose::{Parts, wrong};
use crate::finding::{FINDINGS, found};
use crate::format::{self, Writing};

/// The version of how systems are composed; raised when equal inputs begin to give another root file system.
const COMPOSE_FORMAT: u32 = 2;

/// The file that holds the composed tree, in the output of the root.
const ROOT: &str = "root";

/// Where an area of a root file system comes from.
#[derive(Debug, Clone)]
pub(crate) enum AreaFrom {
    /// An overlay: this stored tree.
    Overlay(Digest),
    /// The need of this number.
    Need(usize),
}

/// Composes a root file system.
#[derive(Debug)]
pub(crate) struct ComposeRoot {
    /// Name and source, in the order of search.
    pub(crate) areas: Vec<(String, AreaFrom)>,
    pub(crate) manifest: (String, String),
    /// The manifest's digest.
    pub(crate) manifest_digest: Digest,
    pub(crate) accounts: [Option<String>; 2],
}

impl Make for ComposeRoot {
    fn format(&self) -> (&'static str, u32) {
        ("compose", COMPOSE_FORMAT)
    }

    fn fields(&self, field: &mut dyn FnMut(Field<'_>)) {
        field(Field { name: "how trees are written", value: &RECORD_VERSION.to_string() });
        for (name, from) in &self.areas {
            match from {
                AreaFrom::Overlay(tree) => {
                    field(Field { name, value: &tree.to_string() });
                }
                AreaFrom::Need(number) => {
                    field(Field { name, value: &format!("number {number}") });
                }
            }
        }
        let manifest = self.manifest_digest.to_string();
        field(Field { name: "the manifest", value: &manifest });
        for (name, path) in
            ["the file of users", "the file of groups"].into_iter().zip(&self.accounts)
        {
            field(Field { name, value: path.as_deref().unwrap_or_default() });
        }
    }

    fn make(&self, place: &MakePlace<'_>) -> Result<String, MakeError> {
        let area = |(name, from): &(String, AreaFrom)| match from {
            AreaFrom::Overlay(tree) => Some((name.clone(), Role::Overlay, *tree)),
            AreaFrom::Need(number) => {
                Some((name.clone(), Role::Component, *place.needs.get(*number)?))
            }
        };
        let areas = self.areas.iter().map(area).collect::<Option<Vec<_>>>();
        let areas =
            areas.ok_or_else(|| wrong("a component of the system is missing", Vec::new()))?;
        let (manifest, accounts) = (self.manifest.clone(), self.accounts.clone());
        let composition = Parts { areas, manifest, accounts }.composition(place.store)?;
        let written = write_record(&composition.tree, Digest::to_string);
        put(place.output, ROOT, written.as_bytes())?;
        let findings = found(&composition);
        let bytes = serde_json::to_vec(&findings).map_err(|error| FileError {
            action: "write",
            path: FINDINGS.into(),
            source: error.into(),
        })?;
        put(place.output, FINDINGS, &bytes)?;
        Ok(log(&composition, &findings))
    }
}

/// Says what was composed, and what was found.
fn log(composition: &Composition<Digest>, findings: &[osier_build::Finding]) -> String {
    let mut text = format!("{} files, folders, links and devices\n", composition.tree.node_count());
    for finding in findings {
        text.push_str(&finding.message);
        text.push('\n');
    }
    text
}

/// Writes an image of a root file system, or what its tool makes it of.
#[derive(Debug)]
pub(crate) struct WriteImage {
    pub(crate) image: Image,
}

impl Make for WriteImage {
    fn format(&self) -> (&'static str, u32) {
        ("image", 1)
    }

    fn fields(&self, field: &mut dyn FnMut(Field<'_>)) {
        let Image { name, format, compression, level, size, .. } = &self.image;
        let version = format::version(&self.image);
        field(Field { name: "the writer of the image", value: &version });
        let level = level.map(|level| format!(" {level}")).unwrap_or_default();
        let size = size.map(|size| format!(", {size} bytes")).unwrap_or_default();
        let how = format!("{} {}{level}{size}", format.as_str(), compression.as_str());
        let written = format!("how the image {name} is written");
        field(Field { name: &written, value: &how });
        let file = self.image.file_name();
        field(Field { name: &format!("the file of the image {name}"), value: &file });
    }

    fn make(&self, place: &MakePlace<'_>) -> Result<String, MakeError> {
        let root = place.needs.first().ok_or_else(|| wrong("the image has no root", Vec::new()))?;
        let (tree, made_of) = root_of(place.store, root)?;
        let image = &self.image;
        let commands = format::write(&Writing { tree: &tree, made_of, image, place })?;
        format::leave(&commands, place.build)?;
        let nodes = tree.node_count();
        Ok(format!("{} of {nodes} files, folders, links and devices\n", image.file_name()))
    }
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), FileError> {
    let place = folder.join(name);
    fs::write(&place, bytes).at("write", &place)
}

/// Reads the root file system that an output of a root holds, and gives the digest of its record.
fn root_of(store: &Store, output: &Digest) -> Result<(FsTree<Digest>, Digest), MakeError> {
    let tree = store.tree(output)?;
    let Some(TreeNode::File { content, .. }) = tree.get(ROOT.as_bytes()) else {
        return Err(wrong("what is stored is no root file system", Vec::new()));
    };
    let bytes = store.read_blob(content)?;
    let text = String::from_utf8_lossy(&bytes);
    let tree =
        read_record(&text, |word| word.parse().ok()).map_err(|error| wrong(error, Vec::new()))?;
    Ok((tree, *content))
}
