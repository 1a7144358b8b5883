//! Images that are made of files: kernels, other images, files of components.

use std::fs;

use crate::changes::{SCRIPT_KIND, pin_programs_as};
use crate::space::Space;

const KERNEL: &str = "name = \"kernel\"
version = \"1\"
[[step]]
name = \"install\"
run = '''
mkdir \"$OUTPUT/boot\"
echo a kernel > \"$OUTPUT/boot/vmlinuz\"
'''
";
const LOADER: &str = "name = \"loader\"
version = \"1\"
[outputs]
efi = [\"efi/**\"]
[[step]]
name = \"install\"
run = '''
mkdir \"$OUTPUT/efi\"
echo a loader > \"$OUTPUT/efi/loader.efi\"
echo beside > \"$OUTPUT/beside\"
'''
";
const SYSTEM: &str = "name = \"boots\"
overlays = [\"overlay\"]
manifest = \"manifest\"
kernel = \"kernel:boot/vmlinuz\"
[[image]]
name = \"esp\"
format = \"fat\"
label = \"ESP\"
[[image.content]]
path = \"EFI/BOOT/BOOTX64.EFI\"
component = \"loader:efi\"
from = \"efi/loader.efi\"
[[image.content]]
path = \"vmlinuz\"
kernel = true
[[image.content]]
path = \"A long name/initrd\"
image = \"initrd\"
[[image]]
name = \"initrd\"
format = \"initramfs\"
compression = \"none\"
";
const BUILD: [&str; 4] = ["--offline", "--locked", "build", "boots"];

/// What is pinned as the programs that make a FAT image makes none: all here ends before.
const FAT: &str = "\"dash\", \"dosfstools\", \"mtools\"";

fn space(system: &str) -> Space {
    let space = Space::new(&[
        ("osier.toml", "name = \"p\"\n"),
        SCRIPT_KIND,
        ("recipes/kernel.toml", KERNEL),
        ("recipes/loader.toml", LOADER),
        ("systems/boots/system.toml", system),
        ("systems/boots/manifest", "f etc/motd 0644 root root\n"),
        ("systems/boots/overlay/etc/motd", "welcome\n"),
    ]);
    pin_programs_as(&space, &[("bookworm", "\"programs\""), ("trixie", FAT)]);
    space
}

#[test]
fn what_an_image_cannot_take_is_told_with_its_line() {
    let cases = [
        ("image = \"initrd\"", "image = \"initd\"", "system.toml:18", "did you mean `initrd`?"),
        ("image = \"initrd\"", "image = \"esp\"", "system.toml:18", "`esp` contains itself"),
        ("loader:efi", "loader:eif", "system.toml:11", "`eif`"),
        ("loader:efi", "loadr:efi", "system.toml:11", "`loadr`"),
        ("path = \"vmlinuz\"", "path = \"vm?linuz\"", "system.toml:14", "FAT file system can hold"),
        ("efi/loader.efi", "efi/loader", "system.toml:10", "which loader:efi does not install"),
        ("label = \"ESP\"", "label = \"esp\"", "system.toml:8", "write `ESP`"),
        ("label = \"ESP\"", "size = \"8K\"", "system.toml:8", "at least 64K"),
        ("kernel = \"kernel:boot/vmlinuz\"", "summary = \"x\"", "system.toml:14", "no kernel"),
    ];
    for (old, new, place, says) in cases {
        let space = space(&SYSTEM.replacen(old, new, 1));
        let (status, text) = space.fails(&BUILD);
        assert!(text.contains(place) && text.contains(says), "{new}: {status}\n{text}");
        // Only what components install is known no earlier than they are built.
        assert_eq!(text.contains("run  "), new == "efi/loader", "{text}");
    }
}

#[test]
fn files_that_do_not_fit_an_image_are_told_with_the_size_that_they_need() {
    let system = SYSTEM.replacen("label = \"ESP\"", "size = \"64K\"", 1);
    let space = space(&system);
    let recipe = KERNEL.replace("echo a kernel", "head -c 3000000 /dev/zero");
    fs::write(space.project().join("recipes/kernel.toml"), recipe).unwrap();
    let (status, text) = space.fails(&BUILD);
    assert_eq!(status, 1, "{text}");
    let parts = ["esp.fat", "its size is 65536 bytes", "write `size = \"4M\"` or more"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn the_graph_shows_what_an_image_is_made_of() {
    let space = space(SYSTEM);
    let graph = space.prints(&["--json", "graph", "boots"]);
    let graph: serde_json::Value = serde_json::from_str(&graph).unwrap();
    let takes = |name: &str| {
        let components = graph["components"].as_array().unwrap();
        let found = components.iter().find(|component| component["name"] == name).unwrap();
        let uses = found["uses"].as_array().unwrap().iter().filter(|one| one["how"] == "need");
        uses.map(|one| one["component"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let [esp, initrd, root] =
        ["esp", "initrd", "_root"].map(|part| takes(&format!("boots/{part}@x86_64")));
    assert_eq!(esp, ["loader", "kernel", "boots/initrd@x86_64"]);
    assert_eq!(initrd, ["boots/_root@x86_64"]);
    assert!(root.is_empty(), "{root:?}");
}
