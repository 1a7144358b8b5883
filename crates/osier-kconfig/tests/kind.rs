//! The script of the kind `kconfig` joins fragments as this crate does: what is built is what the check expects.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use osier_kconfig::{Config, merge};
use proptest::prelude::*;

const KIND: &str = include_str!("../../../kinds/kconfig.toml");

/// One of the programs that the script of the kind writes.
fn program(name: &str) -> &'static str {
    let begin = format!("cat > /build/{name} <<'END'\n");
    let from = KIND.find(&begin).unwrap() + begin.len();
    &KIND[from..from + KIND[from..].find("\nEND\n").unwrap() + 1]
}

fn awk(folder: &Path, name: &str, arguments: &[&str]) -> String {
    let awk = folder.join(name);
    fs::write(&awk, program(name)).unwrap();
    let output =
        Command::new("awk").arg("-f").arg(&awk).args(arguments).current_dir(folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Joins texts as the script does.
fn joined(choices: &str, base: &str, fragments: &[&str]) -> Config {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("choices"), choices).unwrap();
    fs::write(folder.path().join("base"), base).unwrap();
    let all: String = fragments.iter().flat_map(|text| [text, "\n"]).collect();
    fs::write(folder.path().join("all"), all).unwrap();
    let parts = ["part=choices", "choices", "part=base", "base", "part=fragments", "all"];
    let text = awk(folder.path(), ".merge.awk", &parts);
    let config = Config::parse("joined", &text).unwrap();
    assert_eq!(text.lines().count(), config.settings.len(), "one line for each symbol:\n{text}");
    config
}

/// Joins texts as the check does.
fn expected(choices: &str, fragments: &[&str]) -> String {
    let read = |text: &&str| Config::parse("fragment", text).unwrap();
    let mut wanted = merge(&fragments.iter().map(read).collect::<Vec<_>>());
    wanted.choose(choices);
    wanted.allconfig_text()
}

#[test]
fn fragments_hold_against_the_base_and_later_ones_against_earlier_ones() {
    let base = "#\n# Automatically generated\n#\nCONFIG_A=y\nCONFIG_AB=y\n# CONFIG_C is not set\nCONFIG_ASH=y\n# CONFIG_HUSH is not set\nCONFIG_S=\"#=y\"\n";
    let fragments = [
        "\u{feff}CONFIG_A=n\r\n \tCONFIG_C=y \r\nCONFIG_N=0x1F\n# CONFIG_NONE is not set at all\n",
        "# why\nCONFIG_HUSH=y\nCONFIG_T=\"a \\\"b\\\" # \\\\ c=y\"\n# CONFIG_C is not set",
    ];
    let config = joined("ASH HUSH NO_SHELL\n", base, &fragments);
    assert_eq!(
        config.to_allconfig_text(),
        "# CONFIG_A is not set\nCONFIG_AB=y\n# CONFIG_ASH is not set\n# CONFIG_C is not set\nCONFIG_HUSH=y\nCONFIG_N=0x1F\nCONFIG_S=\"#=y\"\nCONFIG_T=\"a \\\"b\\\" # \\\\ c=y\"\n"
    );
}

#[test]
fn members_of_choices_are_found_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let kconfig = "config BEFORE\n\tbool \"x\"\n\thelp\n\t  Words about a\n\t  choice\n\n\t  config NOT_THIS\n\nchoice\n\tprompt \"Shell\"\n\tdefault ASH\n\thelp\n\t  Pick one.\n\t  endchoice\n\nconfig ASH\n\tbool \"ash\"\n\tselect config\nif BEFORE\n  config HUSH\n    bool \"hush\"\n    ---help---\n      config NOR_THAT\nendif\nsource \"more/Kconfig\"\nsource \"not/there\"\nendchoice\n\nconfig AFTER\n\tbool\nchoice HZ\n\tbool \"HZ\"\nmenuconfig HZ_1\n\tbool\n\thelp\nconfig HZ_2\n\tbool\nendchoice\n";
    fs::create_dir(folder.path().join("more")).unwrap();
    fs::write(folder.path().join("more/Kconfig"), "config ZERO\n\ttristate \"zero\"\n").unwrap();
    fs::write(folder.path().join("Kconfig"), kconfig).unwrap();
    fs::write(folder.path().join("list"), "Kconfig\nmore/Kconfig\n").unwrap();
    assert_eq!(awk(folder.path(), ".members.awk", &["list"]), " ASH HUSH ZERO\n HZ_1 HZ_2\n");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_script_and_the_check_agree(
        fragments in proptest::collection::vec("(CONFIG_[A-E]=(y|m|n|\"#\"|-1|0x1)(\r)?\n|# CONFIG_[A-E] is not set\n|# note\n){0,6}", 1..4),
        choices in "([A-E]( [A-E]){0,3}\n){0,3}",
    ) {
        let fragments: Vec<&str> = fragments.iter().map(String::as_str).collect();
        prop_assert_eq!(joined(&choices, "", &fragments).to_allconfig_text(), expected(&choices, &fragments));
    }
}
