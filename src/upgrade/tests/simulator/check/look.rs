//! What a decision must hold to, invariant by invariant: a step, a permission, any other write.

use jiff::SignedDuration;

use super::*;

/// One decision, and all that it is measured by.
pub(super) struct Look<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) world: &'a World,
    pub(super) daemon: &'a Daemon,
    pub(super) place: &'a Place,
    pub(super) view: &'a ResourceView,
    pub(super) cluster: &'a Cluster,
    /// Now, as far as clocks agree about it.
    pub(super) now: jiff::Timestamp,
}

impl Look<'_> {
    pub(super) fn open(&self) -> Vec<&'static str> {
        let open = self.daemon.is_ready(&self.cluster.name)
            && !self.cluster.paused
            && !self.cluster.lost
            && self.view.held.is_none();
        if open { vec![] } else { vec!["I5: a write to what is not open"] }
    }

    pub(super) fn step(&self, step: &Step) -> Vec<&'static str> {
        let mut broken = self.open();
        let mut expect = |holds: bool, what: &'static str| {
            if !holds {
                broken.push(what);
            }
        };
        let upgrades = &self.world.fleet.upgrades;
        let Some(upgrade) = upgrades.iter().find(|upgrade| upgrade.name == step.upgrade) else {
            return vec!["a step of no upgrade"];
        };
        let current = self.view.client_version.as_deref().unwrap_or_default();
        let Some(stage) = Self::stage_of(self.cluster, upgrade) else { return vec!["a step in no stage"] };
        let rules = &upgrade.stages[stage];
        let in_trouble = self.view.trouble.is_some() && self.view.client_version.is_some();
        expect(!in_trouble, "a step in trouble: its worker cannot make it so");
        expect(!self.is_known_to_stand() || !self.has_run(), "a step on a chain: it stands still");
        let truth = &self.world.clusters[&self.place.0];
        let is_deaf = truth.up && truth.lags == 0 && truth.deaf;
        let is_ready = |node: &NodeView| node.ready_since.is_some();
        let asked = nodes(self.view).any(|(_, node)| is_ready(node));
        expect(!is_deaf || !asked, "a step unasked: its nodes cannot be asked");
        expect(!upgrade.paused, "I11: a step of a paused upgrade");
        let is_wanted = step.target == upgrade.client_version && step.attempt == upgrade.attempt;
        expect(is_wanted, "I9: a step to a target that is not wanted any more");
        expect(
            !rules.approval_required
                || is_expedited(upgrade)
                || rules.approved_version.as_ref() == Some(&upgrade.client_version),
            "I11: a step without approval",
        );
        expect(
            upgrade.allow_downgrade || current == step.target || order(&step.target, current) == Order::Newer,
            "I7: a step to an older version",
        );
        expect(
            // What has the version already restarts no pod by it, and what never ran has no keys.
            self.view.keystore_kept || upgrade.allow_ephemeral || current == step.target || !self.has_run(),
            "I15: a validator would lose its session keys",
        );
        if self.has_run() {
            expect(!self.is_halted(upgrade), "I6: a step after too many failures");
            let is_begun = |view: &ResourceView| {
                has_step(view, upgrade) && view.step.as_ref().is_some_and(|given| given.target == step.target)
            };
            let begun = self.owned(upgrade, &self.cluster.name).any(|(_, view)| is_begun(view));
            if !begun {
                expect(self.earlier_passed(upgrade, stage), "I1: a step before its stage's turn");
                let width = match rules.max_concurrent {
                    Count::Number(number) => number as usize,
                    Count::Percent(percent) => {
                        self.clusters_in(upgrade, stage).count() * percent as usize / 100
                    }
                };
                let flying = self
                    .clusters_in(upgrade, stage)
                    .filter(|cluster| self.is_flying(cluster, upgrade))
                    .count();
                expect(flying < width.max(1), "I2: too many clusters in flight");
            }
        }
        expect(self.may_roll(false), "I3: too many resources of a cluster roll");
        if self.view.role(Role::Validator).is_some() {
            expect(self.budget_holds(false), "I4: too many validators down by a step");
        }
        broken
    }

    /// I6: that it was healthy is noted only where it was, and so is that it is so again.
    pub(super) fn health(&self, stretch: &Stretch) -> Vec<&'static str> {
        let mut broken = self.open();
        let before = self.view.healthy.as_ref().filter(|before| before.version == stretch.version);
        let (proven, ill) = before.map_or((None, None), |before| (before.proven, before.ill));
        let says_well = stretch.proven != proven || (ill.is_some() && stretch.ill.is_none());
        if says_well && !self.ledger.is_done(self.place, self.view, STABLE, self.now) {
            broken.push("I6: noted as healthy, and it is not");
        }
        broken
    }

    /// I6: that it has failed no more is noted only where what was restarted is healthy, and the rest runs.
    pub(super) fn recovered(&self) -> Vec<&'static str> {
        let mut broken = self.open();
        let is_well = |(role, node): (&RoleView, &NodeView)| {
            let is_healthy = || self.ledger.is_well(self.place, role.role, node, STABLE, self.now);
            node.ready_since.is_some() && (node.is_outdated(&role.hash) || is_healthy())
        };
        if !nodes(self.view).all(is_well) {
            broken.push("I6: noted as failed no more, and it is not healthy");
        }
        broken
    }

    /// I14: only what was tried in vain, and restarted nothing.
    pub(super) fn rollback(&self, step: &Step) -> Vec<&'static str> {
        let mut broken = self.open();
        let untouched = nodes(self.view)
            .all(|(_, node)| node.version != Some(step.target.clone()) || node.version == step.previous);
        let permitted = self.view.grant.as_ref().is_some_and(|grant| grant.at >= step.at);
        if !trial_failed(self.view) || !untouched || permitted {
            broken.push("I14: a version is taken back that may have run");
        }
        broken
    }

    pub(super) fn grant(&self, grant: &Grant) -> Vec<&'static str> {
        let mut broken = self.open();
        let mut expect = |holds: bool, what: &'static str| {
            if !holds {
                broken.push(what);
            }
        };
        let Some(role) = self.view.role(grant.role) else {
            return vec!["a permission for a role that is not there"];
        };
        let wanted = self.view.client_version.as_deref().unwrap_or_default();
        let allowed = self.owner().is_some_and(|upgrade| upgrade.allow_downgrade);
        let is_older = nodes(self.view)
            .filter(|(role, node)| node.is_outdated(&role.hash))
            .filter_map(|(_, node)| node.version.as_deref())
            .any(|running| running != wanted && order(wanted, running) != Order::Newer);
        expect(allowed || !self.has_run() || !is_older, "I7: a roll to an older version");
        expect(
            trials(self.view).all(|tried| tried == Some(&Tried::Succeeded)),
            "a restart for an untried version",
        );
        let target = role.nodes.iter().find(|node| node.ordinal == grant.ordinal);
        let is_broken = target.is_some_and(|node| node.ready_since.is_none());
        let place = self.place;
        let others_well = nodes(self.view)
            .filter(|(role, node)| !node.is_outdated(&role.hash))
            .all(|(role, node)| self.ledger.is_well(place, role.role, node, STABLE, self.now));
        expect(
            is_broken || !self.view.ever_settled || others_well,
            "I3: a second pod of a resource before the first is healthy",
        );
        let is_stuck = is_broken && target.is_some_and(|node| node.stuck.is_some());
        expect(grant.mends == is_stuck, "a permission says wrongly whether its pod was stuck");
        // Who does not come up has nothing to lose.
        expect(is_stuck || self.may_roll(true), "I3: too many resources of a cluster roll by permissions");
        if grant.role == Role::Validator {
            let sentries = self.view.role(Role::Sentry);
            expect(
                sentries.is_none_or(|role| role.outdated().next().is_none()),
                "a validator is restarted before its sentries",
            );
            expect(self.budget_holds(true), "I4: too many validators down by a permission");
            let on_volume = !role.volumes_added || !self.has_run();
            expect(on_volume, "I15: a validator is rolled onto an empty volume");
        }
        broken
    }

    /// Whether the daemon must know that the chain stands still: it has looked for long at nodes that nobody touched.
    pub(super) fn is_known_to_stand(&self) -> bool {
        let long = |since| self.now.duration_since(since) > SignedDuration::from_mins(15);
        let is_well = |name: &ClusterName| {
            let truth = &self.world.clusters[name];
            truth.up && truth.lags == 0 && !truth.deaf
        };
        let was_watched = |place: &Place, role: Role, node: &NodeView| {
            let told = self.ledger.nodes.get(&(place.clone(), role, node.ordinal));
            node.ready_since.is_some_and(long) && told.and_then(|told| told.asked_since).is_some_and(long)
        };
        let untouched = |(place, view): (&Place, &ResourceView)| {
            let watched = nodes(view).all(|(role, node)| was_watched(place, role.role, node));
            view.step.is_none() && watched && is_well(&place.0)
        };
        self.daemon.has_looked()
            && self.world.chain_stands.is_some_and(long)
            && self.ledger.told.iter().any(untouched)
    }

    pub(super) fn has_run(&self) -> bool {
        self.view.ever_settled || nodes(self.view).any(|(_, node)| node.ready_since.is_some())
    }

    pub(super) fn owner(&self) -> Option<&Upgrade> {
        use kube::core::SelectorExt as _;
        self.world.fleet.upgrades.iter().find(|upgrade| upgrade.selector.matches(&self.view.labels))
    }

    pub(super) fn stage_of(cluster: &Cluster, upgrade: &Upgrade) -> Option<usize> {
        let stage: usize = cluster.labels.get("stage")?.parse().ok()?;
        (stage < upgrade.stages.len()).then_some(stage)
    }

    pub(super) fn clusters_in<'b>(
        &'b self,
        upgrade: &'b Upgrade,
        stage: usize,
    ) -> impl Iterator<Item = &'b Cluster> {
        self.world
            .fleet
            .clusters
            .iter()
            .filter(move |cluster| Self::stage_of(cluster, upgrade) == Some(stage))
    }

    pub(super) fn owned<'b>(
        &'b self,
        upgrade: &'b Upgrade,
        cluster: &'b ClusterName,
    ) -> impl Iterator<Item = (&'b Place, &'b ResourceView)> {
        use kube::core::SelectorExt as _;
        self.ledger
            .told
            .iter()
            .filter(move |(place, view)| place.0 == *cluster && upgrade.selector.matches(&view.labels))
    }

    fn is_halted(&self, upgrade: &Upgrade) -> bool {
        let clusters = self.world.fleet.clusters.iter().filter(|cluster| !cluster.lost);
        let owned = || clusters.clone().flat_map(|cluster| self.owned(upgrade, &cluster.name));
        let failed = owned().filter(|(place, view)| self.has_failed(place, view, upgrade)).count();
        let Count::Number(tolerated) = upgrade.max_failures else { return false };
        failed > tolerated as usize
    }

    /// Certainly failed: past its deadline and down, or without its image.
    fn has_failed(&self, place: &Place, view: &ResourceView, upgrade: &Upgrade) -> bool {
        let current = |step: &&Step| {
            step.upgrade == upgrade.name
                && step.target == upgrade.client_version
                && step.attempt == upgrade.attempt
        };
        let Some(step) = view.step.as_ref().filter(current) else { return false };
        let counts = view.held.is_none() && (view.keystore_kept || upgrade.allow_ephemeral);
        if step.rolled_back.is_some() && view.client_version == step.previous {
            return counts;
        }
        let from = restarted_last(view, step);
        let deadline = SignedDuration::from_secs(DEADLINE);
        let (late, since) = if self.was_done(place, from) {
            let down = self.ledger.fared.get(place).and_then(|fared| fared.down);
            let late = down.is_some_and(|since| since.max(from) + deadline + NOTED <= self.now);
            (late, down.unwrap_or(step.at))
        } else {
            (from + deadline <= self.now, step.at)
        };
        let down =
            nodes(view).any(|(role, node)| !node.is_outdated(&role.hash) && node.ready_since.is_none());
        let at_target = view.client_version.as_ref() == Some(&step.target);
        // Whatever became of its pods since: it has not been healthy.
        let is_noted = view.failed.as_ref().is_some_and(|failed| failed.is_of(step) && failed.at >= from)
            && self.daemon.is_ready(&place.0);
        if at_target && counts && is_noted && down {
            return true;
        }
        // What does not start at the version of before is not this one's fault.
        // And after a retry the kubelet has to try once more.
        let again =
            SignedDuration::from_secs(if step.previous.as_ref() == Some(&step.target) { 660 } else { 0 });
        let stuck_there = |(role, node): (&RoleView, &NodeView)| {
            step.at + again <= self.now
                && node.stuck.is_some()
                && !node.is_outdated(&role.hash)
                && node.version == view.client_version
        };
        at_target
            && counts
            && self.world.chain_stands.is_none()
            && self.daemon.is_ready(&place.0)
            && !self.world.stood_lately()
            && ((late && down && self.ledger.doubt.is_none_or(|doubt| doubt < since))
                || nodes(view).any(stuck_there)
                || trial_failed(view))
    }

    /// Whether it may have been noted as healthy since then.
    pub(super) fn was_done(&self, place: &Place, from: jiff::Timestamp) -> bool {
        self.ledger.fared.get(place).is_some_and(|fared| fared.done >= Some(from))
    }

    fn earlier_passed(&self, upgrade: &Upgrade, stage: usize) -> bool {
        (0..stage).all(|earlier| {
            let rules = &upgrade.stages[earlier];
            let soak = STABLE + if is_expedited(upgrade) { 0 } else { rules.soak.as_secs() };
            let is_ahead = |view: &ResourceView| {
                let version = view.client_version.as_deref().unwrap_or_default();
                order(version, &upgrade.client_version) == Order::Newer
            };
            let has_soaked = || {
                let mut all =
                    self.clusters_in(upgrade, earlier).flat_map(|cluster| self.owned(upgrade, &cluster.name));
                all.any(|(place, view)| is_ahead(view) || self.ledger.is_done(place, view, soak, self.now))
            };
            let is_passed = self.clusters_in(upgrade, earlier).all(|cluster| {
                if cluster.paused || cluster.lost {
                    return true;
                }
                if !self.daemon.is_ready(&cluster.name) {
                    let is_out_of_reach = self.daemon.cannot_reach(&cluster.name);
                    return upgrade.unreachable == Unreachable::Skip && is_out_of_reach;
                }
                self.owned(upgrade, &cluster.name).all(|(place, view)| {
                    self.is_excluded(place, view, upgrade) || self.ledger.is_done(place, view, soak, self.now)
                })
            });
            is_passed && (rules.optional || has_soaked())
        })
    }

    /// What does not hold later stages: out of scope, ahead, failed, or never healthy.
    fn is_excluded(&self, place: &Place, view: &ResourceView, upgrade: &Upgrade) -> bool {
        let version = view.client_version.as_deref().unwrap_or_default();
        let step = view
            .step
            .as_ref()
            .filter(|step| step.upgrade == upgrade.name && step.target == upgrade.client_version);
        let contested =
            version != upgrade.client_version && step.is_some_and(|step| step.attempt == upgrade.attempt);
        let late = |step: &Step| {
            let through = self.ledger.through(place, view, step);
            let counted = through.map_or(Some(step.at), |noted| noted.ill);
            counted.is_some_and(|from| from + SignedDuration::from_secs(DEADLINE) <= self.now)
        };
        view.held.is_some()
            || !view.ever_settled
            || contested
            || !(view.keystore_kept || upgrade.allow_ephemeral)
            || (order(&upgrade.client_version, version) != Order::Newer && version != upgrade.client_version)
            || step.is_some_and(late)
            || is_stuck(view)
            || trial_failed(view)
    }
}
