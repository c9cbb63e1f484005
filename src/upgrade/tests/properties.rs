//! Properties: random fleets are rolled out by the planner on the model, and the invariants hold after every plan.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::model::{Model, NEW, SOAK, STABLE, Shape};
use crate::fleet::{ClusterName, Count};
use crate::observed::ResourceView;
use crate::polkadot::Kind;
use crate::upgrade::gates::{Gate, STEP_GATES};
use crate::upgrade::plan::plan_with;
use crate::upgrade::{Ground, Plan, Unsettled, Write};

fn shapes(broken: bool) -> impl Strategy<Value = Shape> {
    let kind = prop_oneof![Just(Kind::Sentry), Just(Kind::Validator), Just(Kind::SentryAndValidator)];
    let cluster = (0..2_usize, prop::collection::vec(kind, 1..4));
    let fault = if broken { (0..6_usize).prop_map(Some).boxed() } else { Just(None).boxed() };
    (prop::collection::vec(cluster, 1..7), 1..3_u32, 1..3_u32, prop::collection::vec(5..240_i64, 1..8), fault)
        .prop_map(|(mut clusters, width, nodes, delays, broken)| {
            clusters[0].0 = 0;
            Shape { clusters, width, nodes, delays, broken }
        })
}

impl Model {
    /// Whether the resource is at the target and has been for `seconds`.
    fn is_done(&self, view: &ResourceView, seconds: i64) -> bool {
        let since = view.settled_since.filter(|_| view.client_version.as_deref() == Some(NEW));
        since.is_some_and(|since| since + SignedDuration::from_secs(seconds) <= self.now)
    }

    /// What a plan would break if it were carried out; checked on the true state, before and after.
    fn violations(&mut self, plan: &Plan) -> Vec<&'static str> {
        let mut broken = vec![];
        let in_flight = |model: &Self| -> BTreeSet<ClusterName> {
            let moving =
                model.views().filter(|(_, view)| view.step.is_some() && !model.is_done(view, STABLE));
            moving.map(|(name, _)| name.clone()).collect()
        };
        let begun = in_flight(self);
        let steps: Vec<_> =
            plan.actions.iter().filter(|action| matches!(action.write, Write::Step(_))).collect();
        // The time counts from the last restart; who only waits for a turn has not failed.
        let failed = self.views().any(|(_, view)| {
            let restarted = view.grant.as_ref().map(|grant| grant.at);
            let from = view.step.as_ref().map(|step| restarted.map_or(step.at, |at| at.max(step.at)));
            let is_down = view.roles.iter().any(|role| role.nodes[0].ready_since.is_none());
            is_down && from.is_some_and(|from| from + SignedDuration::from_secs(1800) <= self.now)
        });
        if failed && !steps.is_empty() {
            broken.push("I6");
        }
        for step in steps {
            let held = self.stage_of[&step.place.0] == 1 && !begun.contains(&step.place.0);
            // A production cluster whose resources are partly done is half-way through, not new.
            let half_way = self.views().any(|(name, view)| *name == step.place.0 && view.step.is_some());
            let canary = |name: &ClusterName| self.stage_of[name] == 0;
            if held
                && !half_way
                && self.views().any(|(name, view)| canary(name) && !self.is_done(view, STABLE + SOAK))
            {
                broken.push("I1");
            }
        }
        self.act(plan);
        for stage in 0..2 {
            let Count::Number(width) = self.fleet.upgrades[0].stages[stage].max_concurrent else {
                unreachable!()
            };
            let flying = in_flight(self).into_iter().filter(|name| self.stage_of[name] == stage).count();
            if flying > width as usize {
                broken.push("I2");
            }
        }
        for cluster in &self.fleet.clusters {
            let rolling = self.views().filter(|(name, view)| {
                let late = view
                    .step
                    .as_ref()
                    .is_some_and(|step| step.at + SignedDuration::from_secs(1800) <= self.now);
                **name == cluster.name && view.step.is_some() && !self.is_done(view, STABLE) && !late
            });
            if rolling.count() > cluster.settings.max_nodes_in_flight as usize {
                broken.push("I3");
            }
        }
        // A validator counts from its step on: its budget is reserved before the first pod of its resource restarts.
        let taken = self.views().filter(|(_, view)| {
            let late =
                view.step.as_ref().is_some_and(|step| step.at + SignedDuration::from_secs(1800) <= self.now);
            let reserved = view.step.is_some() && !self.is_done(view, STABLE) && !late;
            view.validator().is_some_and(|one| one.ready_since.is_none() || reserved)
        });
        if taken.count() > 1 {
            broken.push("I4");
        }
        if self.steps.values().any(|count| *count > 1) {
            broken.push("I10");
        }
        broken
    }
}

/// Rolls out until nothing more happens; the violations on the way, and the model at the end.
fn roll_out(shape: &Shape, gates: &[Gate]) -> (Vec<&'static str>, Model) {
    let mut model = Model::new(shape);
    let mut broken = vec![];
    for _ in 0..500 {
        let plan = plan_with(gates, &model.fleet, &model.board, &Ground::default(), model.now);
        // A daemon that has just been started plans the same: nothing is kept between calls.
        assert_eq!(plan, plan_with(gates, &model.fleet, &model.board, &Ground::default(), model.now));
        // Until the answers are known nothing more may start: what is under way holds its slot and its budget.
        let unsettled: Unsettled = plan.actions.iter().map(|action| action.place.clone()).collect();
        let under_way = Ground { unsettled, ..Ground::default() };
        let more = plan_with(gates, &model.fleet, &model.board, &under_way, model.now);
        assert_eq!(more.actions, vec![], "beside {:?}", plan.actions);
        broken.extend(model.violations(&plan));
        if plan.actions.is_empty() && model.views().all(|(_, view)| model.is_done(view, STABLE + SOAK)) {
            break;
        }
        model.pass(20);
    }
    (broken, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_healthy_fleet_is_rolled_out_whole_in_order_and_within_its_limits(shape in shapes(false)) {
        let (broken, model) = roll_out(&shape, &STEP_GATES);
        prop_assert_eq!(broken, Vec::<&str>::new());
        let unfinished: Vec<_> = model.views().filter(|(_, view)| !model.is_done(view, 0)).collect();
        prop_assert!(unfinished.is_empty(), "{:#?}", unfinished);
    }

    #[test]
    fn a_node_that_never_becomes_ready_halts_the_upgrade_within_its_limits(shape in shapes(true)) {
        let (broken, _) = roll_out(&shape, &STEP_GATES);
        prop_assert_eq!(broken, Vec::<&str>::new());
    }
}

/// Every gate is needed: with one left out, some random fleet breaks the invariant that it guards.
#[test]
fn each_gate_left_out_breaks_its_invariant() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    for (left_out, invariant, faulty) in
        [(3, "I6", true), (4, "I1", false), (6, "I2", false), (7, "I4", false)]
    {
        let gates: Vec<Gate> = STEP_GATES
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out)
            .map(|(_, gate)| *gate)
            .collect();
        let mut runner = TestRunner::deterministic();
        let found = (0..200).any(|_| {
            let shape = shapes(faulty).new_tree(&mut runner).unwrap().current();
            roll_out(&shape, &gates).0.contains(&invariant)
        });
        assert!(found, "without gate {left_out} nothing breaks {invariant}");
    }
}
