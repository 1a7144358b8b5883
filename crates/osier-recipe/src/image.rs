//! The images of a system.

use std::collections::BTreeMap;

use crate::component_ref::ComponentRef;
use crate::format::{Compression, FORMATS, Format, Takes};
use crate::schema::Form;
use crate::walk::{self, Node, Walk};
use crate::words::list;
use crate::{Code, Diagnostic, Spanned, Target, size, tables};

/// Bytes of a block of a disk.
const DISK_BLOCK: u64 = 4096;

/// A file made from a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name.
    pub name: Spanned<String>,
    /// What it is.
    pub format: Format,
    /// How it is compressed, in a way that the format has.
    pub compression: Compression,
    /// The compression's level, valid for the compression; none for its own default.
    pub level: Option<u8>,
    /// The size in bytes of a format that is given one; none for what the files need.
    pub size: Option<u64>,
    /// The file system's label, in the form that its format asks for.
    pub label: Option<Spanned<String>>,
    /// The file's name; none for the image's name and the usual suffix.
    pub file: Option<Spanned<String>>,
    /// The files of a format that takes files.
    pub contents: Vec<ImageFile>,
}

/// A file in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Its path in the image.
    pub path: Spanned<String>,
    /// What it is.
    pub from: Content,
}

/// Where a file of an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The system's kernel.
    Kernel,
    /// Another image of the system.
    Image(Spanned<String>),
    /// A file of what a component installs.
    Component(Spanned<ComponentRef>, String),
}

pub(crate) fn images(walk: &mut Walk, node: &Node<'_>) -> Vec<Image> {
    let mut images = Vec::new();
    for (table, span) in walk::tables(node) {
        let name = Spanned::new(String::new(), span.clone());
        let mut image = Image {
            name,
            format: Format::Initramfs,
            compression: Compression::None,
            level: None,
            size: None,
            label: None,
            file: None,
            contents: Vec::new(),
        };
        let mut compression = None;
        walk.table(table, &span, &tables::IMAGE, &mut image, |image, walk, key, node| {
            let text = || node.get_ref().as_str();
            match key {
                "name" => image.name = walk::text(node),
                "format" => {
                    image.format = text().and_then(Format::parse).unwrap_or(Format::Initramfs);
                }
                "compression" => compression = text().and_then(Compression::parse),
                "level" => image.level = u8::try_from(walk::unsigned(node)).ok(),
                "size" => image.size = text().and_then(crate::parse_size),
                "label" => image.label = Some(walk::text(node)),
                "content" => image.contents = contents(walk, node),
                "file" => image.file = Some(walk::text(node)),
                _ => walk::unread("image", key),
            }
        });
        let usual = image.format.row().compressions.first().map(|row| row.compression);
        image.compression = compression.or(usual).unwrap_or(Compression::None);
        if let Some(node) = table.get("compression") {
            image.check_compression(walk, node);
        }
        if let (Some(level), Some(node)) = (image.level, table.get("level")) {
            image.check_level(walk, level, node);
        }
        if let (Some(size), Some(node)) = (image.size, table.get("size")) {
            image.check_size(walk, size, node);
        }
        image.check_label(walk);
        images.push(image);
    }
    images
}

fn find<'i>(images: &'i [Image], name: &str) -> Option<&'i Image> {
    images.iter().find(|image| image.name.value == name)
}

fn contents(walk: &mut Walk, node: &Node<'_>) -> Vec<ImageFile> {
    let mut files = Vec::new();
    for (table, span) in walk::tables(node) {
        let mut path = Spanned::new(String::new(), span.clone());
        let (mut from, mut below) = (None, String::new());
        walk.table(table, &span, &tables::CONTENT, &mut from, |from, _, key, node| match key {
            "path" => path = walk::text(node),
            "kernel" => *from = Some(Content::Kernel),
            "image" => *from = Some(Content::Image(walk::text(node))),
            "component" => {
                let component = walk::parsed_one(node, ComponentRef::parse);
                *from = component.map(|component| Content::Component(component, String::new()));
            }
            "from" => below = walk::text(node).value,
            _ => walk::unread("content", key),
        });
        if let Some(Content::Component(_, path)) = &mut from {
            *path = below;
        }
        // What is not there has been told.
        files.extend(from.map(|from| ImageFile { path, from }));
    }
    files
}

