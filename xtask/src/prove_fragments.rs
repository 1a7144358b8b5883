//! Fragments of configurations over every base, on busybox, whose Kconfig keeps the first of two lines:
//! `cargo xtask prove fragments`.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::root;
use crate::workshop::Workshop;

/// A base, fragments in their order, and lines of the configuration that has to come out.
struct Case {
    name: &'static str,
    base: &'static str,
    fragments: &'static [&'static str],
    lines: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "later-lines",
        base: "defconfig",
        fragments: &[
            "CONFIG_STATIC=y\nCONFIG_CAT=y\n# CONFIG_CAT is not set\nCONFIG_LS=y\n# CONFIG_DESKTOP is not set\nCONFIG_PREFIX=\"one\"\n",
            "\u{feff}# CONFIG_STATIC is not set\r\n  CONFIG_CAT=y\r\n",
            "CONFIG_LS=n\nCONFIG_DESKTOP=y\nCONFIG_PREFIX=\"./a \\\"b\\\" # c=y\"\nCONFIG_FEATURE_EDITING_HISTORY=33",
        ],
        lines: &[
            "# CONFIG_STATIC is not set",
            "CONFIG_CAT=y",
            "# CONFIG_LS is not set",
            "CONFIG_DESKTOP=y",
            "CONFIG_PREFIX=\"./a \\\"b\\\" # c=y\"",
            "CONFIG_FEATURE_EDITING_HISTORY=33",
        ],
    },
    Case {
        name: "later-members",
        base: "defconfig",
        fragments: &["CONFIG_SH_IS_NONE=y\n", "CONFIG_SH_IS_HUSH=y\n"],
        lines: &[
            "# CONFIG_SH_IS_ASH is not set",
            "CONFIG_SH_IS_HUSH=y",
            "# CONFIG_SH_IS_NONE is not set",
        ],
    },
    Case {
        name: "nothing-else",
        base: "allnoconfig",
        fragments: &[
            "CONFIG_LS=y\nCONFIG_CAT=y\nCONFIG_SH_IS_ASH=y\n",
            "# CONFIG_CAT is not set\nCONFIG_SH_IS_HUSH=y\n",
        ],
        // What comes up with `ls` is on by its default.
        lines: &[
            "CONFIG_LS=y",
            "# CONFIG_CAT is not set",
            "# CONFIG_FEATURE_LS_SORTFILES is not set",
            "# CONFIG_FEATURE_LS_COLOR is not set",
            "CONFIG_SH_IS_HUSH=y",
            "# CONFIG_HUSH_JOB is not set",
            "# CONFIG_ECHO is not set",
        ],
    },
    Case {
        name: "own-base",
        base: "0.config",
        fragments: &[
            "CONFIG_LS=y\nCONFIG_CAT=y\nCONFIG_SH_IS_HUSH=y\n",
            "CONFIG_SH_IS_NONE=y\n# CONFIG_CAT is not set\n",
        ],
        lines: &["CONFIG_LS=y", "# CONFIG_CAT is not set", "CONFIG_SH_IS_NONE=y"],
    },
];

/// Configures busybox by each case; the kind's own check and the lines have to hold.
pub(crate) fn fragments(store: &Path) -> Result<()> {
    let shop = Workshop::new("fragments", store)?;
    fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    for Case { name, base, fragments, lines } in CASES {
        let mut names = Vec::new();
        for (number, text) in fragments.iter().enumerate() {
            shop.write(&format!("recipes/{name}/{number}.config"), text)?;
            // The own base is no fragment.
            if format!("{number}.config") != *base {
                names.push(format!("\"{number}.config\""));
            }
        }
        let recipe = format!(
            "name = \"{name}\"\nkind = \"kconfig\"\nsource = {{ debian = \"busybox\" }}\nfiles = [\"*.config\"]\n[with]\nbase = \"{base}\"\nfragments = [{}]\nmake_flags = [\"ARCH=x86_64\"]\n[[step]]\nname = \"build\"\nrun = \":\"\n[[step]]\nname = \"install\"\nrun = \"install -D .config $OUTPUT/config\"\n",
            names.join(", ")
        );
        shop.write(&format!("recipes/{name}/recipe.toml"), &recipe)?;
        shop.good(&["build", name, "--out", "out"])?;
        let config = fs::read_to_string(shop.project.join("out/main/config"))?;
        fs::remove_dir_all(shop.project.join("out"))?;
        for line in *lines {
            ensure!(
                config.lines().any(|other| other == *line),
                "{name}: no `{line}` in:\n{config}"
            );
        }
        println!("prove fragments: {name} over {base}: the last line of each symbol holds");
    }
    Ok(())
}
