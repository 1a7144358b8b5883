//! Plans of components: pins that are missing are made, and what is edited takes its place.

use osier_build::{ComponentId, Graph, PlanError, Planner, Wanted};

use crate::project::edits;
use crate::project::library::Shelf;
use crate::project::{BUILD, Project};
use crate::report::problem::diagnosed;
use crate::report::problem::{Code, Outcome, Problem};
use crate::source;
use crate::source::network::Network;

impl Project<'_> {
    /// Plans one component for one target, or a part of a product; gives its place in the graph as well.
    pub(crate) fn plan_one(
        &mut self,
        name: &str,
        network: &Network<'_>,
    ) -> Outcome<(Graph, ComponentId)> {
        if let Some((system, _)) = name.split_once('/') {
            return self.plan_part(system, name, network);
        }
        let wanted = self.wanted(name)?;
        if wanted.len() > 1 {
            self.target()?;
        }
        let graph = self.plan(&wanted, network)?;
        let id = graph.goals.first().copied();
        let id = id.ok_or_else(|| crate::report::problem::unknown("component", name, &[]))?;
        Ok((graph, id))
    }

    /// Plans components, with what is edited of their sources; pins that are missing are made first, unless that is refused.
    pub(crate) fn plan(&mut self, wanted: &[Wanted], network: &Network<'_>) -> Outcome<Graph> {
        let mut graph = self.plan_pinned(wanted, network)?;
        edits::apply(self, &mut graph)?;
        Ok(graph)
    }

    /// Plans components as their recipes say, whatever is edited.
    pub(crate) fn plan_pinned(
        &mut self,
        wanted: &[Wanted],
        network: &Network<'_>,
    ) -> Outcome<Graph> {
        let checks: Vec<&str> = crate::checks::ALL.iter().map(|check| check.name()).collect();
        for _ in 0..2 {
            let planner = Planner {
                definitions: self,
                lock: &self.lock,
                profile: self.profile.as_deref(),
                suite: &self.suite,
                build: BUILD,
                checks: &checks,
            };
            let missing = match planner.plan(wanted) {
                Ok(graph) => return Ok(graph),
                Err(PlanError::MissingPins(missing)) => missing,
                Err(error) => return Err(self.plan_problem(error)),
            };
            source::add(self, &missing, network)?;
        }
        Err(Problem::defect("pins that were just made do not fit the recipes"))
    }

    fn plan_problem(&self, error: PlanError) -> Problem {
        match error {
            PlanError::Wrong(wrong) => diagnosed(&wrong, |file| self.text_of(file)),
            PlanError::NoRecipe { name, .. } => crate::report::problem::unknown(
                "component",
                &name,
                &self.library().names(Shelf::Recipes),
            ),
            PlanError::NoToolchain(_) => Problem::of(osier_recipe::Code::UnsupportedTarget, error)
                .hint("name a recipe with a `toolchain` table as the system's `toolchain`"),
            PlanError::File(error) => error.into(),
            error => Problem::of(Code::MissingPin, error),
        }
    }
}