impl Image {
    fn check_compression(&self, walk: &mut Walk, node: &Node<'_>) {
        let row = self.format.row();
        if row.compression(self.compression).is_none() {
            let (format, wrong) = (self.format.as_str(), self.compression.as_str());
            let message =
                format!("an image of the format {format} cannot be compressed with {wrong}");
            let error = walk.error(Code::Conflict, &node.span(), message);
            let names = row.compressions.iter().map(|known| known.compression.as_str());
            error.hints.push(match Vec::from_iter(names).as_slice() {
                ["none"] => "leave `compression` out".to_owned(),
                names => format!("write {}", list(names, "or")),
            });
        }
    }

    fn check_level(&self, walk: &mut Walk, level: u8, node: &Node<'_>) {
        // What the format does not have has been told.
        let Some(row) = self.format.row().compression(self.compression) else { return };
        let (name, format) = (self.compression.as_str(), self.format.as_str());
        let Some(levels) = &row.levels else {
            let message = match self.compression {
                Compression::None => "an image that is not compressed has no level".to_owned(),
                _ => format!("{name} has no levels for the format {format}"),
            };
            let error = walk.error(Code::Conflict, &node.span(), message);
            error.hints.push("leave `level` out".into());
            return;
        };
        if !levels.contains(&level) {
            let (least, most) = (levels.start(), levels.end());
            let message = format!("{name} has no level {level} for the format {format}");
            let error = walk.error(Code::WrongForm, &node.span(), message);
            error.hints.push(format!("write a number from {least} to {most}"));
        }
    }

    fn check_size(&self, walk: &mut Walk, size: u64, node: &Node<'_>) {
        let format = self.format.as_str();
        let Some(sizes) = &self.format.row().sizes else {
            let message =
                format!("an image of the format {format} is always as large as its files need");
            let error = walk.error(Code::Conflict, &node.span(), message);
            error.hints.push("leave `size` out".into());
            return;
        };
        let (least, most) = (size::words(*sizes.start()), size::words(*sizes.end()));
        if size > *sizes.end() {
            let message = format!("an image of the format {format} can be at most {most} large");
            let error = walk.error(Code::TooLarge, &node.span(), message);
            error.hints.push("write a smaller size".into());
        } else if size < *sizes.start() {
            let message = format!("an image of the format {format} must be at least {least} large");
            let error = walk.error(Code::WrongForm, &node.span(), message);
            error.hints.push("write a larger size, or leave `size` out".into());
        } else if !size.is_multiple_of(DISK_BLOCK) {
            let error =
                walk.error(Code::WrongForm, &node.span(), "the size is not a multiple of 4K");
            error.hints.push("write a size in `M`".into());
        }
    }

    fn check_label(&self, walk: &mut Walk) {
        let Some(label) = &self.label else { return };
        match self.format.row().label {
            Some(form) => expect(walk, form, label),
            None => {
                let message =
                    format!("an image of the format {} has no label", self.format.as_str());
                let error = walk.error(Code::Conflict, &label.span, message);
                error.hints.push("leave `label` out".into());
            }
        }
    }

    /// Checks what the image is made of, as far as the system says it: its images, and a target without a kernel.
    pub(crate) fn check_contents(
        &self,
        walk: &mut Walk,
        images: &[Self],
        kernelless: Option<Target>,
    ) {
        let format = self.format.as_str();
        let Takes::Files { path: form, ignores_case } = self.format.row().takes else {
            if let Some(file) = self.contents.first() {
                let message =
                    format!("an image of the format {format} takes the root file system alone");
                let with = FORMATS.iter().filter(|row| !matches!(row.takes, Takes::Root));
                let names: Vec<_> = with.map(|row| row.name).collect();
                let error = walk.error(Code::Conflict, &file.path.span, message);
                error.hints.push(format!(
                    "name the file in the manifest, or choose another format: {}",
                    list(&names, "or")
                ));
            }
            return;
        };
        if self.contents.is_empty() {
            let message = format!("an image of the format {format} needs the files that it takes");
            let error = walk.error(Code::MissingKey, &self.name.span, message);
            let hint = "such as `[[image.content]]` with `path = \"vmlinuz\"` and `kernel = true`";
            error.hints.push(hint.into());
        }
        for file in self.contents.iter().filter(|file| !file.path.is_empty()) {
            expect(walk, form, &file.path);
        }
        self.check_paths(walk, ignores_case);
        for file in &self.contents {
            match &file.from {
                Content::Kernel => {
                    if let Some(target) = kernelless {
                        let message = format!(
                            "the system names no kernel for {target}, which the image `{}` takes",
                            self.name.value
                        );
                        let error = walk.error(Code::MissingKey, &file.path.span, message);
                        error.hints.push(
                            "such as `kernel = \"linux:boot/vmlinuz\"` below `components`".into(),
                        );
                    }
                }
                Content::Image(name) => self.check_contained(walk, images, name),
                Content::Component(..) => {}
            }
        }
    }

