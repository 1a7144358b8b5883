//! Areas and manifests composed to trees, and what is refused.

use super::*;
use crate::path::Shown;
use crate::tree::{Attributes, DeviceKind, Node};

type Content = &'static str;

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

fn file(content: Content) -> Entry<Content> {
    file_with(content, 0o755)
}

fn file_with(content: Content, mode: u16) -> Entry<Content> {
    Entry::File { content, size: content.len() as u64, mode }
}

fn folder(mode: u16) -> Entry<Content> {
    Entry::Folder { mode }
}

fn link(target: &str) -> Entry<Content> {
    Entry::Symlink { target: target.into() }
}

fn area(name: &str, entries: &[(&str, Entry<Content>)]) -> Area<Content> {
    Area {
        name: name.to_owned(),
        role: if name.starts_with("overlay") { Role::Overlay } else { Role::Component },
        entries: entries.iter().map(|(at, entry)| (path(at), entry.clone())).collect(),
    }
}

fn busybox() -> Area<Content> {
    area(
        "component busybox",
        &[
            ("bin", folder(0o755)),
            ("bin/busybox", file("bb")),
            ("bin/sh", link("busybox")),
            ("usr/share/man/sh.1", file("man")),
        ],
    )
}

fn run_with(
    areas: &[Area<Content>],
    text: &str,
    options: &ComposeOptions,
) -> Result<Composition<Content>, Vec<ComposeError>> {
    let manifest = Manifest::parse("m", text).unwrap();
    let accounts = Accounts::parse(b"www:x:33:33::/:\n", b"tty:x:5:\n").unwrap();
    compose(areas, &manifest, &accounts, options)
}

fn run(areas: &[Area<Content>], text: &str) -> Composition<Content> {
    run_with(areas, text, &ComposeOptions::default()).unwrap()
}

/// The faults as text, each with its hint on a line of its own.
fn faults(areas: &[Area<Content>], text: &str) -> Vec<String> {
    run_with(areas, text, &ComposeOptions::default())
        .unwrap_err()
        .iter()
        .map(|error| match error.hint() {
            Some(hint) => format!("{error}\n{hint}"),
            None => error.to_string(),
        })
        .collect()
}

/// The tree as text: a line for each node but the root.
fn listing(composition: &Composition<Content>) -> Vec<String> {
    composition
        .tree
        .iter()
        .skip(1)
        .map(|(path, node)| {
            let what = match node {
                Node::File { content, .. } => format!("f {content}"),
                Node::Folder { .. } => "d".to_owned(),
                Node::Symlink { target } => format!("s {}", Shown(target)),
                Node::HardLink { file } => format!("h {file}"),
                Node::Device { kind: DeviceKind::Character, major, minor, .. } => {
                    format!("c {major}:{minor}")
                }
                Node::Device { major, minor, .. } => format!("b {major}:{minor}"),
                Node::Fifo { .. } => "p".to_owned(),
            };
            match node.attributes().filter(|_| !matches!(node, Node::Symlink { .. })) {
                Some(Attributes { mode, uid, gid }) => {
                    format!("{path} {what} {mode:04o} {uid} {gid}")
                }
                None => format!("{path} {what}"),
            }
        })
        .collect()
}

