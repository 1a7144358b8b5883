//! Proof that a changed option of a real component changes that and the image alone: `cargo xtask prove changes`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::root;
use crate::workshop::Workshop;

const SYSTEM: &str = "name = \"small\"
components = [\"busybox\"]
manifest = \"manifest\"
[[image]]
name = \"small\"
format = \"initramfs\"
compression = \"none\"
";
const MANIFEST: &str = "f bin/busybox 0755 root root\ns bin/*\n";

/// The system's image, as text: it is not compressed, so that names and contents can be read in it.
fn image(shop: &Workshop) -> Result<String> {
    shop.good(&["build", "small"])?;
    let path = shop.project.join("out/small-x86_64/small.cpio");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An option of busybox that is changed: busybox and the image, and nothing else.
pub(crate) fn changes(store: &Path) -> Result<()> {
    let shop = Workshop::new("changes", store)?;
    fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    let recipe = root().join("recipes/busybox");
    for file in fs::read_dir(&recipe)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        shop.write(&format!("recipes/busybox/{name}"), &fs::read(file.path())?)?;
    }
    shop.write("systems/small/system.toml", SYSTEM)?;
    shop.write("systems/small/manifest", MANIFEST)?;
    let first = image(&shop)?;
    ensure!(first.contains("bin/usleep\0"), "the image lacks busybox's usleep");
    let fragment = fs::read_to_string(recipe.join("static.config"))?;
    let line = fragment.lines().count() + 1;
    shop.write(
        "recipes/busybox/static.config",
        &format!("{fragment}# CONFIG_USLEEP is not set\n"),
    )?;
    let cause = format!(
        "busybox is built again because the file static.config changed (recipes/busybox/static.config:{line})"
    );
    for name in ["busybox", "small"] {
        let said = shop.good(&["why", name])?;
        ensure!(said.contains(&cause), "`why {name}` should say `{cause}`:\n{said}");
    }
    let said = shop.good(&["build", "small"])?;
    let ran = said.lines().filter_map(|line| line.trim_start().strip_prefix("run  "));
    let ran: Vec<&str> = ran.map(str::trim).collect();
    ensure!(
        ran.contains(&"busybox:install")
            && ran.iter().all(|step| step.starts_with("busybox:") || step.starts_with("small/")),
        "busybox and the image alone should be made again: {ran:?}"
    );
    let next = image(&shop)?;
    ensure!(
        !next.contains("bin/usleep\0") && next.contains("bin/sleep\0"),
        "the image is not of the new option"
    );
    println!(
        "prove changes: an option of busybox changes busybox ({}) and the image, and nothing else",
        ran.join(", ")
    );
    Ok(())
}
