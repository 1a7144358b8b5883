//! The values that come out of valid files.

use osier_recipe::{
    Action, Backing, Compression, Content, End, Format, Image, MachineFile, Project, Recipe,
    SourceKind, System, Target, Value,
};

use crate::{MACHINE, PROJECT, RECIPE, SYSTEM};

#[test]
fn a_recipe_keeps_every_value_with_its_place() {
    let recipe = Recipe::parse("busybox.toml", RECIPE, Some("busybox")).unwrap();
    assert_eq!(recipe.kind_name(), "kconfig");
    let needs: Vec<_> = recipe.base.needs.iter().map(ToString::to_string).collect();
    assert_eq!(needs, ["zlib", "musl:dev"]);
    for need in &recipe.base.needs {
        assert_eq!(RECIPE[need.span.clone()], format!("\"{need}\""));
    }
    let setting = recipe.base.with.get("defconfig").unwrap();
    assert_eq!(&RECIPE[setting.key.clone()], "defconfig");
    assert_eq!(setting.value.value, Value::String("allnoconfig".into()));
    assert_eq!(recipe.origin.line(&recipe.base.env.get("CFLAGS").unwrap().span), 12);
    assert_eq!(recipe.outputs.get("dev").unwrap().len(), 2);
    assert_eq!(recipe.profiles["debug"].env.get("CFLAGS").unwrap().value, "-Og -g");
    assert!(recipe.supports(Target::Aarch64));
    let names: Vec<_> = recipe.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["busybox", "fonts"]);
    assert!(matches!(recipe.sources[0].kind, SourceKind::Debian { patches: true, .. }));
    assert!(matches!(
        recipe.sources[1].kind,
        SourceKind::Url { strip: 0, unpack: true, size: Some(2_480_624), .. }
    ));
    let urls = recipe.sources[1].urls("1.35.0");
    assert_eq!(urls[0], "https://example.org/fonts-1.35.0.tar.xz");
}

#[test]
fn a_small_recipe_needs_few_lines() {
    let text = "name = \"a\"\n[[step]]\nname = \"build\"\nrun = \"true\"\n";
    let recipe = Recipe::parse("a.toml", text, Some("a")).unwrap();
    assert_eq!(recipe.kind_name(), "script");
    assert!(recipe.supports(Target::X86_64) && recipe.version.is_none());
}

#[test]
fn numbers_are_read_in_every_notation() {
    for (text, size) in [("1_000", 1000), ("0x1F", 31), ("0o17", 15), ("0b101", 5), ("+7", 7)] {
        let hash = "a".repeat(64);
        let text = format!(
            "name='a'\nversion='1'\nsource={{url='http://h/a',sha256='{hash}',size={text}}}"
        );
        let recipe = Recipe::parse("a", &text, None).unwrap();
        assert!(
            matches!(recipe.sources[0].kind, SourceKind::Url { size: Some(found), .. } if found == size)
        );
    }
}

#[test]
fn a_source_can_say_how_its_file_is_packed() {
    let recipe = |keys: &str| {
        let url = format!("url='http://h/download?id=7',sha256='{}'", "a".repeat(64));
        Recipe::parse("a", &format!("name='a'\nversion='1'\nsource={{{url}{keys}}}"), None)
    };
    let format = |keys: &str| match &recipe(keys).unwrap().sources[0].kind {
        SourceKind::Url { format, .. } => format.clone(),
        _ => None,
    };
    assert_eq!(format(""), None);
    assert_eq!(format(",format='tar.gz'").as_deref(), Some("tar.gz"));
    for (keys, says) in [
        (",format='tgz'", "`format` cannot be `tgz`"),
        (",format='rar'", "`format`"),
        (",format='gz',unpack=false", "leave one of them out"),
    ] {
        let wrong = format!("{:?}", recipe(keys).unwrap_err());
        assert!(wrong.contains(says), "{keys}: {wrong}");
    }
}

