//! For what components are compiled, and by what: platforms and their toolchains.

use std::collections::BTreeMap;
use std::sync::Arc;

use osier_recipe::{Code, Level, Recipe, Role, Target};

use super::{PlanError, Planning};
use crate::graph::{ComponentId, Input};

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
    /// Which of the target's processors it is compiled for; none for whatever the compiler takes by itself.
    pub tune: Option<Level>,
}

/// What programs run on, and what compiles them. The first of a plan is the build environment itself.
pub(crate) struct Platform {
    pub(crate) target: Target,
    pub(crate) toolchain: Option<Arc<Recipe>>,
    pub(crate) tune: Option<Level>,
    /// The same platform without a tune: what a tune does not reach is planned there, once for all levels.
    plain: usize,
    /// What the toolchain adds, once it is planned: with its libraries, and without.
    inputs: [Option<ToolchainInputs>; 2],
}

/// Tools and needs that a toolchain adds to a component.
type ToolchainInputs = (Vec<Input>, Vec<Input>);

impl Platform {
    /// The build environment itself, where programs of the machine that builds are made.
    pub(crate) fn build(target: Target) -> Self {
        Self { target, toolchain: None, tune: None, plain: 0, inputs: [None, None] }
    }
}

/// Where a recipe stands among the platforms.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    role: Option<Role>,
    tuned: bool,
}

impl Standing {
    pub(crate) fn of(recipe: &Recipe) -> Self {
        Self { role: recipe.role, tuned: recipe.tuned }
    }
}

/// A recipe that is planned: where it stands, and its component for each platform.
pub(crate) struct Planned {
    pub(crate) standing: Standing,
    pub(crate) components: Vec<(usize, ComponentId)>,
}

impl Planned {
    pub(crate) fn on(&self, platform: usize) -> Option<ComponentId> {
        self.components.iter().find(|(known, _)| *known == platform).map(|(_, id)| *id)
    }
}

impl Planning<'_, '_> {
    /// Gives the platform of a recipe that is asked for at a place: `plain`, or `platform` where it stands in a toolchain.
    pub(crate) fn fitting(&self, standing: Standing, plain: usize, platform: usize) -> usize {
        let platform = if standing.role.is_some() { platform } else { plain };
        if standing.tuned { platform } else { self.platforms[platform].plain }
    }

    /// Gives the platform of a component that is asked for, were a tune for it.
    pub(crate) fn platform(&mut self, wanted: &Wanted) -> Result<usize, PlanError> {
        let known = self.platforms.iter().position(|platform| {
            let toolchain = platform.toolchain.as_ref().map(|recipe| recipe.name.as_str());
            platform.target == wanted.target
                && toolchain == wanted.toolchain.as_deref()
                && platform.tune == wanted.tune
        });
        if let Some(known) = known {
            return Ok(known);
        }
        if wanted.tune.is_some() {
            let plain = self.platform(&Wanted { tune: None, ..wanted.clone() })?;
            let Platform { target, toolchain, .. } = &self.platforms[plain];
            let (target, toolchain) = (*target, toolchain.clone());
            let tuned =
                Platform { target, toolchain, tune: wanted.tune, plain, inputs: [None, None] };
            self.platforms.push(tuned);
            return Ok(self.platforms.len() - 1);
        }
        let toolchain = match &wanted.toolchain {
            None => return Err(PlanError::NoToolchain(wanted.clone())),
            Some(name) => self.named_recipe(name)?,
        };
        if toolchain.toolchain.is_none() {
            let message = format!("`{}` is not a toolchain", toolchain.name);
            let error = toolchain.origin.error(Code::MissingKey, &toolchain.name.span, message);
            return Err(PlanError::Wrong(vec![
                error.hint("give it a `[toolchain]` table, or name another recipe as `toolchain`"),
            ]));
        }
        let toolchain = Some(Arc::new(toolchain));
        let plain = self.platforms.len();
        let target = wanted.target;
        self.platforms.push(Platform {
            target,
            toolchain,
            tune: None,
            plain,
            inputs: [None, None],
        });
        Ok(plain)
    }

    /// Gives what a platform's toolchain adds to each component that it compiles: tools and needs.
    pub(crate) fn toolchain_inputs(
        &mut self,
        platform: usize,
        freestanding: bool,
    ) -> ToolchainInputs {
        let platform = self.platforms[platform].plain;
        let Platform { target, toolchain, inputs, .. } = &self.platforms[platform];
        if let Some(inputs) = &inputs[usize::from(freestanding)] {
            return inputs.clone();
        }
        let Some(toolchain) = toolchain.clone() else { return (Vec::new(), Vec::new()) };
        let mut effective = toolchain.effective(*target, self.planner.profile);
        let bare = toolchain.toolchain.iter().flat_map(|toolchain| &toolchain.freestanding);
        let bare: Vec<_> = bare.filter(|_| freestanding).collect();
        if !bare.is_empty() {
            (effective.tools, effective.needs) = (bare, Vec::new());
        }
        let tools = self.inputs(&toolchain.origin, &effective.tools, 0, platform);
        let needs = self.inputs(&toolchain.origin, &effective.needs, platform, platform);
        if !self.way.is_waiting() {
            self.platforms[platform].inputs[usize::from(freestanding)] =
                Some((tools.clone(), needs.clone()));
        }
        (tools, needs)
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

    /// Gives the name of a component on a platform: with the target where a toolchain compiles it, and with the level.
    pub(crate) fn name_on(&self, recipe: &str, platform: usize) -> String {
        let Platform { target, toolchain, tune, .. } = &self.platforms[platform];
        let target = toolchain.as_ref().map(|_| format!("@{target}"));
        let level = tune.map(|level| format!("@{level}"));
        [Some(recipe.to_owned()), target, level].into_iter().flatten().collect()
    }
}

/// The variables that compilers of C and C++ are given flags by, as all build systems know them.
const FLAGS: [&str; 2] = ["CFLAGS", "CXXFLAGS"];

/// What they hold where neither toolchain nor recipe says anything.
const DEFAULT_FLAGS: &str = "-O2";

/// Adds what a level of the processor means to the variables of a component.
///
/// It stands first: of two flags compilers take the last, so that a recipe that names a processor itself has it.
pub(crate) fn tune(variables: &mut BTreeMap<String, String>, level: Level) {
    for name in FLAGS {
        let flags = variables.entry(name.to_owned()).or_insert_with(|| DEFAULT_FLAGS.to_owned());
        *flags = format!("{} {flags}", level.flag());
    }
}
