//! What is under way as far as the ledger knows, resource by resource: what moves, rolls, waits for its turn or is refused, and
//! which validators are down.

use jiff::SignedDuration;

use super::*;

impl Look<'_> {
    /// Whether it was given a version by an upgrade, is not healthy at it, and may still become so.
    pub(super) fn is_moving(&self, place: &Place, view: &ResourceView) -> bool {
        let Some(step) = &view.step else { return false };
        let permitted = Some(restarted_last(view, step));
        let counted = match self.ledger.through(place, view, step) {
            None => permitted,
            // At an earlier target it was through, and what ails it since nobody notes.
            Some(noted) if noted.ill.is_none() && !is_touched(view, &self.world.fleet.upgrades) => permitted,
            Some(noted) => noted.ill,
        };
        let late = counted.is_some_and(|from| from + SignedDuration::from_secs(DEADLINE) <= self.now)
            && !self.waits_for_turn(place, view);
        let is_edited =
            has_reached(view, step) && nodes(view).any(|(role, node)| node.is_outdated(&role.hash));
        view.client_version.as_ref() == Some(&step.target)
            && !late
            && !is_edited
            && !self.is_given_up(place, view)
            && !is_stuck(view)
            && !trial_failed(view)
            && !self.ledger.is_done(place, view, STABLE, self.now)
    }

    /// Whether all that it lacks is permission, which others hold up.
    pub(super) fn waits_for_turn(&self, place: &Place, view: &ResourceView) -> bool {
        let outdated = |(role, node): &(&RoleView, &NodeView)| node.is_outdated(&role.hash);
        let well = |(role, node): (&RoleView, &NodeView)| {
            if node.is_outdated(&role.hash) {
                let has_version = node.version == view.client_version;
                node.ready_since.is_some() && !(has_version && self.seems_sick(place, role.role, node))
            } else {
                self.ledger.nodes.contains_key(&(place.clone(), role.role, node.ordinal))
                    && !self.seems_sick(place, role.role, node)
                    && self.ledger.is_well(place, role.role, node, STABLE, self.now)
            }
        };
        view.trouble.is_none()
            && !self.is_refused(view)
            && !self.seem_sick()
            && nodes(view).any(|one| outdated(&one))
            && !is_unused(view)
            && trials(view).all(|tried| tried == Some(&Tried::Succeeded))
            && nodes(view).all(well)
    }

    /// Whether what is to restart next never may, as things are: onto an older version, or a validator without its keystore.
    pub(super) fn is_refused(&self, view: &ResourceView) -> bool {
        use kube::core::SelectorExt as _;
        let owner = self.world.fleet.upgrades.iter().find(|upgrade| upgrade.selector.matches(&view.labels));
        let wanted = view.client_version.as_deref().unwrap_or_default();
        let outdated = || nodes(view).filter(|(role, node)| node.is_outdated(&role.hash));
        let is_older = outdated()
            .filter_map(|(_, node)| node.version.as_deref())
            .any(|running| running != wanted && order(wanted, running) != Order::Newer);
        let has_run = view.ever_settled || nodes(view).any(|(_, node)| node.ready_since.is_some());
        let only_validator = outdated().all(|(role, _)| role.role == Role::Validator && role.volumes_added);
        (has_run && is_older && !owner.is_some_and(|upgrade| upgrade.allow_downgrade))
            || (has_run && only_validator && !owner.is_some_and(|upgrade| upgrade.allow_ephemeral))
    }

    /// Whether a node is sick, in favour of the decision: others are at once, its own one when that is certainly known.
    pub(super) fn seems_sick(&self, place: &Place, role: Role, node: &NodeView) -> bool {
        let told = self.ledger.nodes.get(&(place.clone(), role, node.ordinal));
        let long = |since| self.now.duration_since(since) >= DIP + NOTED;
        if place == self.place {
            told.and_then(|told| told.sick_since).is_some_and(long)
        } else {
            told.is_some_and(|told| told.is_sick)
        }
    }

    pub(super) fn is_flying(&self, cluster: &Cluster, upgrade: &Upgrade) -> bool {
        !cluster.paused
            && !cluster.lost
            && cluster.name != self.cluster.name
            && self.owned(upgrade, &cluster.name).any(|(place, view)| {
                view.held.is_none() && has_step(view, upgrade) && self.is_moving(place, view)
            })
    }

    /// Whether not too many others of its cluster roll; what only goes on waits for those that began after it.
    pub(super) fn may_roll(&self, goes_on: bool) -> bool {
        let rolls = |(place, view): (&Place, &ResourceView)| {
            place.0 == self.cluster.name
                && *place != *self.place
                && self.is_rolling(place, view)
                && self.has_to_wait_for(view, goes_on)
        };
        let others = self.ledger.told.iter().filter(|one| rolls(*one)).count();
        others < self.cluster.settings.max_nodes_in_flight as usize
    }

    /// Whether this one has to let another go first, if both roll: it began later, or this one has not begun.
    pub(super) fn has_to_wait_for(&self, other: &ResourceView, goes_on: bool) -> bool {
        let active = |view: &ResourceView| {
            let grant = view.grant.as_ref().filter(|grant| !grant.mends);
            view.step.as_ref().map(|step| step.at).max(grant.map(|grant| grant.at))
        };
        let has_begun = goes_on && (self.is_rolling(self.place, self.view) || self.is_sick_at_its_step());
        !has_begun || active(other) > active(self.view)
    }

    /// Whether it is sick at what its step gave it: then it is in flight again, also where it is edited as well, or was given
    /// up before its chain stood and has its time anew, or was healthy in between. While the chain stands, nothing is given up.
    pub(super) fn is_sick_at_its_step(&self) -> bool {
        let Some(step) = &self.view.step else { return false };
        let was_done = self.was_done(self.place, restarted_last(self.view, step));
        let late = step.at + SignedDuration::from_secs(DEADLINE) <= self.now;
        let is_given_up = late && !self.world.stood_lately() && !self.seem_sick() && !was_done;
        let at_step = self.view.client_version.as_ref() == Some(&step.target) && !is_given_up;
        let is_sick = |(role, node): (&RoleView, &NodeView)| {
            let told = self.ledger.nodes.get(&(self.place.clone(), role.role, node.ordinal));
            told.is_some_and(|told| told.is_sick)
                // While its chain stood, nobody gave it up.
                || ((was_done || self.world.stood_lately()) && node.ready_since.is_none())
                // Stuck on a template that is not wanted any more it has not failed.
                || (node.stuck.is_some() && node.is_outdated(&role.hash))
        };
        at_step && (self.seem_sick() || nodes(self.view).any(is_sick))
    }

    pub(super) fn is_rolling(&self, place: &Place, view: &ResourceView) -> bool {
        let goes_on = || self.has_open_grant(place, view) || self.is_half_way(view);
        view.held.is_none() && (self.is_moving(place, view) || (!self.is_given_up(place, view) && goes_on()))
    }

    /// Whether it failed under another target than the one that is wanted now, so that nobody waits for it, and is not well since.
    fn is_given_up(&self, place: &Place, view: &ResourceView) -> bool {
        let is_of = |step: &Step| {
            let from = restarted_last(view, step);
            view.failed.as_ref().is_some_and(|failed| failed.is_of(step) && failed.at >= from)
        };
        !is_touched(view, &self.world.fleet.upgrades)
            && (is_stuck(view) || view.step.as_ref().is_some_and(is_of))
            && !self.waits_for_turn(place, view)
    }

    /// Whether a permission was given for the templates that are wanted, and others are still to come.
    pub(super) fn is_half_way(&self, view: &ResourceView) -> bool {
        let is_current = |grant: &Grant| {
            let late = grant.at + SignedDuration::from_secs(DEADLINE) <= self.now;
            !late && view.role(grant.role).is_some_and(|role| role.hash == grant.hash)
        };
        view.grant.as_ref().is_some_and(is_current)
            && nodes(view).any(|(role, node)| node.is_outdated(&role.hash))
    }

    /// Whether the pod that was permitted to restart last is not healthy on its template yet.
    pub(super) fn has_open_grant(&self, place: &Place, view: &ResourceView) -> bool {
        let Some(grant) = &view.grant else { return false };
        let Some(role) = view.role(grant.role).filter(|role| role.hash == grant.hash) else { return false };
        let late = grant.at + SignedDuration::from_secs(DEADLINE) <= self.now;
        let node = role.nodes.iter().find(|node| node.ordinal == grant.ordinal);
        !late
            && node.is_some_and(|node| {
                let done = !node.is_outdated(&role.hash)
                    && (!view.ever_settled || self.ledger.is_well(place, role.role, node, STABLE, self.now));
                // A broken pod that came back by itself waits for its turn again.
                let moot = node.is_outdated(&role.hash)
                    && node.ready_since.is_some()
                    && role.outdated().any(|other| other.ordinal > node.ordinal);
                !done && !moot
            })
    }

    /// Whether one more validator may be down, if this one is up.
    pub(super) fn budget_holds(&self, goes_on: bool) -> bool {
        // What the daemon has just begun to see as sick may be free, and does not count as down for others yet.
        if self.is_down(self.place, self.view) || self.is_sick() {
            return true;
        }
        let fleet = &self.world.fleet;
        let down = self.ledger.told.iter().filter(|(place, view)| {
            let lost = fleet.cluster(&place.0).is_none_or(|cluster| cluster.lost);
            **place != *self.place
                && !lost
                && view.role(Role::Validator).is_some()
                && ((view.ever_settled && self.is_down(place, view))
                    || self.is_granted(place, view)
                    || (self.is_reserved(place, view) && self.has_to_wait_for(view, goes_on)))
        });
        down.count() < fleet.validators.max_unavailable as usize
    }

    pub(super) fn is_sick(&self) -> bool {
        let told = self.ledger.nodes.get(&(self.place.clone(), Role::Validator, 0));
        self.seem_sick() || told.is_some_and(|told| told.is_sick)
    }

    /// Whether the chain stands still, and nobody can know better than that the nodes are sick.
    pub(super) fn seem_sick(&self) -> bool {
        self.world.chain_stands.is_some() && !self.is_known_to_stand()
    }

    pub(super) fn is_down(&self, place: &Place, view: &ResourceView) -> bool {
        let Some(node) = view.role(Role::Validator).and_then(|role| role.nodes.first()) else { return true };
        let told = self.ledger.nodes.get(&(place.clone(), Role::Validator, node.ordinal));
        let sick = told.and_then(|told| told.sick_since);
        let sick = sick.is_some_and(|since| self.now.duration_since(since) >= DIP + NOTED);
        !self.daemon.is_ready(&place.0) || node.ready_since.is_none() || sick
    }

    pub(super) fn is_granted(&self, place: &Place, view: &ResourceView) -> bool {
        view.grant.as_ref().is_some_and(|grant| grant.role == Role::Validator)
            && self.has_open_grant(place, view)
    }

    /// Whether its validator is still to restart for its step; of what was through and is ill nothing is to come.
    pub(super) fn is_reserved(&self, place: &Place, view: &ResourceView) -> bool {
        let is_through =
            view.step.as_ref().is_some_and(|step| self.ledger.through(place, view, step).is_some());
        view.held.is_none() && !is_through && self.is_moving(place, view)
    }
}

/// Whether the pod that may restart has not done so.
pub(super) fn is_unused(view: &ResourceView) -> bool {
    view.grant.as_ref().is_some_and(|grant| {
        let role = view.role(grant.role).filter(|role| role.hash == grant.hash);
        role.is_some_and(|role| role.outdated().any(|node| node.ordinal == grant.ordinal))
    })
}

/// When it was last permitted to restart for the step, or when that was taken.
pub(super) fn restarted_last(view: &ResourceView, step: &Step) -> jiff::Timestamp {
    let granted =
        view.grant.as_ref().filter(|grant| view.role(grant.role).is_some_and(|role| role.hash == grant.hash));
    granted.map_or(step.at, |grant| grant.at.max(step.at))
}

/// Whether all of it came up after the step.
pub(super) fn has_reached(view: &ResourceView, step: &Step) -> bool {
    view.reached.is_some_and(|reached| reached >= step.at)
}
