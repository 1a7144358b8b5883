//! `osier size`: what the images of a system are made of, by component and by folder.
//!
//! The figures are those of the files as they are delivered: what a component installs and the manifest leaves out
//! takes no room. Everything is read from the store; nothing is built for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use osier_build::{Graph, Survey};
use osier_image::{Composition, ImagePath, Node, Role};
use osier_product::{PartArea, Parts};
use osier_recipe::{ComponentRef, Image, System, Takes};
use osier_store::{Digest, Store, TreeNode};
use serde_json::{Value, json};

use crate::product;
use crate::project::Goal;
use crate::report::figures::bytes;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::Session;
use crate::workplace::Workplace;

/// How deep folders are shown to people, and most lines of them; JSON has all.
const DEPTH: usize = 2;
const MOST_FOLDERS: usize = 25;

/// The room that the parts of a system take.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sizes {
    /// The bytes of all delivered files.
    bytes: u64,
    files: usize,
    /// What is delivered besides and has no bytes: folders, links, devices, pipes.
    others: usize,
    images: Vec<ImageSize>,
    /// The kernel: its path below its component, and its bytes.
    kernel: Option<(String, u64)>,
    areas: Vec<Share>,
    /// Each folder with all that is below it; paths end with a slash.
    folders: Vec<Share>,
    /// All files.
    largest: Vec<File>,
}

/// An image of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ImageSize {
    file: String,
    /// None where it is not written yet.
    bytes: Option<u64>,
    /// Whether it holds the root file system.
    holds_root: bool,
}

/// A delivered file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: String,
    bytes: u64,
    /// The component or overlay that it comes from.
    from: String,
}

/// A part of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    name: String,
    /// Whether it is an overlay.
    is_overlay: bool,
    bytes: u64,
    files: usize,
}

/// Shows the sizes of a system; of its largest files as well, where their number is given.
pub(crate) fn run(
    workplace: &Workplace,
    name: Option<&str>,
    largest: Option<usize>,
) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let mut session = Session::asking(workplace, &store)?;
    let (system, entry) = match session.project.goal(name)? {
        Goal::System(system, entry) => (system, entry),
        Goal::Component(name) => {
            let message = format!("`{name}` is a component, and only a system has images");
            let hint = format!("`osier graph {name}` shows the sizes of what a component installs");
            return Err(Problem::of(Code::Usage, message).hint(hint));
        }
    };
    if system.images.is_empty() {
        let message = format!("the system `{}` has no images", system.name);
        return Err(Problem::of(Code::NotMeasured, message));
    }
    let target = session.project.target()?;
    let effective = system.effective(target);
    let planned = session.plan_systems(&[(&system, target)])?;
    let graph = &planned.graph;
    let survey = session.surveyor().survey(graph);
    is_built(&system, graph, &survey)?;
    let output = |component: &ComponentRef| product::output(graph, &survey.done, component);
    let holds_root = |image: &Image| matches!(image.format.row().takes, Takes::Root);
    let mut sizes = Sizes::default();
    if system.images.iter().any(holds_root) {
        let parts = product::parts(&store, &entry, &effective, &output)?;
        let composition =
            parts.composition(&store).map_err(|error| product::not_made(&store, error))?;
        sizes = Sizes::of(&parts, &composition);
    }
    for (image, id) in system.images.iter().zip(planned.images.concat()) {
        let made = osier_product::file_of(&store, &survey.done, id).ok().flatten();
        let made = made.filter(|(digest, _)| store.has_blob(digest));
        sizes.images.push(ImageSize {
            file: image.file_name(),
            bytes: made.map(|(_, bytes)| bytes),
            holds_root: holds_root(image),
        });
    }
    if let Some(kernel) = effective.kernel {
        let component = ComponentRef { name: kernel.component.clone(), output: None };
        sizes.kernel = kernel_size(&store, &output(&component)?, &kernel.path);
    }
    if workplace.global.json {
        workplace.reporter.json(&sizes.json(&system.name, largest));
    } else {
        workplace.reporter.result(sizes.text(&system.name, largest).trim_end());
    }
    Ok(())
}

/// Refuses a system of which a component is not built, and names each.
fn is_built(system: &System, graph: &Graph, survey: &Survey) -> Outcome<()> {
    let components = survey.open.iter().map(|id| graph.component(*id));
    let open = components.filter(|component| !osier_product::is_product(component));
    let names: Vec<&str> = open.map(|component| component.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} is not built: {} of its components are missing", system.name, names.len());
    let mut problem = Problem::of(Code::NotMeasured, message);
    for name in &names {
        let _ = writeln!(problem.body, "    | {name}");
    }
    Err(problem.hint(format!("`osier build {}` builds it", system.name)))
}

