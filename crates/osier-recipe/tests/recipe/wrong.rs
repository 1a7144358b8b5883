//! What wrong texts give, to the letter.

use osier_recipe::FileKind::{self, Kind, Lock, Machine, Project, Recipe, System};
use osier_recipe::{CODES, Code};

use crate::{errors, rendered};

const BUILD: &str = "name = \"x\"\nsouce = { debian = \"x\" }\n";

#[test]
fn a_message_shows_place_code_line_and_near_miss() {
    let found = errors(Recipe, BUILD, Some("x"));
    assert_eq!(
        rendered(&found, BUILD),
        "recipes/x.toml:2:1: error[R003]: unknown key `souce`\n  |\n2 | souce = { debian = \"x\" }\n  | ^^^^^\n  = hint: did you mean `source`?\n"
    );
}

/// Name, kind of file and text of every wrong input.
pub(crate) const CASES: &[(&str, FileKind, &str)] = &[
    ("empty file", Recipe, ""),
    ("unknown keys", Recipe, "name = \"x\"\nnam = 1\nlicense = \"MIT\"\ndepends = [\"y\"]\n"),
    (
        "unknown key in a step",
        Recipe,
        "name = \"x\"\n[[step]]\nname = \"b\"\nrun = \"true\"\nnetwork = true\nworkdir = \"y\"\n",
    ),
    (
        "jobs and memory of a step",
        Recipe,
        "name = \"x\"\n[[step]]\nname = \"a\"\nrun = \"true\"\nparallel = false\njobs = \"share\"\n[[step]]\nname = \"b\"\nrun = \"true\"\njobs = 2\nmemory = \"2 GB\"\n[[step]]\nname = \"c\"\nrun = \"true\"\njobs = \"all\"\n",
    ),
    (
        "unknown key for a target",
        Recipe,
        "name = \"x\"\n[target.x86_64]\nversion = \"2\"\n[profile.debug]\nneed = [\"y\"]\n",
    ),
    (
        "wrong types",
        Recipe,
        "name = 1\nversion = 1.35\npackages = \"bc\"\nneeds = [\"a\", 2, [\"b\"]]\nenv = { A = 1, B = true }\nsource = \"x\"\nstep = { name = \"b\" }\nwith = { a = 1.5, b = [1] }\n[outputs]\ndev = \"usr\"\n",
    ),
    (
        "several syntax errors",
        Recipe,
        "name = x\nsuumary = \"still found\"\nversion = \"1.0\n[[step]\nname = \"b\"\nrunn = \"true\"\n[output]\nx = []\n",
    ),
    ("unclosed array", Recipe, "name = \"x\"\nneeds = [\"a\",\npackages = [\"b\"]\n"),
    (
        "duplicate keys and tables",
        Recipe,
        "name = \"x\"\nname = \"y\"\n[with]\na = 1\n[with]\nb = 2\n",
    ),
    (
        "duplicate names",
        Recipe,
        "name = \"x\"\nversion = \"1\"\nneeds = [\"a\", \"b\", \"a\"]\nsource = [{ debian = \"x\" }, { path = \"p\", name = \"x\" }]\n[[step]]\nname = \"b\"\nrun = \"1\"\n[[step]]\nname = \"b\"\nrun = \"2\"\n[target.arm64]\nneeds = [\"c\"]\n[target.aarch64]\nneeds = [\"d\"]\n",
    ),
    (
        "names",
        Recipe,
        "name = \"My Tool\"\nkind = \"\"\nneeds = [\"a:\", \"B\"]\npackages = [\"libc6:arm64\", \"a_b\"]\nlicence = \"GPL_2\"\nversion = \"-1\"\n[env]\n\"A-B\" = \"1\"\n[with]\nFlags = 1\n[outputs]\nmain = [\"a\"]\n",
    ),
    (
        "missing hash",
        Recipe,
        "name = \"x\"\nversion = \"1\"\nsource = { url = \"https://example.org/x-{version}.tar.xz\" }\n",
    ),
    (
        "hash of another form",
        Recipe,
        "name = \"x\"\nversion = \"1\"\nsource = { url = \"https://example.org/x\", sha256 = \"E3B0C442\" }\n",
    ),
    (
        "no source or several",
        Recipe,
        "name = \"x\"\n[[source]]\nname = \"a\"\n[[source]]\nname = \"b\"\ndebian = \"b\"\npath = \"b\"\n[[source]]\nname = \"c\"\npath = \"c\"\nstrip = 1\n[[source]]\ndebian = \"d\"\n",
    ),
    (
        "git addresses",
        Recipe,
        "name = \"x\"\nversion = \"1\"\nsource = [\n  { git = \"example.org/x\", commit = \"main\" },\n  { git = \"git@example.org:a/x.git\", commit = \"0123456789abcdef0123456789abcdef01234567\", name = \"b\" },\n  { git = \"https://example.org/a/x/tree/main\", commit = \"0123456789abcdef0123456789abcdef01234567\", name = \"c\" },\n  { git = \"https://example.org/a/x.tar.gz\", name = \"d\" },\n]\n",
    ),
    (
        "addresses",
        Recipe,
        "name = \"x\"\nversion = \"1\"\nsource = { url = [\"example.org/x\", \"ftp://example.org/x\", \"https://example.org/\", \"https://example.org/{vers}.tar\"], sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" }\n",
    ),
    (
        "no address",
        Recipe,
        "name = \"x\"\nversion = \"1\"\nsource = { url = [], sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" }\n",
    ),
    (
        "missing version",
        Recipe,
        "name = \"x\"\n[source]\ngit = \"https://example.org/x.git\"\ncommit = \"0123456789abcdef0123456789abcdef01234567\"\n",
    ),
    (
        "unknown targets",
        Recipe,
        "name = \"x\"\ntargets = [\"x86-64\", \"riscv64\"]\n[target.aarch46]\nneeds = [\"y\"]\n",
    ),
    (
        "paths that leave the folder",
        Recipe,
        "name = \"x\"\nfiles = [\"/etc/passwd\"]\npatches = [\"../*.patch\"]\nsource = { path = \"..\" }\n",
    ),
    (
        "steps",
        Recipe,
        "name = \"x\"\n[[step]]\nrun = \"true\"\n[[step]]\nname = \"patch\"\n[[step]]\nname = \"a\"\nfrom = \"linux\"\nreuse = { file = [\".config\"] }\nchecks = [{ config = \"a\" }, { check = \"b\", c = 1 }]\n[[step]]\nname = \"b\"\nskip = true\nrun = \"x\"\n",
    ),
    (
        "waivers",
        Recipe,
        "name = \"x\"\n[[waive]]\npatch = \"a.patch\"\n[[waive]]\npatch = \"../b.patch\"\napply = \"some\"\nreason = \" \"\n[[waive]]\npatch = \"c\"\nreason = \"r\"\n[[waive]]\npatch = \"c\"\nreason = \"r\"\n",
    ),
    (
        "values",
        Recipe,
        "name = \"x\"\nsummary = \"a\\u0000b\"\n[with]\nlist = [\"a b\", \"\"]\nbig = 99999999999999999999\n",
    ),
    (
        "columns behind other letters",
        Recipe,
        "name = \"x\"\nsummary = \"\u{1b}[31m\"\n\thomepage = \"é☃\"; x = 1\nenv = { \"é\" = \"1\" }\n",
    ),
    (
        "variables of a kind",
        Kind,
        "name = \"x\"\nenv = { a = \"1\" }\n[[var]]\nname = \"a\"\ntype = \"strng\"\ndefault = \"1\"\ndoc = \"d\"\n[[var]]\nname = \"b\"\ntype = \"integer\"\ndefault = \"1\"\ndoc = \"d\"\n[[var]]\nname = \"b\"\ntype = \"list\"\ndefault = [\"a b\"]\nrequired = true\ndoc = \"d\"\n[[var]]\nname = \"c\"\ntype = \"string\"\nrequired = false\ndoc = \"d\"\n[[var]]\nname = \"d\"\n",
    ),
    (
        "steps of a kind",
        Kind,
        "name = \"x\"\n[[step]]\nname = \"a\"\nafter = \"b\"\nskip = true\n[[step]]\nname = \"unpack\"\nrun = \"true\"\n",
    ),
    (
        "editor of a kind",
        Kind,
        "name = \"x\"\n[[step]]\nname = \"configure\"\nrun = \"true\"\n[editor]\nafter = \"confgure\"\nconfig = \"/.config\"\nrunn = \"make menuconfig\"\n",
    ),
    (
        "images",
        System,
        "name = \"x\"\n[[image]]\nname = \"a\"\nformat = \"cpio\"\n[[image]]\nname = \"a\"\nformat = \"initramfs\"\ncompression = \"gzip\"\nlevel = 19\n[[image]]\nname = \"b\"\nformat = \"initramfs\"\ncompression = \"none\"\nlevel = 1\n[boot]\nimage = \"initd\"\n",
    ),
    (
        "disk images",
        System,
        "name = \"x\"\nmanifest = \"manifest\"\n[[image]]\nname = \"a\"\nformat = \"jffs2\"\n[[image]]\nname = \"b\"\nformat = \"ext4\"\ncompression = \"zstd\"\nsize = \"6K\"\n[[image]]\nname = \"c\"\nformat = \"erofs\"\ncompression = \"gzip\"\nsize = \"64M\"\n[[image]]\nname = \"d\"\nformat = \"erofs\"\nlevel = 0\n[[image]]\nname = \"e\"\nformat = \"initramfs\"\ncompression = \"lz4\"\n[[image]]\nname = \"f\"\nformat = \"squashfs\"\ncompression = \"xz\"\nlevel = 6\n[[image]]\nname = \"g\"\nformat = \"squashfs\"\ncompression = \"gzip\"\nlevel = 0\nsize = \"1M\"\n[boot]\nimage = \"b\"\n",
    ),
    (
        "images of files",
        System,
        "name = \"x\"\n[[image]]\nname = \"none\"\nformat = \"fat\"\nlabel = \"esp\"\nsize = \"4K\"\n\
         [[image]]\nname = \"large\"\nformat = \"fat\"\nlabel = \"TWELVE SIGNS\"\nsize = \"2T\"\ncontent = [\n\
         { path = \"/efi\", image = \"large\" },\n{ path = \"a:b\", image = \"larg\" },\n\
         { path = \"Boot/a\", component = \"a\", from = \"x\" },\n{ path = \"bOOT/A\", component = \"a\" },\n\
         { path = \"boot/a/b\", component = \"a:b\", from = \"../x\" },\n{ path = \"both\", kernel = true, image = \"a\" },\n\
         { path = \"end.\", component = \"a\", from = \"x\" },\n{ path = \"neither\" },\n{ path = \"dev/Con.txt\", component = \"a\", from = \"x\" },\n{ path = \"ü[1]\", component = \"a\", from = \"x\" },\n{ kernel = true },\n]\n\
         [[image]]\nname = \"one\"\nformat = \"fat\"\ncontent = [{ path = \"a\", image = \"two\" }]\n\
         [[image]]\nname = \"two\"\nformat = \"fat\"\ncontent = [{ path = \"a\", image = \"three\" }]\n\
         [[image]]\nname = \"three\"\nformat = \"fat\"\ncontent = [{ path = \"a\", image = \"one\" }]\n\
         [[image]]\nname = \"root\"\nformat = \"ext4\"\nlabel = \"ROOT\"\ncontent = [{ path = \"a\", image = \"two\" }]\n\
         [target.x86_64]\nkernel = \"linux:boot/vmlinuz\"\n",
    ),
    (
        "boot scripts",
        System,
        "name = \"x\"\n[[boot.run]]\n[[boot.run]]\nscript = [\n  { expect = \"a\", send = \"b\" },\n  {},\n  { booted = false },\n  { send = \"b\", within = 1 },\n  { expect = \"b\", within = 0 },\n  { end = \"shutdown\" },\n  { end = \"reboot\" },\n  { send = \"late\" },\n]\n",
    ),
    (
        "system",
        System,
        "name = \"x\"\nkernel = \"linux:/boot/vmlinuz\"\noverlays = [\"a\", \"a\"]\ncomponents = [\"a\", \"a\"]\n[target.x86_64]\nimage = []\n",
    ),
    (
        "machine",
        Machine,
        "name = \"x\"\narchitecture = \"i386\"\nmemory = \"256mb\"\ncpus = 0\nconsole = 1\n[[disk]]\nname = \"a\"\n[[disk]]\nname = \"a\"\nblank = \"1\"\nimage = \"x\"\nbus = \"virtoi\"\n",
    ),
    (
        "disks",
        Machine,
        "name = \"x\"\narchitecture = \"x86_64\"\nboard = \"q35\"\nconsole = \"ttyS0\"\n[[disk]]\nname = \"no-size\"\nblank = true\n[[disk]]\nname = \"empty\"\nblank = \"1M\"\nread_only = true\n[[disk]]\nname = \"kept\"\nsystem = \"rootfs\"\nread_only = true\nkeep = true\n[[disk]]\nname = \"huge\"\nblank = \"9T\"\n[[disk]]\nname = \"both\"\nsystem = \"rootfs\"\nblank = \"1M\"\n",
    ),
    (
        "levels of processors",
        System,
        "name = \"x\"\ntargets = [\"x86_64\"]\ntune = [\"x86-64-v5\", \"armv8.2-a\", \"x86-64-v2\", \"x86-64-v3\"]\n[target.aarch64]\ntune = \"x86-64\"\n",
    ),
    ("project", Project, "suite = \"Book worm\"\ndefaults = \"x\"\njobs = 0\n"),
    ("lock of another version", Lock, "version = 2\nfuture = true\n"),
    (
        "lock that contradicts itself",
        Lock,
        "version = 1\n[[environment]]\nsuite = \"bookworm\"\narchitecture = \"amd64\"\nrequest = [\"bc\"]\npackages = [\"bc=1\", \"dc\"]\n[[source]]\nrecipe = \"x\"\nname = \"x\"\nurl = \"https://example.org/x\"\nversion = \"1\"\nfiles = [{ name = \"../x\", path = \"x\", urls = [], size = -1, sha256 = \"\" }]\n",
    ),
    ("lock with a merge conflict", Lock, "version = 1\n<<<<<<< ours\n=======\n>>>>>>> theirs\n"),
    (
        "lock with an entry twice",
        Lock,
        "version = 1\n[[environment]]\nsuite = \"s\"\narchitecture = \"a\"\nrequest = [\"b\", \"a\"]\npackages = []\n[[environment]]\nsuite = \"s\"\narchitecture = \"a\"\nrequest = [\"a\", \"b\"]\npackages = []\n",
    ),
];

