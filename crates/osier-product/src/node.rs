//! The steps that make a product.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use osier_build::{Field, FieldValue, Make, MakeError, MakePlace, NotMade, ProductPart};
use osier_check::{Finding, ROOT_CHECKS_VERSION};
use osier_image::{Composition, FsTree, RECORD_VERSION, Role, read_record, write_record};
use osier_recipe::{Image, Takes};
use osier_store::{Digest, FileError, IoContext as _, Store, TreeNode};

use crate::compose::{PartArea, Parts, wrong};
use crate::format::{self, TakenBytes, Writing};

/// The version of how systems are composed; raised when equal inputs begin to give another root file system.
const COMPOSE_FORMAT: u32 = 2;

/// The file that holds the composed tree, in the output of the root.
const ROOT: &str = "root";

/// The file that holds what was noticed, in the output `findings` of a root.
pub(crate) const FINDINGS: &str = "findings.json";

/// Where an area of a root file system comes from.
#[derive(Debug, Clone)]
pub(crate) enum AreaFrom {
    /// An overlay: this stored tree.
    Overlay(Digest),
    /// The need of this number.
    Need(usize),
}

/// An area of a root file system.
#[derive(Debug, Clone)]
pub(crate) struct RootArea {
    /// Its name, such as `overlay files`.
    pub(crate) name: String,
    pub(crate) from: AreaFrom,
    /// Where a person changes it.
    pub(crate) place: String,
}

/// Composes a root file system.
#[derive(Debug)]
pub(crate) struct ComposeRoot {
    /// In the order of search.
    pub(crate) areas: Vec<RootArea>,
    /// The manifest's name for messages, and its text.
    pub(crate) manifest: (String, String),
    pub(crate) accounts: [Option<String>; 2],
    /// Where the system is written.
    pub(crate) place: String,
}

impl Make for ComposeRoot {
    fn format(&self) -> (&'static str, u32) {
        ("compose", COMPOSE_FORMAT)
    }