/// Measures the kernel.
fn kernel_size(store: &Store, tree: &Digest, path: &str) -> Option<(String, u64)> {
    match store.tree(tree).ok()?.get(path.as_bytes())? {
        TreeNode::File { size, .. } => Some((path.to_owned(), *size)),
        _ => None,
    }
}

impl Sizes {
    /// Adds up what is delivered; the largest come first.
    fn of(parts: &Parts, composition: &Composition<Digest>) -> Self {
        let mut sizes = Self::default();
        let mut areas: Vec<Share> = parts.areas.iter().map(Share::of_area).collect();
        let mut folders: BTreeMap<ImagePath, (u64, usize)> = BTreeMap::new();
        for (path, node) in composition.tree.iter() {
            // A hard link is one more name, and takes no room of its own.
            let Node::File { size, .. } = node else {
                sizes.others += usize::from(!path.is_root());
                continue;
            };
            sizes.bytes += size;
            sizes.files += 1;
            let origin = composition.origins.get(path).and_then(|origin| origin.area.as_ref());
            let area = parts.areas.iter().position(|area| Some(&area.name) == origin);
            if let Some(area) = area.map(|area| &mut areas[area]) {
                area.bytes += size;
                area.files += 1;
            }
            let from = area.map_or_else(String::new, |area| areas[area].name.clone());
            sizes.largest.push(File { path: path.to_string(), bytes: *size, from });
            let above = std::iter::successors(path.parent(), ImagePath::parent);
            for folder in above.filter(|folder| !folder.is_root()) {
                let slot = folders.entry(folder).or_default();
                *slot = (slot.0 + size, slot.1 + 1);
            }
        }
        let folder = |(path, (bytes, files))| Share {
            name: format!("{path}/"),
            is_overlay: false,
            bytes,
            files,
        };
        sizes.folders = folders.into_iter().map(folder).collect();
        sizes.areas = areas;
        for shares in [&mut sizes.areas, &mut sizes.folders] {
            // Of equal ones the order is that of before: of the system's file, and of the paths.
            shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        }
        sizes.largest.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        sizes
    }

    /// Writes the sizes for people.
    fn text(&self, name: &str, largest: Option<usize>) -> String {
        let has_root = self.images.iter().any(|image| image.holds_root);
        let mut text = match has_root {
            true => format!(
                "{name}: {} in {}, and {} folders, links and devices\n",
                bytes(self.bytes),
                count(self.files, "file"),
                self.others
            ),
            false => format!("{name}: no image has a root file system\n"),
        };
        for ImageSize { file, bytes: size, holds_root } in &self.images {
            let _ = match size {
                Some(size) if *holds_root => {
                    writeln!(text, "  {:>8}  {}  {file}", bytes(*size), self.percent(*size))
                }
                Some(size) => writeln!(text, "  {:>8}           {file}", bytes(*size)),
                None => writeln!(text, "  not written yet    {file}"),
            };
        }
        if let Some((path, size)) = &self.kernel {
            let _ = writeln!(
                text,
                "  {:>8}           the kernel {path}, beside the images",
                bytes(*size)
            );
        }
        if !has_root {
            return text;
        }
        text.push_str("\nby component\n");
        for share in &self.areas {
            let _ = writeln!(text, "{}", self.line(share));
        }
        text.push_str("\nby folder, including everything below\n");
        let is_near = |share: &&Share| share.name.matches('/').count() <= DEPTH;
        for share in self.folders.iter().filter(is_near).take(MOST_FOLDERS) {
            let _ = writeln!(text, "{}", self.line(share));
        }
        let more = self.folders.iter().filter(is_near).count().saturating_sub(MOST_FOLDERS);
        if more > 0 {
            let _ = writeln!(text, "  and {more} smaller ones; --json lists all");
        }
        if let Some(most) = largest {
            let _ = writeln!(text, "\nthe largest files");
            for file in self.largest.iter().take(most) {
                let (size, percent) = (bytes(file.bytes), self.percent(file.bytes));
                let _ = writeln!(text, "  {size:>8}  {percent}  {}  ({})", file.path, file.from);
            }
        }
        text
    }

    fn line(&self, share: &Share) -> String {
        let (size, percent) = (bytes(share.bytes), self.percent(share.bytes));
        let overlay = if share.is_overlay { "overlay " } else { "" };
        let files = count(share.files, "file");
        format!("  {size:>8}  {percent}  {overlay}{}  ({files})", share.name)
    }

    /// The share of all delivered bytes.
    fn percent(&self, part: u64) -> String {
        format!("{:5.1} %", part as f64 * 100.0 / self.bytes.max(1) as f64)
    }

