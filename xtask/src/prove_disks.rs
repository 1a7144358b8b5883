//! Disk images, and machines with disks, proved through the program.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::root;
use crate::workshop::Workshop;

/// A system that is only files: an owner, a mode, a device and a hard link that no user could make here.
const FILES: &str = "name = \"files\"\nkernel = \"words:usr/words\"\noverlays = [\"overlay\"]\nmanifest = \"manifest\"\n\
    [[image]]\nname = \"root\"\nformat = \"ext4\"\n\
    [[image]]\nname = \"roomy\"\nformat = \"ext4\"\nsize = \"64M\"\n\
    [[image]]\nname = \"small\"\nformat = \"erofs\"\n\
    [[image]]\nname = \"smaller\"\nformat = \"erofs\"\ncompression = \"xz\"\nlevel = 9\n\
    [[image]]\nname = \"sound\"\nformat = \"btrfs\"\n\
    [[image]]\nname = \"packed\"\nformat = \"squashfs\"\n\
    [[image]]\nname = \"plain\"\nformat = \"squashfs\"\ncompression = \"none\"\n\
    [[image]]\nname = \"esp\"\nformat = \"fat\"\nlabel = \"ESP\"\n\
    [[image.content]]\npath = \"EFI/BOOT/A long name.squashfs\"\nimage = \"packed\"\n\
    [[image.content]]\npath = \"EFI/greeting\"\ncomponent = \"words:said\"\nfrom = \"said\"\n\
    [[image]]\nname = \"large\"\nformat = \"fat\"\nsize = \"600M\"\n\
    [[image.content]]\npath = \"inner.fat\"\nimage = \"esp\"\n\
    [[image.content]]\npath = \"boot/kernel\"\nkernel = true\n\
    [[image]]\nname = \"middle\"\nformat = \"fat\"\nsize = \"16M\"\n\
    [[image.content]]\npath = \"a\"\nkernel = true\n\
    [[image]]\nname = \"small-esp\"\nformat = \"fat\"\nsize = \"1M\"\n\
    [[image.content]]\npath = \"a\"\nimage = \"packed\"\n";
/// What the system of files has in its FAT images.
const WORDS: &str = "name = \"words\"\nversion = \"1\"\n[outputs]\nsaid = [\"said\"]\n[[step]]\nname = \"install\"\n\
    run = 'mkdir $OUTPUT/usr; echo a kernel > $OUTPUT/usr/words; echo hello from a partition > $OUTPUT/said'\n";
const MANIFEST: &str = "d . 0711 7 8\nd dev 0755 root root\nc dev/console 0600 root root 5 1\nf etc/greeting 0644 root root\n\
    f etc/secret 4700 70000 70001\nh etc/also=etc/secret\n";

fn write_files(shop: &Workshop) -> Result<()> {
    shop.write("recipes/words.toml", WORDS)?;
    shop.write("systems/files/system.toml", FILES)?;
    shop.write("systems/files/manifest", MANIFEST)?;
    shop.write("systems/files/overlay/etc/greeting", "hello from a disk\n")?;
    shop.write("systems/files/overlay/etc/secret", &"a line of many\n".repeat(100_000))
}