    /// Two files of an image have different paths, and none of them is a folder of another.
    fn check_paths(&self, walk: &mut Walk, ignores_case: bool) {
        let folded = |path: &str| match ignores_case {
            true => path.chars().flat_map(char::to_uppercase).collect(),
            false => path.to_owned(),
        };
        let origin = walk.origin();
        let mut seen: BTreeMap<String, &Spanned<String>> = BTreeMap::new();
        for file in self.contents.iter().filter(|file| !file.path.is_empty()) {
            let key = folded(&file.path);
            if let Some(first) = seen.get(&key) {
                walk.push(Diagnostic::duplicate(
                    "the file",
                    &file.path,
                    (&origin, &file.path.span),
                    (&origin, &first.span),
                ));
            } else {
                seen.insert(key, &file.path);
            }
        }
        for (key, path) in &seen {
            let folders = key.match_indices('/').map(|(at, _)| &key[..at]);
            for file in folders.filter_map(|folder| seen.get(folder)) {
                let message =
                    format!("`{}` lies below `{}`, which is a file", path.value, file.value);
                let error = origin.error(Code::Conflict, &path.span, message);
                walk.push(error.related(&origin, &file.span, "a file here"));
            }
        }
    }

    /// Another image must be there, and must not contain this one.
    fn check_contained(&self, walk: &mut Walk, images: &[Self], name: &Spanned<String>) {
        let origin = walk.origin();
        if find(images, name).is_none() {
            let names = images.iter().map(|image| image.name.as_str());
            let (code, names) =
                (Code::UnknownName, names.filter(|other| *other != self.name.value));
            walk.push(Diagnostic::unknown(code, "image", &origin, &name.span, name, names));
            return;
        }
        // Each circle is told once, where its first image takes the next one.
        let Some(circle) = self.circle(images, name) else { return };
        let place = |name: &str| images.iter().position(|image| image.name.value == name);
        let own = place(&self.name);
        if circle.iter().any(|other| place(other) < own) {
            return;
        }
        let message = match circle.as_slice() {
            [_] => format!("the image `{}` contains itself", self.name.value),
            _ => format!(
                "the image `{}` contains itself, by {}",
                self.name.value,
                list(&circle[1..], "and")
            ),
        };
        let error = walk.error(Code::Cycle, &name.span, message);
        error.hints.push("take one of them out of another".into());
    }

    /// Finds the images by which this one contains itself, itself first, where it does through `first`.
    fn circle<'s>(&'s self, images: &'s [Self], first: &'s str) -> Option<Vec<&'s str>> {
        // The way to each image that is reached.
        let mut ways: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut open = vec![(first, vec![self.name.as_str()])];
        while let Some((name, mut way)) = open.pop() {
            if name == self.name.value {
                return Some(way);
            }
            if ways.contains_key(name) {
                continue;
            }
            way.push(name);
            let contents = find(images, name).map(|image| image.contents.as_slice());
            for file in contents.unwrap_or_default() {
                if let Content::Image(next) = &file.from {
                    open.push((next, way.clone()));
                }
            }
            ways.insert(name, way);
        }
        None
    }

    /// The file's name: the given one, or the image's with the format's and the compression's suffix.
    pub fn file_name(&self) -> String {
        if let Some(file) = &self.file {
            return file.value.clone();
        }
        let row = self.format.row();
        let compressed = row.compression(self.compression).map_or("", |row| row.suffix);
        let suffix = row.suffix;
        format!("{}.{suffix}{compressed}", self.name)
    }
}

/// Checks a text against a form that its format asks for.
fn expect(walk: &mut Walk, form: &Form, text: &Spanned<String>) {
    if !(form.accepts)(text) {
        let hint = (form.advice)(text).unwrap_or_else(|| format!("expected: {}", form.looks));
        let message = format!("{} is not {}", crate::diagnostic::quoted(text), form.what);
        walk.error(form.code, &text.span, message).hints.push(hint);
    }
}
