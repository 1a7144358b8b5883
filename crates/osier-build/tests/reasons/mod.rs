//! What is said of why something is built again, of whole graphs.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failure of the test"
)]

use osier_build::{Graph, Part, Places, Reason};
use osier_store::Record;

use crate::workshop::{Plan, Workshop};

const INSTALL: &str = "mkdir -p $OUTPUT; echo x > $OUTPUT/x";

fn why(shop: &Workshop, graph: &Graph, name: &str) -> Reason {
    let id = graph.find(name).unwrap();
    shop.with_engine(|engine| engine.why(graph, id, &|_| Places::default()))
}

/// A component whose second step starts from the first step of another one, which needs a third.
fn branching(shop: &Workshop, leaf: &str, trunk: &str) -> Graph {
    let plan = Plan::default()
        .component("leaf", &[], &[&format!("{INSTALL}; {leaf}")])
        .component("trunk", &["leaf"], &[&format!("touch /build/trunk; : {trunk}"), INSTALL])
        .component("branch", &[], &["touch /build/own", INSTALL]);
    let mut graph = shop.graph(&plan);
    let (trunk, branch) = (graph.find("trunk").unwrap(), graph.find("branch").unwrap());
    let from = graph.component(trunk).steps[0];
    let second = graph.component(branch).steps[1];
    graph.steps[second.0 as usize].below = Some(from);
    graph
}

#[test]
fn a_chain_that_starts_from_another_component_is_told_with_it() {
    let shop = Workshop::new();
    let graph = branching(&shop, ":", "");
    let reason = why(&shop, &graph, "branch");
    let Reason::DependsOn { chain, because } = reason else { panic!("{reason}") };
    assert_eq!(chain, ["branch", "trunk", "leaf"]);
    assert!(matches!(*because, Reason::NeverBuilt { component } if component == "leaf"));
    shop.run(&graph).unwrap();
    assert!(matches!(why(&shop, &graph, "branch"), Reason::Unchanged { .. }));
    // The step that it starts from has changed, though its own have not.
    let graph = branching(&shop, ":", "changed");
    let reason = why(&shop, &graph, "branch");
    let below = Part::Below { step: "step-1".into() };
    assert!(matches!(&reason, Reason::PartChanged { part, .. } if *part == below), "{reason}");
    assert!(matches!(why(&shop, &graph, "leaf"), Reason::Unchanged { .. }));
    shop.run(&graph).unwrap();
    // A change of what that one needs, seen from the end of the chain.
    let graph = branching(&shop, "echo y > $OUTPUT/x", "changed");
    let reason = why(&shop, &graph, "branch").to_string();
    let expected = "branch depends on trunk, which must be rebuilt first: trunk depends on leaf, which must be rebuilt first: \
                    leaf is built again because the script of step-0 changed (leaf.toml:0)";
    assert_eq!(reason, expected);
}

#[test]
fn a_result_that_is_gone_is_told_as_that() {
    let shop = Workshop::new();
    let graph = shop.graph(&Plan::default().component("part", &[], &[INSTALL]));
    assert!(matches!(why(&shop, &graph, "part"), Reason::NeverBuilt { .. }));
    let results = shop.run(&graph).unwrap();
    let key = results.values().next().unwrap().key;
    shop.store.index().append(Record::Forget(key)).unwrap();
    assert!(matches!(why(&shop, &graph, "part"), Reason::ResultGone { .. }));
    // A record that cannot be read is not one that was never there, and the next build writes a good one.
    let record = shop.store.root().join("ingredients/part-x86_64");
    for damage in ["", "[", "{}", "[[[\"a\", \"b\", \"c\"]]]"] {
        std::fs::write(&record, damage).unwrap();
        let reason = why(&shop, &graph, "part");
        assert!(matches!(reason, Reason::RecordUnreadable { .. }), "{damage}: {reason}");
    }
    shop.run(&graph).unwrap();
    shop.store.index().append(Record::Forget(key)).unwrap();
    assert!(matches!(why(&shop, &graph, "part"), Reason::ResultGone { .. }));
}
