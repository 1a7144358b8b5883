//! Manifests, accounts, patterns and cpio archives.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_image::{
    Accounts, Area, ComposeOptions, Entry, ImagePath, Manifest, OverlayDelivery, Pattern, Role,
    compose, read_tree,
};

/// A component and an overlay with a file, a folder and a link each.
fn areas() -> Vec<Area<u8>> {
    let path = |text: &str| ImagePath::new(text).expect("the path is sound");
    let entries = |content| {
        let file = Entry::File { content, size: 1, mode: 0o755 };
        let link = Entry::Symlink { target: "../bin/a".into() };
        [("bin", Entry::Folder { mode: 0o755 }), ("bin/a", file), ("usr/lib/b", link)]
            .map(|(name, entry)| (path(name), entry))
            .into()
    };
    vec![
        Area { name: "overlay".to_owned(), role: Role::Overlay, entries: entries(0) },
        Area { name: "component".to_owned(), role: Role::Component, entries: entries(1) },
    ]
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(manifest) = Manifest::parse("manifest", &text) {
        let accounts =
            Accounts::parse(b"www:x:33:33::/:\n", b"tty:x:5:\n").expect("the accounts are sound");
        for overlays in [OverlayDelivery::AsTheyAre, OverlayDelivery::Listed] {
            let options = ComposeOptions { overlays, ..ComposeOptions::default() };
            let _ = compose(&areas(), &manifest, &accounts, &options);
        }
    }
    let _ = (Accounts::parse(bytes, bytes), read_tree(bytes, 1 << 20));
    if let Some((pattern, path)) = text.split_once('\n')
        && let (Ok(pattern), Ok(path)) = (Pattern::new(pattern), ImagePath::new(path))
    {
        let found = pattern.matches(&path);
        assert!(pattern.literal().is_none_or(|literal| found == (literal == &path)));
    }
});