#[test]
fn every_kind_of_line() {
    let composition = run(
        &[busybox()],
        "d . 0700 root root
         d proc 0555 root root
         f bin/busybox 04755 root www
         s bin/*
         s init=bin/busybox
         h bin/ash=bin/busybox
         c dev/console 0600 root tty 5 1
         b dev/vda 0660 root 6 254 0
         p run/initctl 0600 www 0"
            .replace("root www", "root 33")
            .as_str(),
    );
    assert_eq!(
        listing(&composition),
        [
            "bin d 0755 0 0",
            "bin/ash h bin/busybox",
            "bin/busybox f bb 4755 0 33",
            "bin/sh s busybox",
            "dev d 0755 0 0",
            "dev/console c 5:1 0600 0 5",
            "dev/vda b 254:0 0660 0 6",
            "init s bin/busybox",
            "proc d 0555 0 0",
            "run d 0755 0 0",
            "run/initctl p 0600 33 0",
        ]
    );
    let root = composition.tree.get(&ImagePath::root()).unwrap();
    assert_eq!(root.attributes().unwrap().mode, 0o700);
    let origin = &composition.origins[&path("bin/busybox")];
    assert_eq!(*origin, Origin { area: Some("component busybox".into()), line: Some(3) });
    assert_eq!(composition.origins[&path("bin")], Origin { area: None, line: None });
    let left = Undelivered { path: path("usr/share/man/sh.1"), area: "component busybox".into() };
    assert_eq!(composition.undelivered, [left]);
}

#[test]
fn modes_as_found_wildcards_and_exclusion() {
    let composition = run(
        &[area(
            "component a",
            &[
                ("usr", folder(0o750)),
                ("usr/lib", folder(0o755)),
                ("usr/lib/a.so", file_with("a", 0o644)),
                ("usr/lib/x/b.so", file_with("b", 0o4711)),
                ("usr/lib/x/c.a", file_with("c", 0o644)),
                ("usr/share/doc/a", file_with("d", 0o644)),
            ],
        )],
        "d usr/** - root root\nd usr - www root\nf ** - root root\nx **/*.a\nx usr/share",
    );
    assert_eq!(
        listing(&composition),
        [
            "usr d 0750 33 0",
            "usr/lib d 0755 0 0",
            "usr/lib/a.so f a 0644 0 0",
            "usr/lib/x d 0755 0 0",
            "usr/lib/x/b.so f b 4711 0 0",
        ]
    );
    assert_eq!(composition.undelivered.len(), 2);
}

#[test]
fn a_specific_line_overrides_an_earlier_wildcard() {
    let areas = [area("component a", &[("bin/su", file("su")), ("bin/ls", file("ls"))])];
    let right = run(&areas, "f bin/* 0755 root root\nf bin/su 04755 root root");
    assert_eq!(listing(&right), ["bin d 0755 0 0", "bin/ls f ls 0755 0 0", "bin/su f su 4755 0 0"]);
    assert_eq!(
        faults(&areas, "f bin/su 04755 root root\nf bin/* 0755 root root"),
        ["`bin/su` is delivered differently by m:1 (`f bin/su 04755 root root`) and by \
          m:2 (`f bin/* 0755 root root`)\n\
          put the line with the wildcard first; a later line for a single path overrides it"]
    );
}

#[test]
fn overlays_win_in_their_order() {
    let areas = [
        area("component a", &[("etc/motd", file("component")), ("etc/hosts", file("hosts"))]),
        area("overlay one/", &[("etc/motd", file_with("one", 0o600))]),
        area("overlay two/", &[("etc/motd", file("two")), ("etc/two", file_with("2", 0o640))]),
    ];
    let composition = run(&areas, "f etc/hosts 0644 root root\nf etc/motd 0644 root root");
    assert_eq!(
        listing(&composition),
        [
            "etc d 0755 0 0",
            "etc/hosts f hosts 0644 0 0",
            "etc/motd f one 0644 0 0",
            "etc/two f 2 0640 0 0",
        ]
    );
    let lost = |area: &str| Shadowed {
        path: path("etc/motd"),
        area: area.to_owned(),
        by: "overlay one/".to_owned(),
    };
    assert_eq!(composition.shadowed, [lost("overlay two/"), lost("component a")]);
    let origin = &composition.origins[&path("etc/two")];
    assert_eq!(*origin, Origin { area: Some("overlay two/".into()), line: None });
}

#[test]
fn overlays_can_be_a_search_path_alone() {
    let areas = [area("overlay one/", &[("a", file("a")), ("b", file("b"))])];
    let options = ComposeOptions { overlays: OverlayDelivery::Listed, ..Default::default() };
    let composition = run_with(&areas, "f a 0644 root root", &options).unwrap();
    assert_eq!(listing(&composition), ["a f a 0644 0 0"]);
    let left = Undelivered { path: path("b"), area: "overlay one/".into() };
    assert_eq!(composition.undelivered, [left]);
}

