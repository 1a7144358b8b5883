//! The order in which components are planned: each after all that it uses.
//!
//! Chains of needs are as long as recipes make them, so the way down is a list and no recursion.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use osier_recipe::{Code, ComponentRef, Diagnostic, Origin, Recipe, Spanned, Target};

use super::platform::Standing;
use super::{PlanError, Planning};
use crate::graph::{ComponentId, Input};

/// Links of a chain that a message shows; what is left out lies farthest from the place where something is wrong.
const SHOWN_LINKS: usize = 10;

/// The place that asks for a component.
#[derive(Clone)]
pub(crate) struct Asker {
    origin: Origin,
    span: Range<usize>,
}

impl Asker {
    pub(crate) fn new(origin: &Origin, span: &Range<usize>) -> Self {
        Self { origin: origin.clone(), span: span.clone() }
    }

    /// For what no recipe asks for.
    pub(crate) fn command_line(recipe: &Recipe) -> Self {
        Self::new(&recipe.origin, &recipe.name.span)
    }
}

/// A component that a recipe asks for and that is not planned yet.
struct Ask {
    asker: Asker,
    name: String,
    plain: usize,
    platform: usize,
}

/// A component that is being planned.
struct Link {
    recipe: Arc<Recipe>,
    platform: usize,
    asker: Asker,
    /// What it uses and is to be planned before it, the next one last; nothing where that is not known yet.
    before: Option<Vec<Ask>>,
}

/// The way from a component that is wanted down to the one that is being planned.
#[derive(Default)]
pub(crate) struct Way {
    links: Vec<Link>,
    /// The position of each link, by recipe and platform.
    places: HashMap<(String, usize), usize>,
    /// What the component that is being planned uses and is not planned yet.
    unplanned: Vec<Ask>,
    /// What cannot be planned, so that it is told once.
    failed: HashSet<(String, usize)>,
}

impl Way {
    /// Says whether the component that is being planned has to wait for another one.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.unplanned.is_empty()
    }
}

impl Planning<'_, '_> {
    /// Starts to plan a component, given the place that asks for it.
    pub(crate) fn begin(&mut self, asker: Asker, recipe: Recipe, platform: usize) {
        if recipe.role.is_some() && self.platforms[platform].toolchain.is_none() {
            let message = format!(
                "`{}` is a part of a toolchain, but the system names no toolchain",
                recipe.name
            );
            let error = asker.origin.error(Code::Conflict, &asker.span, message);
            let hint =
                "name the `toolchain` in the system; tools for this machine come as `packages`";
            self.wrong.push(error.hint(hint));
            return;
        }
        let place = (recipe.name.value.clone(), platform);
        self.way.places.insert(place, self.way.links.len());
        self.way.links.push(Link { recipe: Arc::new(recipe), platform, asker, before: None });
    }

    /// Plans what has been begun, each component after what it uses; gives the first one's.
    pub(crate) fn follow(&mut self) -> Result<Option<ComponentId>, PlanError> {
        let mut last = None;
        while let Some(link) = self.way.links.last_mut() {
            if let Some(ask) = link.before.as_mut().and_then(Vec::pop) {
                self.descend(ask)?;
                continue;
            }
            let (recipe, platform) = (Arc::clone(&link.recipe), link.platform);
            let first_time = link.before.is_none();
            last = self.component_of(&recipe, platform)?;
            let mut before = std::mem::take(&mut self.way.unplanned);
            // The second time, what is still not planned is wrong, and that has been told.
            if first_time
                && !before.is_empty()
                && let Some(link) = self.way.links.last_mut()
            {
                before.reverse();
                link.before = Some(before);
                continue;
            }
            self.way.links.pop();
            let place = (recipe.name.value.clone(), platform);
            self.way.places.remove(&place);
            if last.is_none() {
                self.way.failed.insert(place);
            }
        }
        Ok(last)
    }