    fn fields(&self, field: &mut dyn FnMut(Field<'_>)) {
        for area in &self.areas {
            let name = match area.name.split_once(' ') {
                Some((kind, name)) => format!("the {kind} `{name}`"),
                None => area.name.clone(),
            };
            let value = match &area.from {
                AreaFrom::Overlay(tree) => FieldValue::Tree(tree),
                // What it delivers is among the needs.
                AreaFrom::Need(_) => FieldValue::Words(""),
            };
            field(Field { name: &name, value, place: &area.place });
        }
        let (place, text) = &self.manifest;
        field(Field { name: "the manifest", value: FieldValue::Text(text), place });
        let names = ["the file of users", "the file of groups"];
        for (name, path) in names.into_iter().zip(&self.accounts) {
            let value = FieldValue::Words(path.as_deref().unwrap_or_default());
            field(Field { name, value, place: &self.place });
        }
        let versions = [
            ("the way that osier writes trees down", RECORD_VERSION.to_string()),
            ("the way that osier checks root file systems", ROOT_CHECKS_VERSION.to_string()),
        ];
        for (name, version) in &versions {
            field(Field { name, value: FieldValue::Words(version), place: "" });
        }
    }

    fn make(&self, place: &MakePlace<'_>) -> Result<String, MakeError> {
        let area = |area: &RootArea| {
            let (role, tree) = match &area.from {
                AreaFrom::Overlay(tree) => (Role::Overlay, *tree),
                AreaFrom::Need(number) => (Role::Component, *place.needs.get(*number)?),
            };
            Some(PartArea { name: area.name.clone(), role, tree, place: area.place.clone() })
        };
        let areas = self.areas.iter().map(area).collect::<Option<Vec<_>>>();
        let areas =
            areas.ok_or_else(|| wrong("a component of the system is missing", Vec::new()))?;
        let (manifest, accounts) = (self.manifest.clone(), self.accounts.clone());
        let composition = Parts { areas, manifest, accounts }.composition(place.store)?;
        let written = write_record(&composition.tree, Digest::to_string);
        put(place.output, ROOT, written.as_bytes())?;
        let findings = osier_check::root(&composition);
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
fn log(composition: &Composition<Digest>, findings: &[Finding]) -> String {
    let mut text = format!("{} files, folders, links and devices\n", composition.tree.node_count());
    for finding in findings {
        let _ = writeln!(text, "{}[{}]: {finding}", finding.level().as_str(), finding.code);
        for line in &finding.evidence {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// A file of an image.
#[derive(Debug, Clone)]
pub(crate) struct TakenFile {
    /// Its path in the image.
    pub(crate) path: String,
    /// The need that it is in.
    pub(crate) need: usize,
    /// Its path there.
    pub(crate) from: String,
    /// What that is, for messages.
    pub(crate) of: String,
    /// Where a person changes it.
    pub(crate) place: String,
}

/// Writes an image, or what its tool makes it of.
#[derive(Debug)]
pub(crate) struct WriteImage {
    pub(crate) image: Image,
    /// The files of a format that takes files; one of the root has it as its only need.
    pub(crate) files: Vec<TakenFile>,
    /// Where the image is written down.
    pub(crate) place: String,
}

impl Make for WriteImage {
    fn format(&self) -> (&'static str, u32) {
        ("image", 1)
    }

    fn fields(&self, field: &mut dyn FnMut(Field<'_>)) {
        let Image { format, compression, level, size, .. } = &self.image;
        let level = level.map(|level| format!(" {level}")).unwrap_or_default();
        let size = size.map(|size| format!(", {size} bytes")).unwrap_or_default();
        let how = format!("{} {}{level}{size}", format.as_str(), compression.as_str());
        let (version, file) = (format::version(&self.image), self.image.file_name());
        let place = &self.place;
        field(Field { name: "its format", value: FieldValue::Words(&how), place });
        field(Field { name: "its file", value: FieldValue::Words(&file), place });
        if let Some(label) = &self.image.label {
            field(Field { name: "its label", value: FieldValue::Words(label), place });
        }
        for TakenFile { path, need, from, of, place } in &self.files {
            let name = format!("the file `{path}` in it");
            let from = format!("{from} of {of}, need {need}");
            field(Field { name: &name, value: FieldValue::Words(&from), place });
        }
        let name = "the way that osier writes such images";
        field(Field { name, value: FieldValue::Words(&version), place: "" });
    }

    fn make(&self, place: &MakePlace<'_>) -> Result<String, MakeError> {
        let image = &self.image;
        let name = image.file_name();
        let (tree, made_of, files) = match image.format.row().takes {
            Takes::Root => {
                let root = place.needs.first();
                let root = root.ok_or_else(|| wrong("the image has no root", Vec::new()))?;
                let (tree, made_of) = root_of(place.store, root)?;
                (tree, made_of, Vec::new())
            }
            Takes::Files { .. } => {
                let files = self.taken(place)?;
                let record = files.iter().map(|file| format!("{} {}\n", file.content, file.path));
                let mut record = record.collect::<Vec<_>>();
                record.sort();
                (FsTree::new(), Digest::of(record.concat().as_bytes()), files)
            }
        };
        let writing = Writing { tree: &tree, files: &files, made_of, image, place };
        format::leave(&format::write(&writing)?, place.build)?;
        Ok(match image.format.row().takes {
            Takes::Root => {
                format!("{name} of {} files, folders, links and devices\n", tree.node_count())
            }
            Takes::Files { .. } => {
                let lines = self
                    .files
                    .iter()
                    .map(|file| format!("    {} from {} of {}\n", file.path, file.from, file.of));
                format!("{name} of {} files\n{}", files.len(), lines.collect::<String>())
            }
        })
    }
}

impl WriteImage {
    /// Finds the files of the image in its needs; tells of all that are not there.
    fn taken(&self, place: &MakePlace<'_>) -> Result<Vec<TakenBytes>, MakeError> {
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        for file in &self.files {
            let need = place.needs.get(file.need);
            let need = need.ok_or_else(|| wrong("a part of the image is missing", Vec::new()))?;
            let tree = place.store.tree(need)?;
            match tree.get(file.from.as_bytes()) {
                Some(TreeNode::File { content, size, .. }) => {
                    let path = file.path.clone();
                    files.push(TakenBytes { path, content: *content, size: *size });
                }
                other => {
                    let is = match other {
                        None => "does not install".to_owned(),
                        Some(TreeNode::Folder { .. }) => "installs as a folder".to_owned(),
                        Some(_) => "installs as a link".to_owned(),
                    };
                    let TakenFile { path, from, of, place, .. } = file;
                    missing.push(format!("{place}: `{path}` is to be `{from}`, which {of} {is}"));
                }
            }
        }
        if missing.is_empty() {
            return Ok(files);
        }
        let message =
            format!("{} of the files of {} are not there", missing.len(), self.image.file_name());
        Err(MakeError::Wrong(NotMade {
            part: ProductPart::Image,
            message,
            lines: missing,
            hint: None,
        }))
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
        return Err(wrong("the stored result is not a root file system", Vec::new()));
    };
    let bytes = store.read_blob(content)?;
    let text = String::from_utf8_lossy(&bytes);
    let tree =
        read_record(&text, |word| word.parse().ok()).map_err(|error| wrong(error, Vec::new()))?;
    Ok((tree, *content))
}