#[test]
fn wrong_texts_give_these_messages() {
    for kind in FileKind::ALL {
        let mut shown = String::new();
        for (name, _, text) in CASES.iter().filter(|(_, of, _)| *of == kind) {
            let found = errors(kind, text, None);
            assert!(!found.is_empty(), "{name}");
            shown.push_str(&format!("## {name}\n\n{}\n", rendered(&found, text)));
        }
        insta::assert_snapshot!(format!("wrong_{}", kind.as_str()), shown);
    }
}

#[test]
fn the_files_name_is_the_name() {
    let text = "name = \"busybox\"\n";
    let found = errors(Recipe, text, Some("busy"));
    assert_eq!(found[0].code, Code::NameMismatch);
    insta::assert_snapshot!("wrong_name", rendered(&found, text));
    for kind in [Kind, System, Machine] {
        let found = errors(kind, text, Some("busy"));
        assert!(found.iter().any(|error| error.code == Code::NameMismatch), "{kind:?}");
    }
}

#[test]
fn every_code_of_a_single_file_has_a_case() {
    // These concern the bytes, the file's name, a kind, or several files; they are tested there.
    use Code::{
        MissingFile, MissingVariable, NameMismatch, NotText, UnknownComponent, UnknownKind,
    };
    use Code::{UnknownOutput, UnknownVariable, UnsupportedTarget, WrongPatch};
    let elsewhere = [
        MissingFile,
        MissingVariable,
        NameMismatch,
        NotText,
        UnknownComponent,
        UnknownKind,
        UnknownOutput,
        UnknownVariable,
        UnsupportedTarget,
        WrongPatch,
    ];
    let found: Vec<_> =
        CASES.iter().flat_map(|(_, kind, text)| errors(*kind, text, None)).collect();
    for (code, _) in CODES {
        assert!(
            elsewhere.contains(code) != found.iter().any(|error| error.code == *code),
            "{code}"
        );
    }
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let filler: Vec<String> = (0..60).map(|n| format!("A{n} = \"é\"")).collect();
    let (before, behind) = (filler[..30].join(", "), filler[30..].join(", "));
    let text = format!("name = \"x\"\nenv = {{ {before}, B = 1, {behind} }}\n");
    insta::assert_snapshot!("long_line", rendered(&errors(Recipe, &text, None), &text));
}