    /// Goes down to what a component asks for, unless it has been planned meanwhile or cannot be.
    fn descend(&mut self, ask: Ask) -> Result<(), PlanError> {
        let Ask { asker, name, plain, platform } = ask;
        if self.planned(&name, plain, platform).is_some() {
            return Ok(());
        }
        let Some(recipe) = self.recipe(&name)? else {
            let known = self.planner.definitions.recipe_names();
            self.wrong.push(Diagnostic::unknown_component(
                &asker.origin,
                &asker.span,
                &name,
                known.iter().map(String::as_str),
            ));
            return Ok(());
        };
        let platform = self.fitting(Standing::of(&recipe), plain, platform);
        let place = (name, platform);
        if let Some(start) = self.way.places.get(&place) {
            let mut links: Vec<(&str, &Origin, &Range<usize>)> = self.way.links[*start..]
                .iter()
                .map(|link| (link.recipe.name.as_str(), &link.asker.origin, &link.asker.span))
                .collect();
            // Each link stands for "this name is asked for there"; the first is asked for by the last.
            if let Some(first) = links.first_mut() {
                *first = (first.0, &asker.origin, &asker.span);
            }
            self.wrong.extend(Diagnostic::cycle(&links));
        } else if !self.way.failed.contains(&place) {
            self.begin(asker, recipe, platform);
        }
        Ok(())
    }

    fn planned(&self, name: &str, plain: usize, platform: usize) -> Option<ComponentId> {
        let known = self.done.get(name)?;
        known.on(self.fitting(known.standing, plain, platform))
    }

    /// Gives a component that is asked for at a place of a recipe: for `plain`, or for `platform` where it stands in a
    /// toolchain. Where it is not planned yet there is nothing, and it is noted that it is to be.
    pub(crate) fn asked(
        &mut self,
        asker: Asker,
        name: &str,
        plain: usize,
        platform: usize,
    ) -> Option<ComponentId> {
        let planned = self.planned(name, plain, platform);
        if planned.is_none() {
            self.way.unplanned.push(Ask { asker, name: name.to_owned(), plain, platform });
        }
        planned
    }

    /// Gives what a recipe names, as [`Self::asked`] does each.
    pub(crate) fn inputs(
        &mut self,
        origin: &Origin,
        references: &[&Spanned<ComponentRef>],
        plain: usize,
        platform: usize,
    ) -> Vec<Input> {
        let mut inputs = Vec::with_capacity(references.len());
        for reference in references {
            let asker = Asker::new(origin, &reference.span);
            let found = self.asked(asker, &reference.name, plain, platform);
            let Some(component) = found else { continue };
            let output = reference.output.clone().unwrap_or_else(|| "main".to_owned());
            let outputs = &self.graph.component(component).outputs;
            if output != "main" && outputs.iter().all(|known| known.name != output) {
                let known: Vec<&str> =
                    outputs.iter().map(|output| output.name.as_str()).chain(["main"]).collect();
                self.wrong.push(Diagnostic::unknown(
                    Code::UnknownOutput,
                    "output",
                    origin,
                    &reference.span,
                    &output,
                    known,
                ));
            }
            inputs.push(Input { component, output });
        }
        inputs
    }

    /// Says that a recipe does not support a target, and who asks for it, from near to far.
    pub(crate) fn unsupported(&self, recipe: &Recipe, target: Target) -> Diagnostic {
        let span = recipe.targets.first().map_or(&recipe.name.span, |first| &first.span);
        let mut error = Diagnostic::unsupported_target(&recipe.origin, span, &recipe.name, target);
        for links in self.way.links.windows(2).rev().take(SHOWN_LINKS) {
            let [by, link] = links else { continue };
            let label = format!("`{}` asks for `{}` here", by.recipe.name, link.recipe.name);
            error = error.related(&link.asker.origin, &link.asker.span, label);
        }
        let hint = format!(
            "add `{target}` to its `targets`, or name it only for other targets, in `[target.…]`"
        );
        error.hint(hint)
    }
}
