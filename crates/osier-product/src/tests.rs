//! Products in graphs, and what their steps make.

use std::collections::BTreeMap;

use osier_build::{
    Component, ComponentId, Environment, Field, Graph, Make, MakeError, MakePlace, Package, Work,
};
use osier_image::Role;
use osier_recipe::{Format, Image, ImageTool, System, Target};
use osier_store::{Digest, Key, Store, Tree, TreeNode};

use crate::compose::{PartArea, Parts};
use crate::node::{AreaFrom, ComposeRoot, RootArea, TakenFile, WriteImage};
use crate::plan::{Product, add, is_product};

const SYSTEM: &str = "name = \"tiny\"\ncomponents = [\"stuff\"]\noverlays = [\"files\"]\nmanifest = \"manifest\"\n\
    [[image]]\nname = \"initrd\"\nformat = \"initramfs\"\ncompression = \"none\"\n\
    [[image]]\nname = \"root\"\nformat = \"ext4\"\n\
    [[image]]\nname = \"small\"\nformat = \"erofs\"\n\
    [[image]]\nname = \"sound\"\nformat = \"btrfs\"\n\
    [[image]]\nname = \"packed\"\nformat = \"squashfs\"\n";

/// A system of files: an image in an image, which comes first, beside a kernel and a file of a component.
const ESP: &str = "name = \"tiny\"\nmanifest = \"manifest\"\nkernel = \"linux:boot/vmlinuz\"\n\
    [[image]]\nname = \"esp\"\nformat = \"fat\"\nlabel = \"ESP\"\n\
    [[image.content]]\npath = \"EFI/BOOT/BOOTX64.EFI\"\nkernel = true\n\
    [[image.content]]\npath = \"initrd\"\nimage = \"initrd\"\n\
    [[image.content]]\npath = \"cmdline\"\ncomponent = \"stuff\"\nfrom = \"etc/cmdline\"\n\
    [[image.content]]\npath = \"map\"\ncomponent = \"linux\"\nfrom = \"boot/map\"\n\
    [[image]]\nname = \"initrd\"\nformat = \"initramfs\"\ncompression = \"none\"\n";

/// What is changed, and how.
type Change<T> = (&'static str, fn(&mut T));

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("store"), "boot").unwrap()
}

fn tree(store: &Store, files: &[(&str, &str)]) -> Digest {
    let mut tree = Tree::default();
    for (path, text) in files {
        for (at, _) in path.match_indices('/') {
            tree.insert(path[..at].into(), TreeNode::Folder { mode: 0o755 });
        }
        let content = store.put_bytes(text.as_bytes()).unwrap();
        let node =
            TreeNode::File { mode: 0o644, content, size: text.len() as u64, hard_link: None };
        tree.insert((*path).into(), node);
    }
    store.put_tree(&tree).unwrap()
}

fn parts(store: &Store, manifest: &str) -> Parts {
    let users = "root:x:0:0::/:/bin/sh\n";
    let files = [("etc/passwd", users), ("etc/group", "root:x:0:\n"), ("etc/motd", "m\n")];
    Parts {
        areas: vec![PartArea {
            name: "overlay files".into(),
            role: Role::Overlay,
            tree: tree(store, &files),
            place: "systems/tiny/files".into(),
        }],
        manifest: ("manifest".into(), manifest.into()),
        accounts: [None, None],
    }
}

fn compose(store: &Store, manifest: &str) -> ComposeRoot {
    let Parts { areas, manifest, accounts } = parts(store, manifest);
    ComposeRoot {
        areas: vec![
            area(&areas[0].name, AreaFrom::Overlay(areas[0].tree)),
            area("component stuff", AreaFrom::Need(0)),
        ],
        manifest,
        accounts,
        place: "systems/tiny/system.toml".into(),
    }
}

fn area(name: &str, from: AreaFrom) -> RootArea {
    RootArea { name: name.into(), from, place: "systems/tiny/system.toml:2".into() }
}

fn write_image(image: &Image) -> WriteImage {
    let place = "systems/tiny/system.toml:4".into();
    WriteImage { image: image.clone(), files: Vec::new(), place }
}

fn fields(make: &dyn Make) -> Vec<(String, String)> {
    let mut all = Vec::new();
    make.fields(&mut |Field { name, value, .. }| all.push((name.to_owned(), format!("{value:?}"))));
    all
}

