//! The checks that kinds can name.

use osier_build::{Check, Component, Finding, StepCheck};
use osier_kconfig::Config;
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
        dropped.iter().flat_map(|symbol| finding(symbol.to_string())).collect()
    }
}

fn place(file: &str, message: &dyn std::fmt::Display) -> Finding {
    Finding { message: message.to_string(), place: Some(file.to_owned()), hint: None }
}
