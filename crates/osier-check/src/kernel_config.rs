//! Whether a configuration has what its fragments ask for.

use osier_kconfig::{Config, NotHonoured};

use crate::error::CheckError;
use crate::finding::Finding;
use crate::registry::Code;

/// A text with the name that a person knows it by.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The file's name.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// A final configuration and what was asked for.
#[derive(Debug, Clone)]
pub struct KernelConfig<'a> {
    /// The final configuration.
    pub config: Text<'a>,
    /// The choices of the tree, one line for each: the symbols of its members.
    pub choices: &'a str,
    /// The fragments, in their order.
    pub fragments: &'a [Text<'a>],
    /// The target that it is built for.
    pub target: Option<&'a str>,
}

/// Compares the symbols that fragments ask for with the final configuration, in both directions.
pub fn kernel_config(checked: &KernelConfig<'_>) -> Result<Vec<Finding>, CheckError> {
    let fragments = checked.fragments.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let config = parse(&checked.config)?;
    let mut wanted = osier_kconfig::merge(&fragments);
    wanted.choose(checked.choices);
    Ok(findings(&osier_kconfig::check(&wanted, &config), checked.target))
}

fn parse(text: &Text<'_>) -> Result<Config, CheckError> {
    Config::parse(text.name, text.text).map_err(|errors| {
        CheckError::NotAConfiguration(errors.iter().map(ToString::to_string).collect())
    })
}

/// Says what is not honoured; of a fragment for another architecture that alone, not each of its symbols.
fn findings(dropped: &[NotHonoured], target: Option<&str>) -> Vec<Finding> {
    let place = |wish: &NotHonoured| Some(format!("{}:{}", wish.fragment, wish.line));
    let foreign = osier_kconfig::foreign(dropped);
    let of_foreign = foreign.iter().map(|wish| {
        let others = dropped.iter().filter(|other| other.fragment == wish.fragment && other != wish);
        let evidence: Vec<String> = others.map(NotHonoured::what).collect();
        let (what, more, target) = (wish.what(), evidence.len(), target.unwrap_or("another target"));
        Finding {
            code: Code::ForeignFragment,
            message: format!("{what}; the fragment is for another architecture, but this is built for {target}; {more} more of its symbols are not honoured"),
            place: place(wish),
            evidence,
            hint: Some("move the fragment to the recipe's `[target.TARGET.with]`, for each target that it is for".to_owned()),
        }
    });
    let explained =
        |wish: &&NotHonoured| foreign.iter().all(|known| known.fragment != wish.fragment);
    let of_this = dropped.iter().filter(explained).map(|wish| Finding {
        code: Code::NotHonoured,
        message: wish.what(),
        place: place(wish),
        evidence: Vec::new(),
        hint: None,
    });
    of_foreign.chain(of_this).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_for_another_architecture_is_said_once() {
        let fragments = [
            Text { name: "virt.config", text: "CONFIG_PCI=y\nCONFIG_NO_SUCH=y\n" },
            Text {
                name: "aarch64.config",
                text: "CONFIG_ARM64=y\nCONFIG_RTC_DRV_PL031=y\nCONFIG_SERIAL_AMBA_PL011=y\n",
            },
        ];
        let config = Text { name: ".config", text: "CONFIG_X86_64=y\nCONFIG_PCI=y\n" };
        let checked =
            KernelConfig { config, choices: "", fragments: &fragments, target: Some("x86_64") };
        let findings = kernel_config(&checked).unwrap();
        let said: Vec<String> =
            findings.iter().map(|found| format!("{} {found}", found.code)).collect();
        assert_eq!(
            said,
            [
                "N004 aarch64.config:1: `CONFIG_ARM64=y` is not honoured: the result does not mention it; the fragment is for another architecture, but this is built for x86_64; 2 more of its symbols are not honoured",
                "N003 virt.config:2: `CONFIG_NO_SUCH=y` is not honoured: the result does not mention it",
            ]
        );
        assert_eq!(findings[0].evidence.len(), 2);
        assert!(findings[0].hint.as_ref().is_some_and(|hint| hint.contains("[target.")));
    }

    #[test]
    fn what_is_no_configuration_is_told_and_no_finding() {
        let wrong = Text { name: "my.config", text: "CONFIG_A=y\nnonsense\n" };
        let config = Text { name: ".config", text: "" };
        let fragments = [wrong];
        let checked = KernelConfig { config, choices: "", fragments: &fragments, target: None };
        let told = kernel_config(&checked).unwrap_err().to_string();
        assert!(told.starts_with("my.config:2:"), "{told}");
    }
}