/// Images are made without any right, are sound, and have the same bytes in another folder and store.
pub(crate) fn images(store: &Path) -> Result<()> {
    let names = [
        "root.ext4",
        "roomy.ext4",
        "small.erofs",
        "smaller.erofs",
        "sound.btrfs",
        "packed.squashfs",
        "plain.squashfs",
        "esp.fat",
        "large.fat",
        "middle.fat",
        "small-esp.fat",
    ];
    let mut first: Vec<Vec<u8>> = Vec::new();
    let other = store.with_file_name("proof-store-images");
    for (name, store) in [("images", store), ("images/again/in-another-folder", &other)] {
        let shop = Workshop::new(name, store)?;
        write_files(&shop)?;
        if let Some(lock) = (!first.is_empty()).then(|| root().join("target/proofs/images.lock")) {
            std::fs::copy(lock, shop.project.join("osier.lock"))?;
        }
        shop.good(&["build", "files", "--out", "made"])?;
        let read = |name: &&str| std::fs::read(shop.project.join("made").join(name));
        let bytes = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if first.is_empty() {
            std::fs::copy(
                shop.project.join("osier.lock"),
                root().join("target/proofs/images.lock"),
            )?;
            first = bytes;
            let again = shop.good(&["build", "files", "--out", "made"])?;
            ensure!(!again.contains("   run  "), "nothing should be made again:\n{again}");
            made_again(&shop)?;
            // A size into which the files do not go is said as what it is.
            shop.write("systems/files/system.toml", &FILES.replace("\"64M\"", "\"1M\""))?;
            let words = ["build", "files", "--out", "made"];
            shop.bad(&words, 1, &["error[S001]", "roomy@x86_64:mke2fs", "a larger `size`"])?;
            read_back(&shop)?;
        } else {
            for ((name, bytes), first) in names.iter().zip(&bytes).zip(&first) {
                ensure!(bytes == first, "{name} has other bytes in another folder and store");
            }
            shop.good(&["gc", "--all"])?;
        }
    }
    println!("prove images: {} are the same bytes from two folders and stores", names.join(", "));
    Ok(())
}

/// An image of files is made again when an output that they are from changes, and for no other.
fn made_again(shop: &Workshop) -> Result<()> {
    let changes = [
        ("a kernel", ["middle", "large"], ["esp", "small-esp"]),
        ("hello", ["esp", "large"], ["middle", "small-esp"]),
    ];
    for (old, made, kept) in changes {
        shop.write("recipes/words.toml", &WORDS.replace(old, "another"))?;
        let text = shop.good(&["build", "files", "--out", "made"])?;
        for image in made {
            ensure!(text.contains(&format!("run  files/{image}@x86_64:write")), "{image}:\n{text}");
        }
        for image in [kept.as_slice(), &["packed", "root", "_root"]].concat() {
            ensure!(!text.contains(&format!("files/{image}@")), "{image}:\n{text}");
        }
        shop.write("recipes/words.toml", WORDS)?;
        shop.good(&["build", "files", "--out", "made"])?;
    }
    Ok(())
}

/// Reads squashfs and FAT images by programs that are not their writers'.
const READER: &str = r#"name = "look"
version = "1"
source = { path = "images" }
packages = ["squashfs-tools-ng", "7zip"]
[[step]]
name = "look"
run = """
for image in *.squashfs; do
  echo "$image:"
  rdsquashfs -s / $image
  rdsquashfs -d $image
  rdsquashfs -c etc/greeting $image
  sqfs2tar $image | tar --numeric-owner -tvf -
done
for image in *.fat; do
  echo "$image:"
  7zz l -slt $image
  7zz x -o$image.files $image >&2
done
cat esp.fat.files/EFI/greeting
cmp middle.fat.files/a large.fat.files/boot/kernel
cat middle.fat.files/a
cmp large.fat.files/inner.fat esp.fat
cmp "esp.fat.files/EFI/BOOT/A long name.squashfs" packed.squashfs
cmp small-esp.fat.files/a packed.squashfs
cp *.squashfs $OUTPUT
"""
"#;

fn read_back(shop: &Workshop) -> Result<()> {
    shop.write("recipes/look/recipe.toml", READER)?;
    let squashfs: &[&str] = &[
        "Access: 0711\nUID: 7 (",
        "GID: 8 (",
        "nod dev/console 0600 0 0 c 5 1\n",
        "hello from a disk\n",
        "-rws------ 70000/70001 1500000 2020-01-01 00:00 etc/also\n",
        "etc/secret link to etc/also\n",
    ];
    let esp: &[&str] = &[
        "Label = ESP\n",
        "File System = FAT12\n",
        "A long name.squashfs\n",
        "Modified = 2020-01-01 00:00:00\n",
    ];
    let images = [
        ("packed.squashfs", squashfs),
        ("plain.squashfs", squashfs),
        ("esp.fat", esp),
        ("large.fat", &["File System = FAT32\n"]),
        ("middle.fat", &["File System = FAT16\n"]),
        ("small-esp.fat", &["File System = FAT12\n"]),
    ];
    for (name, _) in images {
        let bytes = std::fs::read(shop.project.join("made").join(name))?;
        shop.write(&format!("recipes/look/images/{name}"), &bytes)?;
    }
    shop.good(&["build", "look"])?;
    let log = shop.good(&["log", "look:look"])?;
    for (name, lines) in images {
        let (_, said) = log.split_once(&format!("\n{name}:\n")).context("it was looked at")?;
        for line in lines {
            ensure!(said.contains(line), "{name} should have `{line}`:\n{said}");
        }
    }
    for line in ["\nhello from a partition\n", "\na kernel\n"] {
        ensure!(log.contains(line), "the FAT images hold other files:\n{log}");
    }
    Ok(())
}