#[test]
fn components_may_deliver_the_same_but_not_differ() {
    let one = area("component one", &[("d", folder(0o755)), ("a", file("x")), ("l", link("a"))]);
    let with = |entries: &[_]| [one.clone(), area("component two", entries)];
    let same = with(&[("d", folder(0o755)), ("a", file("x")), ("l", link("a"))]);
    assert_eq!(run(&same, "f a - 0 0\nd d - 0 0\ns l").tree.node_count(), 4);

    let hint = "exclude the path with an `x` line, or put the right one in an overlay";
    let table = [
        (("a", file("y")), "f a 0644 0 0", "`a` differently: other content"),
        (("a", file_with("x", 0o644)), "f a 0644 0 0", "`a` differently: modes 0755 and 0644"),
        (("a", link("l")), "f a 0644 0 0", "`a` differently: a file and a symlink"),
        (("l", link("b")), "s *\nf a - 0 0", "`l` differently: targets `a` and `b`"),
        (("d", folder(0o700)), "d d - 0 0", "`d` differently: modes 0755 and 0700"),
    ];
    for (entry, text, message) in table {
        let areas = with(&[entry]);
        let message = format!("component one and component two deliver {message}\n{hint}");
        assert_eq!(faults(&areas, text), [message], "{text}");
        // Whoever does not deliver it need not care, and an overlay decides.
        assert_eq!(run(&areas, "").tree.node_count(), 1);
    }
    let mut healed = with(&[("a", file("y"))]).to_vec();
    healed.push(area("overlay fix/", &[("a", file("z"))]));
    assert_eq!(listing(&run(&healed, "f a 0644 0 0")), ["a f z 0644 0 0"]);
    // A mode that a line sets is no matter of theirs.
    run(&with(&[("d", folder(0o700))]), "d d 0711 0 0");
}

#[test]
fn every_fault_in_exact_words() {
    let table: &[(&str, &[&str])] = &[
        (
            "f sbin/busybox 0755 0 0",
            &["m:1 (`f sbin/busybox 0755 0 0`): nothing matches `sbin/busybox`\n\
             `bin/busybox` is in component busybox"],
        ),
        (
            "f bin/busibox 0755 0 0",
            &["m:1 (`f bin/busibox 0755 0 0`): nothing matches `bin/busibox`\n\
             `bin/busybox` is in component busybox"],
        ),
        ("f init 0755 0 0", &["m:1 (`f init 0755 0 0`): nothing matches `init`"]),
        ("f lib/* 0755 0 0", &["m:1 (`f lib/* 0755 0 0`): nothing matches `lib/*`"]),
        (
            "f **/sh 0755 0 0",
            &["m:1 (`f **/sh 0755 0 0`): nothing matches `**/sh`\n\
             `bin/sh` is a symlink: deliver it with a line of type `s`"],
        ),
        (
            "f bin/sh 0755 0 0",
            &[
                "m:1 (`f bin/sh 0755 0 0`): `bin/sh` is a symlink in component busybox, not a file\n\
             a line of type `s` delivers it",
            ],
        ),
        (
            "d bin/sh 0755 0 0",
            &[
                "m:1 (`d bin/sh 0755 0 0`): `bin/sh` is a symlink in component busybox, not a folder\n\
             a line of type `s` delivers it",
            ],
        ),
        ("d srv - 0 0", &["m:1 (`d srv - 0 0`): nothing matches `srv`"]),
        (
            "x bin/busybox\nf bin/busybox - 0 0",
            &["m:1 (`x bin/busybox`): nothing matches `bin/busybox`\n\
             no earlier line delivers it; the order of lines matters"],
        ),
        ("x **/y", &["m:1 (`x **/y`): nothing matches `**/y`"]),
        (
            "f bin/busybox 0755 wwww wheel",
            &[
                "m:1 (`f bin/busybox 0755 wwww wheel`): unknown user `wwww`\n\
             a user with a similar name is `www`",
                "m:1 (`f bin/busybox 0755 wwww wheel`): unknown group `wheel`\n\
             add the group to the image's accounts, or write its number",
            ],
        ),
        ("s a=b", &["dangling symlink `a` -> `b` (m:1 (`s a=b`)): `/b` is not in the image"]),
        (
            "s bin/sh",
            &["dangling symlink `bin/sh` -> `busybox` (m:1 (`s bin/sh`)): \
             `/bin/busybox` is not in the image\n\
             `bin/busybox` is in component busybox, but no line delivers it"],
        ),
        (
            "s a=/b\ns b=../a",
            &[
                "dangling symlink `a` -> `/b` (m:1 (`s a=/b`)): the symlinks on the way form a loop",
                "dangling symlink `b` -> `../a` (m:2 (`s b=../a`)): the symlinks on the way form a loop",
            ],
        ),
        (
            "h a=bin/busybox",
            &[
                "m:1 (`h a=bin/busybox`): hard link `a` leads to `bin/busybox`, which is not delivered\n\
             `bin/busybox` is in component busybox, but no line delivers it",
            ],
        ),
        (
            "f bin/busybox - 0 0\ns bin/sh\nh a=bin/sh",
            &["m:3 (`h a=bin/sh`): hard link `a` leads to `bin/sh`, which is a symlink"],
        ),
        (
            "f bin/busybox - 0 0\nh a=bin/busybox\nh b=a",
            &["m:3 (`h b=a`): hard link `b` leads to `a`, which is a hard link itself\n\
             write `bin/busybox` as the target"],
        ),
        (
            "f bin/busybox - 0 0\nf bin/busybox - 0 1",
            &["`bin/busybox` is delivered differently by m:1 (`f bin/busybox - 0 0`) and by \
             m:2 (`f bin/busybox - 0 1`)"],
        ),
        (
            "d a 0755 0 0\ns a=bin",
            &[
                "`a` is delivered differently by m:1 (`d a 0755 0 0`) and by m:2 (`s a=bin`)\n\
             exclude the first with an `x` line before the second",
                // The folder stays, so nothing dangles.
            ],
        ),
        (
            "p a 0600 0 0\nd a/b 0755 0 0",
            &["`a/b` (m:2 (`d a/b 0755 0 0`)) cannot be inside `a`, \
             which is a fifo (m:1 (`p a 0600 0 0`))"],
        ),
        (
            "d bin/sh/x 0755 0 0",
            &["`bin/sh/x` (m:1 (`d bin/sh/x 0755 0 0`)) cannot be inside `bin/sh`, \
             which is a symlink (component busybox)"],
        ),
    ];
    for (text, messages) in table {
        assert_eq!(faults(&[busybox()], text), *messages, "{text}");
    }
}

