//! A system: the recipe of a product.

use std::collections::BTreeMap;

use crate::boot::boot;
use crate::component_ref::ComponentRef;
use crate::format::{Format, Takes};
use crate::image::{Content, Image, images};
use crate::recipe::by_target;
use crate::schema::FileKind;
use crate::walk::{self, Node, Walk};
use crate::{Boot, BootRun, Code, Diagnostic, Origin, Spanned, Target, Tune, tables, tune};

/// One parsed system; no defaults are applied to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The file.
    pub origin: Origin,
    /// The system's name.
    pub name: Spanned<String>,
    /// One line that says what it is.
    pub summary: Option<Spanned<String>>,
    /// The supported targets; empty for all.
    pub targets: Vec<Spanned<Target>>,
    /// The component that compiles the others.
    pub toolchain: Option<Spanned<String>>,
    /// Where users are looked up: a path in the system; without one `etc/passwd`.
    pub passwd: Option<Spanned<String>>,
    /// Where groups are looked up: a path in the system; without one `etc/group`.
    pub group: Option<Spanned<String>>,
    /// The images; names are all different.
    pub images: Vec<Image>,
    /// What holds for all targets.
    pub base: SystemPart,
    /// What holds for one target alone.
    pub target_parts: BTreeMap<Target, SystemPart>,
}

/// What a system says for all targets or for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemPart {
    /// What the components are compiled for; one level for a target.
    pub tune: Vec<Spanned<Tune>>,
    /// The components.
    pub components: Vec<Spanned<ComponentRef>>,
    /// Folders beside the file; of one path the last counts.
    pub overlays: Vec<Spanned<String>>,
    /// The manifest, a file beside this one.
    pub manifest: Option<Spanned<String>>,
    /// The kernel.
    pub kernel: Option<Spanned<KernelRef>>,
    /// How it is booted.
    pub boot: Boot,
}

/// A file that a component installs: `linux:boot/vmlinuz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRef {
    /// The component.
    pub component: String,
    /// The path below its installed tree.
    pub path: String,
}

/// A system for one target.
#[derive(Debug, Clone)]
pub struct EffectiveSystem<'s> {
    /// The system.
    pub system: &'s System,
    /// What the components are compiled for; empty where the system does not say.
    pub tune: &'s [Spanned<Tune>],
    /// The components, the target's last.
    pub components: Vec<&'s Spanned<ComponentRef>>,
    /// The overlays, the target's last.
    pub overlays: Vec<&'s Spanned<String>>,
    /// The manifest.
    pub manifest: Option<&'s Spanned<String>>,
    /// The kernel.
    pub kernel: Option<&'s Spanned<KernelRef>>,
    /// The machine it is booted on.
    pub machine: Option<&'s Spanned<String>>,
    /// What is added to the kernel's command line.
    pub append: Option<&'s Spanned<String>>,
    /// The initramfs it is booted from: the named one or the first.
    pub boot_image: Option<&'s Image>,
    /// The boots, one after another.
    pub runs: &'s [BootRun],
}

