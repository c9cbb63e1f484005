//! What the events of a schedule do to the planner's simulated world.

use super::Simulation;
use super::schedule::{ClusterEvent, Event, ResourceEvent, UpgradeEvent};
use crate::polkadot::{Kind, Role};
use crate::upgrade::Place;

impl Simulation {
    pub(super) fn happens(&mut self, event: &Event) {
        match event {
            Event::Nothing => {}
            Event::Sicken(who, sick) => {
                if let Some((place, role, ordinal)) = self.node(*who) {
                    self.world.sicken(&place, role, ordinal, *sick);
                }
            }
            Event::Crash(who, back) => {
                if let Some((place, role, ordinal)) = self.node(*who) {
                    self.world.crash(&place, role, ordinal, back.then_some(90));
                }
            }
            Event::Fault(fault) => self.world.faults.push(*fault),
            Event::Trial(tried) => self.world.trials.push(tried.clone()),
            Event::Mend => self.world.mend(),
            Event::Cluster(who, what) => self.cluster(*who, what),
            Event::Upgrade(who, what) => self.upgrade(*who, what),
            Event::Resource(who, what) => self.resource(*who, what),
            Event::Join(who) => {
                let stages = self.world.fleet.upgrades[0].stages.len();
                self.world.join(usize::from(*who) % stages, &[(Kind::Validator, 1), (Kind::Sentry, 1)]);
            }
            Event::Chain(stands) => {
                if *stands {
                    let now = self.world.now;
                    self.world.chain_stands.get_or_insert(now);
                } else {
                    self.world.chain_goes_on();
                }
            }
            Event::Kill(late) => self.replace_daemon(*late),
            Event::Latency(ticks) => self.daemon.latency = *ticks,
            Event::Clock(ahead) => self.world.set_clock(*ahead),
            Event::LoseAnswers(lost) => self.daemon.loses_answers = *lost,
        }
    }

    fn place(&self, who: u16) -> Option<Place> {
        let places = self.world.places();
        places.get(usize::from(who) % places.len().max(1)).cloned()
    }

    fn node(&self, who: u16) -> Option<(Place, Role, i32)> {
        let place = self.place(who)?;
        let view = self.world.view(&place)?;
        let nodes: Vec<(Role, i32)> = view
            .roles
            .iter()
            .flat_map(|role| role.nodes.iter().map(|node| (role.role, node.ordinal)))
            .collect();
        let (role, ordinal) = nodes[usize::from(who / 7) % nodes.len()];
        Some((place, role, ordinal))
    }

    fn cluster(&mut self, who: u16, what: &ClusterEvent) {
        let count = self.world.fleet.clusters.len();
        let index = usize::from(who) % count;
        let name = self.world.fleet.clusters[index].name.clone();
        let Some(truth) = self.world.clusters.get_mut(&name) else { return };
        match what {
            ClusterEvent::Down => truth.up = false,
            ClusterEvent::Up => truth.up = true,
            ClusterEvent::Lag(ticks) => truth.lags = *ticks,
            ClusterEvent::Deaf(deaf) => truth.deaf = *deaf,
            ClusterEvent::Pause(paused) => self.world.fleet.clusters[index].paused = *paused,
            ClusterEvent::Lost(lost) => self.world.fleet.clusters[index].lost = *lost,
            // Home cannot leave.
            ClusterEvent::Leave if index > 0 && count > 2 => {
                self.world.fleet.clusters.remove(index);
                self.world.clusters.remove(&name);
            }
            ClusterEvent::Leave => {}
        }
    }

    fn upgrade(&mut self, who: u16, what: &UpgradeEvent) {
        let count = self.world.fleet.upgrades.len();
        let upgrade = &mut self.world.fleet.upgrades[usize::from(who) % count];
        if matches!(what, UpgradeEvent::Retarget | UpgradeEvent::Backwards) {
            self.ledger.another_target(&upgrade.name);
        }
        what.happens_to(upgrade);
    }

    fn resource(&mut self, who: u16, what: &ResourceEvent) {
        let Some(place) = self.place(who) else { return };
        match what {
            ResourceEvent::Revert => self.world.edit(&place, |view| {
                let previous = view.step.as_ref().and_then(|step| step.previous.clone());
                if let Some(previous) = previous {
                    view.client_version = Some(previous);
                }
            }),
            ResourceEvent::Edit => self.world.edit_template(&place),
            ResourceEvent::Hold(held) => {
                self.world.edit(&place, |view| view.held = held.then(|| "for a test".into()));
            }
            ResourceEvent::Trouble(trouble) => {
                self.world.edit(&place, |view| view.trouble = trouble.then(|| "a name is taken".into()));
            }
            ResourceEvent::Ephemeral => self.world.edit(&place, |view| {
                view.keystore_kept = !view.kind.has(Role::Validator);
            }),
        }
    }
}