/// Does the work of a step; gives its log and the files that it has left, by folder.
fn made(
    make: &dyn Make,
    store: &Store,
    needs: &[Digest],
) -> Result<(String, BTreeMap<String, Vec<u8>>), MakeError> {
    let folder = tempfile::tempdir().unwrap();
    let (build, output) = (folder.path().join("build"), folder.path().join("output"));
    let places = [&build, &output];
    places.iter().for_each(|place| std::fs::create_dir(place).unwrap());
    let said = make.make(&MakePlace { store, needs, jobs: 2, build: &build, output: &output })?;
    let (mut files, root) = (BTreeMap::new(), folder.path());
    let mut open: Vec<_> = places.into_iter().cloned().collect();
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if entry.is_symlink() {
                let to = std::fs::read_link(entry).unwrap();
                files.insert(name, to.into_os_string().into_encoded_bytes());
            } else if entry.is_dir() {
                open.push(entry);
            } else {
                files.insert(name, std::fs::read(entry).unwrap());
            }
        }
    }
    Ok((said, files))
}

#[test]
fn each_thing_that_a_root_is_made_of_is_in_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let base = || compose(&store, "f etc/motd 0600 root root\n");
    let changes: [Change<ComposeRoot>; 7] = [
        ("an overlay", |root| root.areas[0].from = AreaFrom::Overlay(Digest([7; 32]))),
        ("its name", |root| root.areas[0].name.push('x')),
        ("the order", |root| root.areas.reverse()),
        ("one area less", |root| drop(root.areas.pop())),
        ("the manifest", |root| root.manifest.1.push('#')),
        ("the users", |root| root.accounts[0] = Some("etc/users".into())),
        ("the groups", |root| root.accounts[1] = Some("etc/users".into())),
    ];
    for (what, change) in changes {
        let mut root = base();
        change(&mut root);
        assert_ne!(fields(&root), fields(&base()), "{what}");
    }
    // Where a person finds these things is none.
    let mut root = base();
    root.manifest.0 = "elsewhere".into();
    root.place = "elsewhere".into();
    root.areas[0].place = "elsewhere".into();
    assert_eq!(fields(&root), fields(&base()));
}

#[test]
fn each_thing_that_an_image_is_written_by_is_in_its_key() {
    let system = System::parse("system.toml", SYSTEM, None).unwrap();
    let all: Vec<_> = system.images.iter().map(|image| fields(&write_image(image))).collect();
    assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])));
    let base = || write_image(&system.images[1]);
    let changes: [Change<WriteImage>; 4] = [
        ("size", |write| write.image.size = Some(1 << 24)),
        ("file", |write| write.image.file = Some(osier_recipe::Spanned::new("a".into(), 0..0))),
        ("level", |write| write.image.level = Some(3)),
        ("format", |write| write.image.format = Format::Erofs),
    ];
    for (what, change) in changes {
        let mut write = base();
        change(&mut write);
        assert_ne!(fields(&write), fields(&base()), "{what}");
    }
}

#[test]
fn a_root_is_the_same_whatever_a_manifest_says_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let stuff = tree(&store, &[("usr/tool", "t"), ("usr/left", "l"), ("etc/motd", "other")]);
    let one = made(&compose(&store, "f usr/tool 0755 root root\n"), &store, &[stuff]).unwrap();
    let other = compose(&store, "# A comment.\n\nf usr/tool 0755 0 0\n");
    let other = made(&other, &store, &[stuff]).unwrap();
    assert_eq!(one.1["output/root"], other.1["output/root"]);
    // What was noticed is there, in the log as well.
    let findings = String::from_utf8(one.1["output/findings.json"].clone()).unwrap();
    for (path, area) in [("usr/left", "component stuff"), ("etc/motd", "overlay files")] {
        assert!(findings.contains(path) && one.0.contains(area), "{findings}\n{}", one.0);
    }
}

#[test]
fn images_are_made_of_the_root_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let stuff = tree(&store, &[("usr/tool", "t")]);
    let root = compose(&store, "f usr/tool 0755 root root\n");
    let text = made(&root, &store, &[stuff]).unwrap().1.remove("output/root").unwrap();
    let root = tree(&store, &[("root", std::str::from_utf8(&text).unwrap())]);
    let system = System::parse("system.toml", SYSTEM, None).unwrap();
    for image in &system.images {
        let write = write_image(image);
        let (_, files) = made(&write, &store, &[root]).unwrap();
        assert_eq!(files, made(&write, &store, &[root]).unwrap().1, "{}", image.name);
        // Either osier has written the image, or a tool finds the archive; and all but the first have commands.
        let file = format!("output/{}", image.file_name());
        assert_ne!(files.contains_key(&file), files.contains_key("build/root.tar"));
        let commands = String::from_utf8(files["build/commands"].clone()).unwrap();
        assert_eq!(commands.is_empty(), image.format == Format::Initramfs, "{commands}");
        assert!(commands.is_empty() || commands.contains(&format!("'/{file}'")), "{commands}");
    }
    // Damaged bytes are told as such, and set aside.
    let content = store.tree(&stuff).unwrap();
    let Some(TreeNode::File { content, .. }) = content.get(b"usr/tool") else { panic!("no file") };
    let place = store.blob_path(content);
    std::fs::remove_file(&place).unwrap();
    std::fs::write(&place, "u").unwrap();
    let error = made(&write_image(&system.images[0]), &store, &[root]).unwrap_err();
    assert!(matches!(error, MakeError::Blob(error) if error.digest() == Some(*content)));
    assert!(!place.exists());
}

