//! The checks that kinds can name.

use std::fs;
use std::path::Path;

use osier_build::{Check, Component, StepCheck};
use osier_check::{CheckError, Finding, KernelConfig, Text};
use osier_store::LayerStack;

/// All checks there are.
pub(crate) const ALL: &[&dyn StepCheck] = &[&KconfigHonoured];

/// Compares the symbols that the fragments ask for with the final configuration.
struct KconfigHonoured;

impl StepCheck for KconfigHonoured {
    fn name(&self) -> &'static str {
        "kconfig-honoured"
    }

    fn version(&self) -> u32 {
        2
    }

    fn run(
        &self,
        check: &Check,
        component: &Component,
        layers: &LayerStack,
    ) -> Result<Vec<Finding>, CheckError> {
        let argument = |name| check.arguments.get(name).map(String::as_str);
        let config = argument("config").unwrap_or(".config");
        let (path, text) = written(component, layers, config)?;
        let choices =
            argument("choices").map(|name| written(component, layers, name)).transpose()?;
        let choices = choices.map(|(_, text)| text).unwrap_or_default();
        let names = component.variables.get("fragments").map_or("", String::as_str);
        let mut fragments = Vec::new();
        for name in names.split_whitespace() {
            let file = component.files.iter().find(|file| file.path == name);
            let file = file.ok_or_else(|| CheckError::NoFragment(name.to_owned()))?;
            fragments.push((&file.origin, String::from_utf8_lossy(&file.content)));
        }
        let fragments: Vec<Text<'_>> =
            fragments.iter().map(|(name, text)| Text { name, text }).collect();
        osier_check::kernel_config(&KernelConfig {
            config: Text { name: &path, text: &text },
            choices: &choices,
            fragments: &fragments,
            target: component.variables.get("TARGET").map(String::as_str),
        })
    }
}

/// Reads a file that the step wrote, named from the source's folder or from the root; gives its path, too.
fn written(
    component: &Component,
    layers: &LayerStack,
    name: &str,
) -> Result<(String, String), CheckError> {
    let source = component.variables.get("SOURCE").map_or("/build", String::as_str);
    let path = Path::new(source).join(name);
    let shown = path.display().to_string();
    let inside = path.strip_prefix("/").unwrap_or(&path);
    let read = |source| CheckError::Read { path: shown.clone(), source };
    let found = layers.find(inside).map_err(|error| read(error.source))?;
    let entry = found.ok_or_else(|| CheckError::NotWritten(shown.clone()))?;
    let bytes = fs::read(&entry.host).map_err(read)?;
    Ok((shown, String::from_utf8_lossy(&bytes).into_owned()))
}