#[test]
fn an_image_of_files_names_each_with_where_it_comes_from() {
    let text = "name = \"x\"\nkernel = \"linux:boot/vmlinuz\"\n[[image]]\nname = \"esp\"\nformat = \"fat\"\nlabel = \"ESP 1\"\n\
        [[image.content]]\npath = \"EFI/BOOT/BOOTX64.EFI\"\nkernel = true\n\
        [[image.content]]\npath = \"inner\"\nimage = \"inner\"\n\
        [[image]]\nname = \"inner\"\nformat = \"fat\"\nsize = \"1M\"\n\
        [[image.content]]\npath = \"a\"\ncomponent = \"grub:efi\"\nfrom = \"usr/a\"\n";
    let system = System::parse("system.toml", text, None).unwrap();
    let [esp, inner] = system.images.as_slice() else { panic!("two images") };
    assert_eq!(esp.label.as_ref().unwrap().as_str(), "ESP 1");
    assert_eq!(esp.file_name(), "esp.fat");
    assert_eq!(esp.contents[0].path.as_str(), "EFI/BOOT/BOOTX64.EFI");
    assert_eq!(esp.contents[0].from, Content::Kernel);
    assert!(matches!(&esp.contents[1].from, Content::Image(name) if name.value == "inner"));
    let Content::Component(component, from) = &inner.contents[0].from else { panic!("component") };
    assert_eq!((component.to_string(), from.as_str()), ("grub:efi".into(), "usr/a"));
    let effective = system.effective(Target::X86_64);
    assert_eq!(effective.taken().map(ToString::to_string).collect::<Vec<_>>(), ["grub:efi"]);
}

#[test]
fn images_of_disks_have_their_own_defaults_and_are_not_booted_from() {
    let text = "name = \"x\"\nmanifest = \"m\"\n[[image]]\nname = \"root\"\nformat = \"ext4\"\nsize = \"64M\"\n[[image]]\nname = \"small\"\nformat = \"erofs\"\n[[image]]\nname = \"start\"\nformat = \"initramfs\"\n[[image]]\nname = \"packed\"\nformat = \"squashfs\"\n";
    let system = System::parse("system.toml", text, None).unwrap();
    let files: Vec<String> = system.images.iter().map(Image::file_name).collect();
    assert_eq!(files, ["root.ext4", "small.erofs", "start.cpio.zst", "packed.squashfs"]);
    let root = system.image("root").unwrap();
    assert_eq!(
        (root.format, root.compression, root.size),
        (Format::Ext4, Compression::None, Some(64 << 20))
    );
    let small = system.image("small").unwrap();
    assert_eq!(
        (small.format, small.compression, small.size),
        (Format::Erofs, Compression::Lz4, None)
    );
    assert_eq!(system.effective(Target::X86_64).boot_image.unwrap().name.value, "start");
    let (disks, _) = text.split_once("[[image]]\nname = \"start\"").unwrap();
    let system = System::parse("system.toml", disks, None).unwrap();
    assert!(system.effective(Target::X86_64).boot_image.is_none());
}

#[test]
fn a_system_changes_with_the_target() {
    let system = System::parse("system.toml", SYSTEM, Some("initrd")).unwrap();
    let image = &system.images[0];
    assert_eq!(
        (image.compression, image.level, image.file_name().as_str()),
        (Compression::Zstd, Some(3), "initrd.cpio.zst")
    );
    let x86 = system.effective(Target::X86_64);
    assert_eq!(x86.kernel.unwrap().path, "boot/vmlinuz");
    assert_eq!(x86.machine.unwrap().value, "q35");
    let arm = system.effective(Target::Aarch64);
    assert_eq!(arm.kernel.unwrap().path, "boot/Image");
    assert_eq!(arm.machine.unwrap().value, "virt");
    // What the target does not say stays.
    assert_eq!((arm.append.unwrap().value.as_str(), arm.runs.len()), ("quiet", 2));
    assert_eq!(arm.boot_image.unwrap().name.value, "initrd");
    assert_eq!(arm.runs[0].script[0].value, Action::Booted { within: Some(20) });
    assert_eq!(arm.runs[1].script[1].value, Action::End { how: End::Poweroff, within: None });
}

#[test]
fn machines_and_projects_have_defaults() {
    let machine = MachineFile::parse("q35.toml", MACHINE, Some("q35")).unwrap();
    assert!(
        matches!(&machine.disks[0].backing, Backing::System { system, .. } if system.value == "rootfs")
    );
    assert_eq!(
        (&machine.disks[1].backing, machine.disks[1].bus),
        (&Backing::Blank { size: 1 << 30 }, "nvme")
    );
    let text = "name='m'\narchitecture='amd64'\nboard='q35'\nconsole='ttyS0'";
    let machine = MachineFile::parse("m.toml", text, None).unwrap();
    assert_eq!(
        (machine.architecture, machine.memory, machine.cpus),
        (Target::X86_64, 256 << 20, 1)
    );
    let project = Project::parse("osier.toml", PROJECT).unwrap();
    assert_eq!((project.default.unwrap().value.as_str(), project.jobs), ("initrd", Some(4)));
}