#[test]
fn the_same_twice_is_fine() {
    let text = "d etc 0755 root root\nd etc 755 0 0\nf bin/busybox - 0 0\nf bin/busybox 0755 0 0\n\
                s bin/sh=busybox\ns bin/sh=busybox\ns bin/*\n";
    assert_eq!(run(&[busybox()], text).tree.node_count(), 5);
}

#[test]
fn symlinks_into_what_is_filled_at_run_time() {
    let text = "s etc/mtab=../proc/self/mounts\ns var/run=/run\ns dev/fd=/proc/self/fd\n";
    assert_eq!(run(&[], text).tree.node_count(), 7);
    let options = ComposeOptions { runtime_folders: vec![path("proc")], ..Default::default() };
    let errors = run_with(&[], text, &options).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "dangling symlink `var/run` -> `/run` (m:2 (`s var/run=/run`)): `/run` is not in the image"
    );
    assert_eq!(errors.len(), 1);
}

#[test]
fn a_line_and_an_overlay_of_other_types_disagree() {
    let areas = [area("overlay o/", &[("init", file("i"))])];
    assert_eq!(
        faults(&areas, "s init=/dev/null"),
        ["`init` is delivered differently by overlay o/ and by m:1 (`s init=/dev/null`)\n\
          exclude the first with an `x` line before the second"]
    );
    assert_eq!(listing(&run(&areas, "x init\ns init=/dev/null")), ["init s /dev/null"]);
}

#[test]
fn unsound_entries_are_named() {
    let areas = [area("overlay o/", &[("a", file_with("a", 0o10000)), ("b", link(""))])];
    assert_eq!(
        faults(&areas, ""),
        [
            "overlay o/: `a` has mode 10000; at most 7777 is possible",
            "overlay o/: symlink `b` has a target of 0 bytes; 1 to 4095 without NUL are possible",
        ]
    );
}