/// What the library's smallest kernel lacks for disks, and for a challenge without an initramfs.
const FRAGMENT: &str = "CONFIG_PCI=y\nCONFIG_BLOCK=y\nCONFIG_BLK_DEV=y\nCONFIG_VIRTIO_MENU=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\n\
    CONFIG_EXT4_FS=y\nCONFIG_MISC_FILESYSTEMS=y\nCONFIG_EROFS_FS=y\nCONFIG_EROFS_FS_ZIP=y\nCONFIG_EROFS_FS_ZIP_LZMA=y\nCONFIG_BTRFS_FS=y\nCONFIG_SQUASHFS=y\nCONFIG_SQUASHFS_ZSTD=y\n\
    CONFIG_VFAT_FS=y\nCONFIG_NLS_CODEPAGE_437=y\nCONFIG_NLS_ISO8859_1=y\n\
    CONFIG_DEVTMPFS_MOUNT=y\nCONFIG_FW_CFG_SYSFS=y\nCONFIG_FW_CFG_SYSFS_CMDLINE=y\n";
const MACHINE: &str = "architecture = \"x86_64\"\nboard = \"q35\"\nconsole = \"ttyS0\"\n";
const DISKS: &str = "[[disk]]\nname = \"root\"\nsystem = \"files\"\nread_only = true\n\
    [[disk]]\nname = \"packed\"\nsystem = \"files\"\nimage = \"smaller\"\nread_only = true\n\
    [[disk]]\nname = \"kept\"\nblank = \"1M\"\nkeep = true\n\
    [[disk]]\nname = \"fresh\"\nblank = \"1M\"\n\
    [[disk]]\nname = \"copy\"\nsystem = \"files\"\n\
    [[disk]]\nname = \"esp\"\nsystem = \"files\"\nimage = \"esp\"\nread_only = true\n";
/// Shows what is on each disk, then writes to all of them.
const INIT: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
echo "osier-booted:$(cat /.osier/challenge)"
look() {
  mount -t $1 -o ro $2 /mnt && echo "$2: $(cat /mnt/etc/greeting) $(stat -c '%a %u %g %h' /mnt/etc/also)"
  umount /mnt
}
text() { value=$(head -c 9 $1 | tr -d '\0'); echo "$1: ${value:-nothing}"; }
look ext4 /dev/vda
look erofs /dev/vdb
text /dev/vdc
text /dev/vdd
look ext4 /dev/vde
mount -t vfat -o ro /dev/vdf /mnt && cat /mnt/efi/GREETING && umount /mnt
for disk in a b c d e f; do echo 'a value' > /dev/vd$disk && echo "written: vd$disk"; done
sync
reboot -f
"#;
const INIT_ON_DISK: &str = r#"#!/bin/sh
mount -t sysfs sysfs /sys
echo "osier-booted:$(cat /sys/firmware/qemu_fw_cfg/by_name/opt/osier/challenge/raw)"
reboot -f
"#;
const TOOLS: &str = "d proc 0755 root root\nd sys 0755 root root\nd mnt 0755 root root\nd dev 0755 root root\n\
    c dev/console 0600 root root 5 1\nf init 0755 root root\nf bin/busybox 0755 root root\ns bin/*\ns sbin/reboot\n";