#[test]
fn what_no_component_can_mend_is_told_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let told = |manifest: &str| match parts(&store, manifest).check(&store) {
        Ok(()) => String::new(),
        Err(MakeError::Wrong(wrong)) => format!("{}\n{}", wrong.message, wrong.lines.join("\n")),
        Err(error) => panic!("{error:?}"),
    };
    assert!(told("f etc/motd 0600 nobody root\n").contains("unknown user `nobody`"));
    assert!(told("x etc/motd 0600 root root\n").contains("manifest"));
    // Components may still deliver these.
    assert_eq!(told("f usr/tool 0755 root root\nf usr/bin/* 0755 0 0\n"), "");
    let mut unknown = parts(&store, "f usr/tool 0755 nobody root\n");
    unknown.areas.clear();
    assert!(unknown.check(&store).is_ok());
}

#[test]
fn a_system_is_a_root_and_its_images_in_the_graph() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let system = System::parse("system.toml", SYSTEM, None).unwrap();
    let effective = system.effective(Target::X86_64);
    let mut graph = graph_of(&["stuff"]);
    let package = |name: &&str| Package { name: (*name).into(), digest: Digest([1; 32]), size: 1 };
    let environment = |tool: &ImageTool| {
        let packages = tool.packages.iter().map(package).collect();
        Some(Environment { key: Key([1; 32]), request: Vec::new(), packages })
    };
    let goal = |name: &str| (name == "stuff").then_some(ComponentId(0));
    let parts = parts(&store, "f etc/motd 0600 root root\n");
    let product = Product { system: &effective, target: Target::X86_64, parts };
    let images = add(&mut graph, &product, &goal, &environment).unwrap();
    let names: Vec<_> = graph.components.iter().map(|component| component.name.as_str()).collect();
    let expected = [
        "stuff",
        "tiny/_root@x86_64",
        "tiny/initrd@x86_64",
        "tiny/root@x86_64",
        "tiny/small@x86_64",
        "tiny/sound@x86_64",
        "tiny/packed@x86_64",
    ];
    assert_eq!(names, expected);
    assert_eq!(images, [2, 3, 4, 5, 6].map(ComponentId));
    assert!(!is_product(graph.component(ComponentId(0))));
    for id in images {
        let component = graph.component(id);
        assert!(is_product(component));
        assert_eq!(component.needs[0].component, ComponentId(1));
        let works: Vec<_> = component.steps.iter().map(|id| &graph.step(*id).work).collect();
        let tool = matches!(works[..], [Work::Make(_), Work::Script { .. }]);
        assert_eq!(tool, !component.environment.packages.is_empty(), "{works:?}");
    }
    // What the system names and nobody delivers is told.
    let none = |_: &str| None;
    assert!(add(&mut graph, &product, &none, &environment).is_err());
    assert!(add(&mut graph, &product, &goal, &|_| None).is_err());
}

/// A graph of components that have no steps.
fn graph_of(names: &[&str]) -> Graph {
    let nothing = Environment { key: Key([0; 32]), request: Vec::new(), packages: Vec::new() };
    let nothing = std::sync::Arc::new(nothing);
    let mut graph = Graph::default();
    graph.components.extend(names.iter().map(|name| Component {
        name: (*name).into(),
        recipe: (*name).into(),
        version: String::new(),
        target: "x86_64".into(),
        origin: String::new(),
        steps: Vec::new(),
        needs: Vec::new(),
        tools: Vec::new(),
        outputs: Vec::new(),
        environment: nothing.clone(),
        variables: BTreeMap::new(),
        files: Vec::new(),
    }));
    graph
}

