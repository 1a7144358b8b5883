//! Proofs of what a person does at a terminal: a shell in a step, and a configuration editor.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::root;
use crate::workshop::Workshop;

/// A shell in a step: its own terminal, job control, the window's size, and the person's terminal as before at the end.
pub(crate) fn shell(store: &Path) -> Result<()> {
    const PROMPT: &str = "bash-5.2# ";
    let shop = Workshop::new("shell", store)?;
    shop.write(
        "recipes/plain.toml",
        "name = \"plain\"\n[[step]]\nname = \"install\"\nrun = \"mkdir -p $OUTPUT; echo > $OUTPUT/a\"\n",
    )?;
    shop.good(&["build", "plain"])?;
    let mut person = shop.on_terminal(&["shell", "plain:install"])?;
    person.sees(PROMPT)?;
    ensure!(!person.is_ordinary()?, "keys should go to the shell as they are typed");
    // In quotes, so that the echo of what is typed is not taken for the answer.
    person.types("tty; stty size; echo 'te''rm' $TERM\r")?;
    let seen = person.sees("term xterm\r\n")?;
    ensure!(seen.contains("\n/dev/pts/0\r\n24 80\r\n"), "{seen}");
    // Ctrl-C ends what runs, and the shell lives on.
    person.types("sh -c 'echo re\"\"ady; exec sleep 100'\r")?;
    person.sees("ready\r\n")?;
    person.types("\x03")?;
    person.sees(PROMPT)?;
    person.types("echo sta''tus $?\r")?;
    person.sees("status 130\r\n")?;
    // Ctrl-Z stops it.
    person.types("sh -c 'echo re\"\"ady; exec sleep 100'\r")?;
    person.sees("ready\r\n")?;
    person.types("\x1a")?;
    person.sees("Stopped")?;
    person.types("kill %1; wait; echo go''ne\r")?;
    person.sees("gone\r\n")?;
    // What runs is told of another size of the window.
    let waits = "trap \"stty size; exit\" WINCH; echo re\"\"ady; while :; do sleep 0.1; done";
    person.types(&format!("sh -c '{waits}'\r"))?;
    person.sees("ready\r\n")?;
    person.resizes(40, 100)?;
    person.sees("40 100\r\n")?;
    person.sees(PROMPT)?;
    // However it ends, the person's terminal is as before.
    person.types("kill -9 $$\r")?;
    ensure!(person.waits()?.success(), "leaving a shell is no failure");
    ensure!(person.is_ordinary()?, "the terminal should be as before");
    println!(
        "prove shell: a terminal of its own, job control, window size, everything as before at the end"
    );
    Ok(())
}

/// One visit to busybox's editor, which saves at the end and may switch an option off before; gives what is said after it.
fn visit(shop: &Workshop, component: &str, switch_off: bool) -> Result<String> {
    const ESCAPE: &str = "\x1b\x1b";
    // The last word of each menu that is drawn; keys typed before are lost.
    const DRAWN: &str = "elp ";
    let mut person = shop.on_terminal(&["config", component])?;
    person.sees("Busybox Configuration")?;
    person.sees(DRAWN)?;
    if switch_off {
        // The first entry is the menu of settings, and the first one there is CONFIG_DESKTOP.
        for keys in ["\r", "n", ESCAPE] {
            person.types(keys)?;
            person.sees(DRAWN)?;
        }
    }
    person.types(ESCAPE)?;
    person.sees("save your new configuration?")?;
    person.sees(">")?;
    person.types("\r")?;
    person.sees("End of configuration")?;
    let seen =
        person.sees(if switch_off { "   next  osier build" } else { "nothing is written" })?;
    ensure!(person.waits()?.success(), "{seen}");
    ensure!(person.is_ordinary()?, "the terminal should be as before");
    Ok(seen)
}

/// Options changed in busybox's own editor are kept as a fragment, and the next build honours it.
pub(crate) fn config(store: &Path) -> Result<()> {
    let shop = Workshop::new("config", store)?;
    fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    shop.bad(&["config", "busybox"], 2, &["error[C002]", "needs a terminal"])?;
    // A built-in recipe: nothing changed is nothing written, a change is kept in a copy that counts from then on.
    visit(&shop, "busybox", false)?;
    ensure!(!shop.project.join("recipes").exists(), "nothing should be written");
    let seen = visit(&shop, "busybox", true)?;
    let fragment = shop.project.join("recipes/busybox/local.config");
    let text = fs::read_to_string(&fragment)?;
    ensure!(text.contains("\n# CONFIG_DESKTOP is not set\n"), "{text}");
    ensure!(seen.contains("# CONFIG_DESKTOP is not set"), "{seen}");
    // The next visit starts from a configuration that honours it.
    visit(&shop, "busybox", false)?;
    ensure!(fs::read_to_string(&fragment)? == text, "nothing should be written");
    // Also against an earlier fragment, which a person has changed by hand meanwhile.
    let earlier = "recipes/busybox/static.config";
    let own = fs::read_to_string(shop.project.join(earlier))?;
    shop.write(earlier, &format!("{own}CONFIG_DESKTOP=y\n"))?;
    visit(&shop, "busybox", false)?;
    ensure!(fs::read_to_string(&fragment)? == text, "nothing should be written");
    // Of two lines by hand the last counts, and both go when the option is changed again.
    // (What came up without it is no wish any more: with it, Kconfig would not honour it.)
    let by_hand = "# CONFIG_DESKTOP is not set\nCONFIG_DESKTOP=y\r\n";
    shop.write("recipes/busybox/local.config", by_hand)?;
    visit(&shop, "busybox", true)?;
    let again = fs::read_to_string(&fragment)?;
    let lines: Vec<&str> = again.lines().filter(|line| line.contains("CONFIG_DESKTOP")).collect();
    ensure!(lines == ["# CONFIG_DESKTOP is not set"], "{again}");
    visit(&shop, "busybox", false)?;
    ensure!(fs::read_to_string(&fragment)? == again, "nothing should be written");
    println!(
        "prove config: an option switched off in menuconfig is kept as a fragment that every later build and visit honours"
    );
    Ok(())
}