impl System {
    /// Reads a system; `expected` is the name that the file's own folder asks for.
    ///
    /// Fails with every error of the file, in the order of the text.
    pub fn parse(file: &str, text: &str, expected: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        let (mut walk, root) = Walk::open(file, text);
        let mut system = Self {
            origin: walk.origin(),
            name: Spanned::new(String::new(), 0..0),
            summary: None,
            targets: Vec::new(),
            toolchain: None,
            passwd: None,
            group: None,
            images: Vec::new(),
            base: SystemPart::default(),
            target_parts: BTreeMap::new(),
        };
        walk.root(&root, FileKind::System, &mut system, Self::read);
        walk.expect_name(&system.name, expected);
        system.check(&mut walk);
        walk.finish(system)
    }

    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "name" => self.name = walk::text(node),
            "summary" => self.summary = Some(walk::text(node)),
            "targets" => self.targets = walk::parsed(node, Target::parse),
            "toolchain" => self.toolchain = Some(walk::text(node)),
            "accounts" => self.read_accounts(walk, node),
            "image" => self.images = images(walk, node),
            "target" => self.target_parts = by_target(walk, node, part),
            _ => {
                if !self.base.read(walk, key, node) {
                    walk::unread("system", key);
                }
            }
        }
    }

    fn read_accounts(&mut self, walk: &mut Walk, node: &Node<'_>) {
        let Some(table) = node.get_ref().as_table() else { return };
        walk.table(
            table,
            &node.span(),
            &tables::ACCOUNTS,
            self,
            |system, _, key, node| match key {
                "passwd" => system.passwd = Some(walk::text(node)),
                "group" => system.group = Some(walk::text(node)),
                _ => walk::unread("accounts", key),
            },
        );
    }

    fn parts(&self) -> impl Iterator<Item = &SystemPart> {
        [&self.base].into_iter().chain(self.target_parts.values())
    }

    fn check(&self, walk: &mut Walk) {
        walk.distinct("the image", self.images.iter().map(|image| &image.name));
        let targets: Vec<Target> = match self.targets.as_slice() {
            [] => Target::ALL.to_vec(),
            targets => targets.iter().map(|target| target.value).collect(),
        };
        tune::of_other_targets(walk, &self.base.tune, &targets);
        for (target, part) in &self.target_parts {
            tune::of_other_targets(walk, &part.tune, &[*target]);
        }
        let names = || self.images.iter().map(|image| image.name.as_str());
        let origin = walk.origin();
        for name in self.parts().filter_map(|part| part.boot.image.as_ref()) {
            match self.image(name) {
                None => walk.push(Diagnostic::unknown(
                    Code::UnknownName,
                    "image",
                    &origin,
                    &name.span,
                    name,
                    names(),
                )),
                Some(image) if image.format != Format::Initramfs => {
                    let message = format!("the image `{name}` is not an initramfs");
                    let hint = "add a disk image to the machine, as a `[[disk]]`";
                    walk.error(Code::Conflict, &name.span, message).hints.push(hint.into());
                }
                Some(_) => {}
            }
        }
        let kernelless = targets.iter().copied().find(|target| !self.has_kernel(*target));
        for image in &self.images {
            image.check_contents(walk, &self.images, kernelless);
        }
        let takes_root = |image: &&Image| matches!(image.format.row().takes, Takes::Root);
        if let Some(image) = self
            .images
            .iter()
            .find(takes_root)
            .filter(|_| self.parts().all(|part| part.manifest.is_none()))
        {
            let error = walk.error(
                Code::MissingKey,
                &image.name.span,
                "an image of the root file system needs the system's `manifest`",
            );
            error.hints.push("such as `manifest = \"manifest\"` below `components`".into());
        }
    }

    /// Says whether a target has a kernel.
    pub(crate) fn has_kernel(&self, target: Target) -> bool {
        let part = self.target_parts.get(&target).and_then(|part| part.kernel.as_ref());
        part.or(self.base.kernel.as_ref()).is_some()
    }

    /// Finds an image by name.
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name.value == name)
    }

    /// Whether the system supports a target.
    pub fn supports(&self, target: Target) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|supported| supported.value == target)
    }

    /// Applies the table of a target.
    pub fn effective(&self, target: Target) -> EffectiveSystem<'_> {
        let (base, part) = (&self.base, self.target_parts.get(&target));
        let mut components: Vec<_> = base.components.iter().collect();
        let mut overlays: Vec<_> = base.overlays.iter().collect();
        if let Some(part) = part {
            components.extend(
                part.components
                    .iter()
                    .filter(|c| base.components.iter().all(|b| b.value != c.value)),
            );
            overlays.extend(
                part.overlays.iter().filter(|o| base.overlays.iter().all(|b| b.value != o.value)),
            );
        }
        let image = part.and_then(|part| part.boot.image.as_ref()).or(base.boot.image.as_ref());
        let boot_image = match image {
            Some(name) => self.image(name),
            None => self.images.iter().find(|image| image.format == Format::Initramfs),
        };
        EffectiveSystem {
            system: self,
            tune: part.map(|part| &part.tune).filter(|tune| !tune.is_empty()).unwrap_or(&base.tune),
            components,
            overlays,
            manifest: part.and_then(|part| part.manifest.as_ref()).or(base.manifest.as_ref()),
            kernel: part.and_then(|part| part.kernel.as_ref()).or(base.kernel.as_ref()),
            machine: part
                .and_then(|part| part.boot.machine.as_ref())
                .or(base.boot.machine.as_ref()),
            append: part.and_then(|part| part.boot.append.as_ref()).or(base.boot.append.as_ref()),
            boot_image,
            runs: part
                .map(|part| &part.boot.runs)
                .filter(|runs| !runs.is_empty())
                .unwrap_or(&base.boot.runs),
        }
    }
}

impl SystemPart {
    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) -> bool {
        match key {
            "tune" => self.tune = tune::tunes(walk, node),
            "components" => self.components = walk::parsed(node, ComponentRef::parse),
            "overlays" => self.overlays = walk::texts(node),
            "manifest" => self.manifest = Some(walk::text(node)),
            "kernel" => self.kernel = walk::parsed_one(node, KernelRef::parse),
            "boot" => self.boot = boot(walk, node),
            _ => return false,
        }
        true
    }
}

fn part(walk: &mut Walk, node: &Node<'_>) -> SystemPart {
    let mut part = SystemPart::default();
    if let Some(table) = node.get_ref().as_table() {
        walk.table(
            table,
            &node.span(),
            &tables::SYSTEM_PART,
            &mut part,
            |part, walk, key, node| {
                if !part.read(walk, key, node) {
                    walk::unread("target", key);
                }
            },
        );
    }
    part
}

impl EffectiveSystem<'_> {
    /// Gives the components that images take files of.
    pub fn taken(&self) -> impl Iterator<Item = &Spanned<ComponentRef>> {
        let contents = self.system.images.iter().flat_map(|image| &image.contents);
        contents.filter_map(|content| match &content.from {
            Content::Component(component, _) => Some(component),
            Content::Kernel | Content::Image(_) => None,
        })
    }
}

impl KernelRef {
    /// Reads `COMPONENT:PATH`.
    pub fn parse(text: &str) -> Option<Self> {
        let (component, path) = text.split_once(':')?;
        Some(Self { component: component.to_owned(), path: path.to_owned() })
    }
}