#[test]
fn an_image_of_files_needs_what_they_are_in_and_the_root_only_where_it_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let names = ["stuff", "linux"];
    let goal = |name: &str| {
        let at = names.iter().position(|known| *known == name)?;
        Some(ComponentId(u32::try_from(at).unwrap()))
    };
    let planned = |text: &str| {
        let system = System::parse("system.toml", text, None).unwrap();
        let effective = system.effective(Target::X86_64);
        let mut graph = graph_of(&names);
        let parts = parts(&store, "f etc/motd 0600 root root\n");
        let product = Product { system: &effective, target: Target::X86_64, parts };
        let tools = |_: &ImageTool| {
            Some(Environment { key: Key([1; 32]), request: Vec::new(), packages: Vec::new() })
        };
        let images = add(&mut graph, &product, &goal, &tools).unwrap();
        let needs = |id: ComponentId| {
            let component = graph.component(id);
            let needs = component.needs.iter().map(|need| &graph.component(need.component).name);
            format!("{}: {}", component.name, needs.cloned().collect::<Vec<_>>().join(" "))
        };
        let order: Vec<String> = graph.ids().skip(names.len()).map(needs).collect();
        (order, images.into_iter().map(needs).collect::<Vec<_>>())
    };
    let esp = "tiny/esp@x86_64: linux tiny/initrd@x86_64 stuff";
    let initrd = "tiny/initrd@x86_64: tiny/_root@x86_64";
    let (order, images) = planned(ESP);
    assert_eq!(order, ["tiny/_root@x86_64: ", initrd, esp]);
    assert_eq!(images, [esp, initrd]);
    // Without an image of the root there is none, and no manifest is asked for.
    let alone = "name = \"tiny\"\nkernel = \"linux:k\"\n[[image]]\nname = \"esp\"\nformat = \"fat\"\n\
        content = [{ path = \"k\", kernel = true }]\n";
    assert_eq!(planned(alone).0, ["tiny/esp@x86_64: linux"]);
}

#[test]
fn an_image_of_files_is_made_of_their_bytes_and_tells_which_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let system = System::parse("system.toml", ESP, None).unwrap();
    let write = |files: &[(&str, usize, &str)]| WriteImage {
        files: files
            .iter()
            .map(|(path, need, from)| TakenFile {
                path: (*path).into(),
                need: *need,
                from: (*from).into(),
                of: "linux".into(),
                place: "system.toml:7".into(),
            })
            .collect(),
        ..write_image(&system.images[0])
    };
    let linux = tree(&store, &[("boot/vmlinuz", "a kernel"), ("boot/map", "a map")]);
    let files = [("EFI/BOOT/BOOTX64.EFI", 0, "boot/vmlinuz"), ("map", 0, "boot/map")];
    let (_, made_once) = made(&write(&files), &store, &[linux]).unwrap();
    assert_eq!(made_once["build/files/0"], b"a kernel");
    assert_eq!(made_once["build/files/1"], b"a map");
    let commands = String::from_utf8(made_once["build/commands"].clone()).unwrap();
    assert!(commands.contains(" -n 'ESP' -F 12 -s 1 "), "{commands}");
    let rest = commands.split_once(" -C '/output/esp.fat' ").unwrap().1;
    let (_, rest) = rest.split_once('\n').unwrap();
    let expected = "mmd -i image '::EFI'\nmmd -i image '::EFI/BOOT'\n\
        mcopy -i image files/0 '::EFI/BOOT/BOOTX64.EFI'\nmcopy -i image files/1 '::map'\n\
        fsck.fat -n '/output/esp.fat'\n";
    assert_eq!(rest, expected);
    // The same files in another order are the same image; other bytes are another volume.
    let reversed = write(&[files[1], files[0]]);
    assert_eq!(made(&reversed, &store, &[linux]).unwrap().1, made_once);
    let other = tree(&store, &[("boot/vmlinuz", "b kernel"), ("boot/map", "a map")]);
    let (_, made_other) = made(&write(&files), &store, &[other]).unwrap();
    assert_ne!(made_other["build/commands"], made_once["build/commands"]);

    let missing = write(&[("a", 0, "boot"), ("b", 0, "boot/none")]);
    let Err(MakeError::Wrong(wrong)) = made(&missing, &store, &[linux]) else { panic!("made") };
    let lines = [
        "system.toml:7: `a` is to be `boot`, which linux installs as a folder",
        "system.toml:7: `b` is to be `boot/none`, which linux does not install",
    ];
    assert_eq!(wrong.lines, lines);
    let mut small = write(&files);
    small.image.size = Some(1 << 16);
    let large = tree(&store, &[("boot/vmlinuz", &"k".repeat(100_000)), ("boot/map", "a map")]);
    let Err(MakeError::Wrong(wrong)) = made(&small, &store, &[large]) else { panic!("made") };
    assert!(wrong.hint.unwrap().contains("size = \"1M\""));

    let base = fields(&write(&files));
    for (what, other) in [
        ("a path", write(&[("other", 0, "boot/vmlinuz"), files[1]])),
        ("what it is", write(&[(files[0].0, 0, "boot/other"), files[1]])),
        ("where it is", write(&[(files[0].0, 1, "boot/vmlinuz"), files[1]])),
        ("one less", write(&files[..1])),
    ] {
        assert_ne!(fields(&other), base, "{what}");
    }
    let mut unnamed = write(&files);
    unnamed.image.label = None;
    assert_ne!(fields(&unnamed), base);
}