    /// Gives the sizes as one JSON object; sizes are in bytes.
    fn json(&self, name: &str, largest: Option<usize>) -> Value {
        let share = |share: &Share| json!({ "name": share.name, "bytes": share.bytes, "files": share.files });
        let area = |area: &Share| {
            let mut value = share(area);
            value["kind"] = if area.is_overlay { "overlay" } else { "component" }.into();
            value
        };
        let image = |image: &ImageSize| json!({ "file": image.file, "bytes": image.bytes });
        let file =
            |file: &File| json!({ "path": file.path, "bytes": file.bytes, "from": file.from });
        let files = self.largest.iter().take(largest.unwrap_or(0));
        json!({
            "event": "size",
            "system": name,
            "bytes": self.bytes,
            "files": self.files,
            "others": self.others,
            "images": self.images.iter().map(image).collect::<Vec<_>>(),
            "kernel": self.kernel.as_ref().map(|(path, bytes)| json!({ "path": path, "bytes": bytes })),
            "components": self.areas.iter().map(area).collect::<Vec<_>>(),
            "folders": self.folders.iter().map(share).collect::<Vec<_>>(),
            "largest": files.map(file).collect::<Vec<_>>(),
        })
    }
}

impl Share {
    /// Begins the share of an area.
    fn of_area(PartArea { name, role, .. }: &PartArea) -> Self {
        let is_overlay = *role == Role::Overlay;
        // The area's name for messages says what it is, too.
        let word = if is_overlay { "overlay " } else { "component " };
        let name = name.strip_prefix(word).unwrap_or(name).to_owned();
        Self { name, is_overlay, bytes: 0, files: 0 }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use osier_store::Tree;

    use super::*;

    /// A store with a component of four files, of which two are one by a hard link, and an overlay.
    fn sizes() -> Sizes {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        let file = |bytes: usize, hard_link| {
            let content = store.put_bytes(&vec![7; bytes]).unwrap();
            TreeNode::File { mode: 0o755, content, size: bytes as u64, hard_link }
        };
        let mut component = Tree::default();
        for path in ["usr", "usr/bin", "usr/lib"] {
            component.insert(path.into(), TreeNode::Folder { mode: 0o755 });
        }
        component.insert(b"usr/bin/tool".to_vec(), file(3000, None));
        component.insert(b"usr/bin/unwanted".to_vec(), file(90_000, None));
        component.insert(b"usr/lib/big".to_vec(), file(6000, None));
        let mut overlay = Tree::default();
        overlay.insert(b"etc".to_vec(), TreeNode::Folder { mode: 0o755 });
        overlay.insert(b"etc/motd".to_vec(), file(1000, None));
        let manifest = "f usr/bin/tool 0755 0 0\nf usr/lib/big 0644 0 0\nh usr/bin/twin=usr/bin/tool\n\
                        s usr/bin/link=tool\nd dev 0755 0 0\nc dev/console 0600 0 0 5 1\n";
        let part = |name: &str, role, tree: &Tree| PartArea {
            name: name.into(),
            role,
            tree: store.put_tree(tree).unwrap(),
            place: String::new(),
        };
        let parts = Parts {
            areas: vec![
                part("overlay files", Role::Overlay, &overlay),
                part("component tools", Role::Component, &component),
            ],
            manifest: ("manifest".into(), manifest.into()),
            accounts: [None, None],
        };
        let mut sizes = Sizes::of(&parts, &parts.composition(&store).unwrap());
        let image =
            |file: &str, bytes, holds_root| ImageSize { file: file.into(), bytes, holds_root };
        sizes.images = vec![
            image("root.cpio.zst", Some(4000), true),
            image("root.ext4", None, true),
            image("esp.fat", Some(70_000), false),
        ];
        sizes.kernel = Some(("boot/vmlinuz".into(), 9_000_000));
        sizes
    }

    #[test]
    fn as_text() {
        insta::assert_snapshot!(sizes().text("tiny", Some(2)));
    }

    #[test]
    fn without_a_root_file_system() {
        let mut sizes = Sizes { images: sizes().images.split_off(2), ..Sizes::default() };
        sizes.kernel = Some(("boot/vmlinuz".into(), 9_000_000));
        insta::assert_snapshot!(sizes.text("esp", None), @r"
        esp: no image has a root file system
           70.0 kB           esp.fat
            9.0 MB           the kernel boot/vmlinuz, beside the images
        ");
    }

    #[test]
    fn as_json() {
        insta::assert_snapshot!(format!("{:#}", sizes().json("tiny", Some(2))));
    }

    #[test]
    fn shares_add_up_to_what_is_delivered() {
        let sizes = sizes();
        assert_eq!((sizes.bytes, sizes.files), (10_000, 3));
        let sum = |shares: &[Share]| shares.iter().map(|share| share.bytes).sum::<u64>();
        assert_eq!(sum(&sizes.areas), sizes.bytes);
        let top: Vec<Share> = sizes
            .folders
            .iter()
            .filter(|folder| folder.name.matches('/').count() == 1)
            .cloned()
            .collect();
        assert_eq!(sum(&top), sizes.bytes);
    }
}
