//! The checks that kinds can name.

use std::fs;
use std::path::Path;

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
        2
    }

    fn run(&self, check: &Check, component: &Component, layers: &LayerStack) -> Vec<Finding> {
        let argument = |name| check.arguments.get(name).map(String::as_str);
        let config = argument("config").unwrap_or(".config");
        let (path, text) = match written(component, layers, config) {
            Ok(written) => written,
            Err(problem) => return finding(problem),
        };
        let choices = argument("choices").map(|name| written(component, layers, name)).transpose();
        let choices = match choices {
            Ok(choices) => choices.map(|(_, text)| text).unwrap_or_default(),
            Err(problem) => return finding(problem),
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
        let mut wanted = osier_kconfig::merge(&fragments);
        wanted.choose(&choices);
        let dropped = osier_kconfig::check(&wanted, &config);
        findings(&dropped, component.variables.get("TARGET").map(String::as_str))
    }
}

/// Reads a file that the step wrote, named from the source's folder or from the root; gives its path, too.
fn written(
    component: &Component,
    layers: &LayerStack,
    name: &str,
) -> Result<(String, String), String> {
    let source = component.variables.get("SOURCE").map_or("/build", String::as_str);
    let path = Path::new(source).join(name);
    let shown = path.display().to_string();
    let inside = path.strip_prefix("/").unwrap_or(&path);
    let found = layers.find(inside).map_err(|error| error.to_string())?;
    let entry = found.ok_or_else(|| format!("the step did not write {shown}"))?;
    let bytes = fs::read(&entry.host).map_err(|error| format!("cannot read {shown}: {error}"))?;
    Ok((shown, String::from_utf8_lossy(&bytes).into_owned()))
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
