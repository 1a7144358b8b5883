//! The checks that kinds can name.

use osier_build::{Check, Component, Finding, StepCheck};
use osier_kconfig::{Config, NotHonoured};
use osier_store::LayerStack;

/// All checks there are.
pub(crate) const ALL: &[&dyn StepCheck] = &[&KconfigHonoured];

/// Compares the symbols that the fragments ask for with the final configuration.
struct KconfigHonoured;

fn finding(message: impl Into<String>) -> Vec<Finding> {
    vec![Finding { message: message.into(), place: None, hint: None }]
}

impl StepCheck for KconfigHonoured {
    fn name(&self) -> &'static str {
        "kconfig-honoured"
    }

    fn version(&self) -> u32 {
        1
    }

    fn run(&self, check: &Check, component: &Component, layers: &LayerStack) -> Vec<Finding> {
        let name = check.arguments.get("config").map_or(".config", String::as_str);
        let folder = component
            .variables
            .get("SOURCE")
            .map_or("build", |folder| folder.trim_start_matches('/'));
        let path = format!("{folder}/{name}");
        let text = match layers.find(std::path::Path::new(&path)) {
            Ok(Some(entry)) => match std::fs::read_to_string(&entry.host) {
                Ok(text) => text,
                Err(error) => return finding(format!("cannot read /{path}: {error}")),
            },
            Ok(None) => return finding(format!("the step did not write /{path}")),
            Err(error) => return finding(error.to_string()),
        };
        let mut fragments = Vec::new();
        for name in
            component.variables.get("fragments").map_or("", String::as_str).split_whitespace()
        {
            let Some(file) = component.files.iter().find(|file| file.path == name) else {
                return finding(format!("the fragment {name} is not among the recipe's `files`"));
            };
            match Config::parse(&file.origin, &String::from_utf8_lossy(&file.content)) {
                Ok(fragment) => fragments.push(fragment),
                Err(errors) => {
                    return errors.iter().map(|error| place(&file.origin, error)).collect();
                }
            }
        }
        let config = match Config::parse(&path, &text) {
            Ok(config) => config,
            Err(errors) => return errors.iter().map(|error| place(&path, error)).collect(),
        };
        let dropped = osier_kconfig::check(&osier_kconfig::merge(&fragments), &config);
        findings(&dropped, component.variables.get("TARGET").map(String::as_str))
    }
}

/// Says what is not honoured; of a fragment for another architecture that alone, not each of its symbols.
fn findings(dropped: &[NotHonoured], target: Option<&str>) -> Vec<Finding> {
    let foreign = osier_kconfig::foreign(dropped);
    let mut findings: Vec<Finding> = foreign
        .iter()
        .map(|wish| {
            let more = dropped.iter().filter(|other| other.fragment == wish.fragment).count() - 1;
            let target = target.unwrap_or("another one");
            Finding {
                message: format!("{wish}; the fragment is for another architecture, and this is built for {target}; {more} more of its symbols are not honoured"),
                place: None,
                hint: Some(
                    "name a fragment in the recipe's `[target.TARGET.with]` for the targets that it is for"
                        .to_owned(),
                ),
            }
        })
        .collect();
    let explained =
        |wish: &&NotHonoured| foreign.iter().all(|known| known.fragment != wish.fragment);
    findings.extend(dropped.iter().filter(explained).flat_map(|wish| finding(wish.to_string())));
    findings
}

fn place(file: &str, message: &dyn std::fmt::Display) -> Finding {
    Finding { message: message.to_string(), place: Some(file.to_owned()), hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_for_another_architecture_is_said_once() {
        let config = |name, text| Config::parse(name, text).unwrap();
        let wanted = osier_kconfig::merge(&[
            config("virt.config", "CONFIG_PCI=y\nCONFIG_NO_SUCH=y\n"),
            config(
                "aarch64.config",
                "CONFIG_ARM64=y\nCONFIG_RTC_DRV_PL031=y\nCONFIG_SERIAL_AMBA_PL011=y\n",
            ),
        ]);
        let result = config(".config", "CONFIG_X86_64=y\nCONFIG_PCI=y\n");
        let findings = findings(&osier_kconfig::check(&wanted, &result), Some("x86_64"));
        let said: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "aarch64.config:1: `CONFIG_ARM64=y` is not honoured: the result does not mention it; the fragment is for another architecture, and this is built for x86_64; 2 more of its symbols are not honoured",
                "virt.config:2: `CONFIG_NO_SUCH=y` is not honoured: the result does not mention it",
            ]
        );
        assert!(findings[0].hint.as_ref().is_some_and(|hint| hint.contains("[target.")));
    }
}
