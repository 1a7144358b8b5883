//! For what components are compiled, and by what: platforms and their toolchains.

use std::collections::BTreeMap;
use std::sync::Arc;

use osier_recipe::{Code, Recipe, Role, Target};

use crate::graph::{ComponentId, Input};
use crate::planner::{PlanError, Planning};

/// A component that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The recipe's name.
    pub name: String,
    /// What it is for.
    pub target: Target,
    /// The recipe of the toolchain that compiles it; none for the build environment's compiler, which knows the
    /// processor that builds alone.
    pub toolchain: Option<String>,
}

/// What programs run on, and what compiles them. The first of a plan is the build environment itself.
pub(crate) struct Platform {
    pub(crate) target: Target,
    pub(crate) toolchain: Option<Arc<Recipe>>,
    /// The toolchain's tools and needs, once they are planned.
    pub(crate) inputs: Option<(Vec<Input>, Vec<Input>)>,
}

/// A recipe that is planned: where it stands in a toolchain, and its component for each platform.
pub(crate) struct Planned {
    pub(crate) role: Option<Role>,
    pub(crate) components: Vec<(usize, ComponentId)>,
}

impl Planned {
    pub(crate) fn on(&self, platform: usize) -> Option<ComponentId> {
        self.components.iter().find(|(known, _)| *known == platform).map(|(_, id)| *id)
    }
}

impl Planning<'_, '_> {
    /// Gives the platform of a component that is asked for.
    pub(crate) fn platform(&mut self, wanted: &Wanted) -> Result<usize, PlanError> {
        let known = self.platforms.iter().position(|platform| {
            let toolchain = platform.toolchain.as_ref().map(|recipe| recipe.name.as_str());
            platform.target == wanted.target && toolchain == wanted.toolchain.as_deref()
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let toolchain = match &wanted.toolchain {
            None => return Err(PlanError::NoToolchain(wanted.clone())),
            Some(name) => self.named_recipe(name)?,
        };
        if toolchain.toolchain.is_none() {
            let message = format!("`{}` is no toolchain", toolchain.name);
            let error = toolchain.origin.error(Code::MissingKey, &toolchain.name.span, message);
            return Err(PlanError::Wrong(vec![
                error.hint("give it a `[toolchain]` table, or name another recipe as `toolchain`"),
            ]));
        }
        let toolchain = Some(Arc::new(toolchain));
        self.platforms.push(Platform { target: wanted.target, toolchain, inputs: None });
        Ok(self.platforms.len() - 1)
    }

    /// Gives what a platform's toolchain adds to each component that it compiles: tools and needs.
    pub(crate) fn toolchain_inputs(
        &mut self,
        platform: usize,
    ) -> Result<(Vec<Input>, Vec<Input>), PlanError> {
        let Platform { target, toolchain, inputs } = &self.platforms[platform];
        if let Some(inputs) = inputs {
            return Ok(inputs.clone());
        }
        let Some(toolchain) = toolchain.clone() else { return Ok((Vec::new(), Vec::new())) };
        let effective = toolchain.effective(*target, self.planner.profile);
        let tools = self.inputs(&toolchain.origin, &effective.tools, 0, platform)?;
        let needs = self.inputs(&toolchain.origin, &effective.needs, platform, platform)?;
        self.platforms[platform].inputs = Some((tools.clone(), needs.clone()));
        Ok((tools, needs))
    }

    /// Gives the variables that say for what a component is compiled, and by what.
    pub(crate) fn platform_variables(
        &self,
        role: Option<Role>,
        platform: usize,
    ) -> BTreeMap<String, String> {
        let build = format!("{}-pc-linux-gnu", self.planner.build);
        let Platform { target, toolchain, .. } = &self.platforms[platform];
        let toolchain = toolchain.as_ref().and_then(|recipe| recipe.toolchain.as_ref());
        let triple = toolchain.map_or_else(|| build.clone(), |toolchain| toolchain.triple(*target));
        let mut variables = BTreeMap::new();
        if let (None, Some(toolchain)) = (role, toolchain) {
            let env = toolchain.env.iter();
            variables.extend(
                env.map(|(name, value)| (name.clone(), value.replace("{triple}", &triple))),
            );
        }
        let host = match role {
            Some(Role::Cross) => {
                variables.insert("TARGET_TRIPLE".to_owned(), triple);
                build.clone()
            }
            _ => triple,
        };
        variables.insert("HOST_TRIPLE".to_owned(), host);
        variables.insert("BUILD_TRIPLE".to_owned(), build);
        variables
    }
}