/// Machines with disks: another system's image, kept and fresh ones, and a root file system without an initramfs.
/// It compiles a kernel of its own, some four minutes of CPU time.
pub(crate) fn disks(store: &Path) -> Result<()> {
    let shop = Workshop::new("disks", store)?;
    std::fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    write_files(&shop)?;
    let library = root().join("recipes/linux");
    let recipe = std::fs::read_to_string(library.join("recipe.toml"))?;
    let fragments = "fragments = [\"serial-initrd.config\"]";
    ensure!(recipe.contains(fragments), "the library's recipe has other fragments");
    let more = "fragments = [\"serial-initrd.config\", \"disks.config\"]";
    shop.write("recipes/linux/recipe.toml", &recipe.replace(fragments, more))?;
    let serial = std::fs::read(library.join("serial-initrd.config"))?;
    shop.write("recipes/linux/serial-initrd.config", &serial)?;
    shop.write("recipes/linux/disks.config", FRAGMENT)?;

    let boot = |texts: [&str; 8]| {
        let expect = |text: &&str| format!("{{ expect = \"{text}\" }}");
        let expected: Vec<String> = texts.iter().map(expect).collect();
        format!(
            "[[boot.run]]\nscript = [{{ booted = true }}, {}, {{ end = \"reboot\" }}]\n",
            expected.join(", ")
        )
    };
    let look = ["/dev/vda", "/dev/vdb", "/dev/vde"]
        .map(|disk| format!("{disk}: hello from a disk 4700 70000 70001 2"));
    let [ext4, erofs, copy] = look.each_ref().map(String::as_str);
    let runs = [
        boot([
            ext4,
            erofs,
            "/dev/vdc: nothing",
            "/dev/vdd: nothing",
            copy,
            "hello from a partition",
            "written: vdc",
            "written: vde",
        ]),
        // Of what was written only the kept disk has anything.
        boot([
            ext4,
            erofs,
            "/dev/vdc: a value",
            "/dev/vdd: nothing",
            copy,
            "hello from a partition",
            "written: vdc",
            "written: vde",
        ]),
    ];
    let system = "components = [\"busybox\"]\noverlays = [\"overlay\"]\nmanifest = \"manifest\"\nkernel = \"linux:boot/vmlinuz\"\n";
    shop.write("machines/disks.toml", &format!("name = \"disks\"\n{MACHINE}{DISKS}"))?;
    shop.write(
        "systems/guest/system.toml",
        &format!(
            "name = \"guest\"\n{system}[[image]]\nname = \"start\"\nformat = \"initramfs\"\n[boot]\nmachine = \"disks\"\n{}",
            runs.concat()
        ),
    )?;
    shop.write("systems/guest/manifest", TOOLS)?;
    shop.write("systems/guest/overlay/init", INIT)?;
    shop.good(&["boot", "guest"])?;
    for number in ["", "-2"] {
        let log = shop.project.join(format!("out/guest-x86_64/serial{number}.log"));
        let text = std::fs::read_to_string(&log).context("the console was recorded")?;
        for disk in ["vda", "vdb", "vdf"] {
            ensure!(
                !text.contains(&format!("written: {disk}")),
                "{disk} is not read-only:\n{text}"
            );
        }
    }
    println!("prove disks: another system's images, a kept and a fresh disk over two boots");

    for format in ["ext4", "erofs", "btrfs", "squashfs"] {
        let own = "root=/dev/vda init=/init qemu_fw_cfg.ioport=12@0x510:0:1:4";
        shop.write(
            &format!("machines/{format}.toml"),
            &format!("name = \"{format}\"\n{MACHINE}[[disk]]\nname = \"root\"\nsystem = \"{format}\"\nread_only = true\n"),
        )?;
        shop.write(
            &format!("systems/{format}/system.toml"),
            &format!(
                "name = \"{format}\"\n{system}[[image]]\nname = \"root\"\nformat = \"{format}\"\n[boot]\nmachine = \"{format}\"\nappend = \"{own} rootfstype={format}\"\n[[boot.run]]\nscript = [{{ booted = true }}, {{ end = \"reboot\" }}]\n"
            ),
        )?;
        shop.write(&format!("systems/{format}/manifest"), TOOLS)?;
        shop.write(&format!("systems/{format}/overlay/init"), INIT_ON_DISK)?;
        shop.good(&["boot", format])?;
        println!("prove disks: a root file system on a disk, {format}, without an initramfs");
    }
    Ok(())
}
