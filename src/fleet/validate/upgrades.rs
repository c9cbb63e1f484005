//! The upgrades: versions, selectors, stages, counts, durations. Pure.

use jiff::SignedDuration;
use kube::core::{Expression, Selector};

use super::Checker;
use super::words::{is_label_key, is_label_value};
use crate::fleet::raw::{RawExpedite, RawExpression, RawFleet, RawHealth, RawSelector, RawStage, RawUpgrade};
use crate::fleet::{ANSWERS_REMEMBERED, Cluster, Expedite, Health, Probing, Stage, Unreachable, Upgrade};
use crate::version::{RELEASE_WANTED, is_release};

const PROGRESS_DEADLINE: SignedDuration = SignedDuration::from_mins(30);

impl Checker<'_> {
    pub(super) fn upgrade(&mut self, index: usize, raw: &RawUpgrade) -> Upgrade {
        let at = |key: &str| format!("upgrades[{index}].{key}");
        let name = self.name(&at("name"), raw.name.as_ref());
        let client_version = raw.client_version.clone().unwrap_or_default();
        self.release(&at("clientVersion"), &client_version);
        if raw.stages.is_empty() {
            self.problem(at("stages"), None, "has no stage", "add one, for example name: all, clusters: {}");
        }
        let stages: Vec<Stage> =
            raw.stages.iter().enumerate().map(|(number, stage)| self.stage(index, number, stage)).collect();
        self.unique(&at("stages"), stages.iter().map(|stage| stage.name.as_str()));
        let progress_deadline =
            self.duration(&at("progressDeadline"), raw.progress_deadline.as_ref(), PROGRESS_DEADLINE);
        if progress_deadline.is_zero() {
            let remedy = "write how long a node may take, for example 30m";
            self.problem(at("progressDeadline"), Some("0s"), "would fail every node at once", remedy);
        }
        let health = self.health(&at("health.stableFor"), &raw.health);
        if !progress_deadline.is_zero() && health.stable_for >= progress_deadline {
            let what = format!(
                "is not shorter than progressDeadline ({progress_deadline:#}): every node would fail before it counts as healthy"
            );
            let remedy = "make it shorter, or progressDeadline longer: in it a node restarts, catches up and then is well for so long";
            self.problem(
                at("health.stableFor"),
                Some(raw.health.stable_for.as_deref().unwrap_or("3m")),
                what,
                remedy,
            );
        }
        Upgrade {
            name,
            client_version,
            selector: self.selector(&at("selector"), &raw.selector),
            attempt: raw.attempt.unwrap_or(1),
            paused: raw.paused,
            allow_downgrade: raw.allow_downgrade,
            allow_ephemeral: raw.allow_ephemeral,
            expedite: raw.expedite.as_ref().map(|expedite| self.expedite(&at("expedite"), expedite)),
            stages,
            max_failures: self.count(&at("maxFailures"), raw.max_failures.as_ref(), 0, 0),
            progress_deadline,
            unreachable: match raw.unreachable.as_deref() {
                Some("skip") => Unreachable::Skip,
                _ => Unreachable::Wait,
            },
            health,
            prepull: raw.prepull.unwrap_or(true),
        }
    }

    fn health(&mut self, at: &str, raw: &RawHealth) -> Health {
        let usual = Health::default();
        Health {
            min_peers: raw.min_peers.unwrap_or(usual.min_peers),
            max_sync_lag: raw.max_sync_lag.unwrap_or(usual.max_sync_lag),
            max_finality_lag: raw.max_finality_lag.unwrap_or(usual.max_finality_lag),
            stable_for: self.duration(at, raw.stable_for.as_ref(), usual.stable_for),
            probe: match raw.probe.as_deref() {
                Some("optional") => Probing::Optional,
                _ => Probing::Required,
            },
        }
    }

    /// What is remembered of a node must reach back as far as it has to have been well.
    pub(super) fn remembered(&mut self, raw: &RawFleet, clusters: &[Cluster], upgrades: &[Upgrade]) {
        for (index, upgrade) in upgrades.iter().enumerate() {
            let theirs = clusters.iter().filter(|cluster| upgrade.stage_of(cluster).is_some());
            let quickest = theirs.min_by_key(|cluster| cluster.settings.probe.interval);
            let Some((name, interval)) = quickest.map(|one| (&one.name, one.settings.probe.interval)) else {
                continue;
            };
            let longest = interval * ANSWERS_REMEMBERED;
            if interval.is_positive() && upgrade.health.stable_for > longest {
                let value = raw.upgrades[index].health.stable_for.as_deref().unwrap_or("3m");
                let what = format!(
                    "is longer than what is remembered of a node in cluster {name}, which is asked every {interval:#}: no \
                     node would ever be healthy"
                );
                let remedy = format!("write at most {longest:#}, or a longer probe.interval there");
                self.problem(format!("upgrades[{index}].health.stableFor"), Some(value), what, remedy);
            }
        }
    }

    fn stage(&mut self, upgrade: usize, index: usize, raw: &RawStage) -> Stage {
        let at = |key: &str| format!("upgrades[{upgrade}].stages[{index}].{key}");
        if let Some(approved) = &raw.approved_version {
            self.release(&at("approvedVersion"), approved);
            if raw.approval.is_none() {
                let remedy = "add approval: required, or remove it";
                self.problem(
                    at("approvedVersion"),
                    Some(approved),
                    "has no effect: nothing asks for it",
                    remedy,
                );
            }
        }
        Stage {
            name: self.name(&at("name"), raw.name.as_ref()),
            clusters: self.selector(&at("clusters"), &raw.clusters),
            optional: raw.optional,
            max_concurrent: self.count(&at("maxConcurrent"), raw.max_concurrent.as_ref(), 1, 1),
            soak: self.duration(&at("soak"), raw.soak.as_ref(), SignedDuration::ZERO),
            approval_required: raw.approval.is_some(),
            approved_version: raw.approved_version.clone(),
            approver: None,
        }
    }

    fn name(&mut self, at: &str, name: Option<&String>) -> String {
        match name {
            Some(name) => self.dns_label(at, name),
            None => self.problem(at, None, "is missing", "give it a name"),
        }
        name.cloned().unwrap_or_default()
    }

    fn release(&mut self, at: &str, tag: &str) {
        if !is_release(tag) {
            self.problem(at, Some(tag), "is not a release tag", RELEASE_WANTED);
        }
    }

    fn expedite(&mut self, at: &str, raw: &RawExpedite) -> Expedite {
        self.release(&format!("{at}.version"), &raw.version);
        if raw.reason.trim().is_empty() {
            self.problem(format!("{at}.reason"), None, "is missing", "say why, for the record");
        }
        Expedite { version: raw.version.clone(), reason: raw.reason.clone() }
    }

    fn selector(&mut self, at: &str, raw: &RawSelector) -> Selector {
        for (key, value) in &raw.match_labels {
            if !is_label_key(key) || !is_label_value(value) {
                let remedy = "write the label as it is on the object";
                self.problem(format!("{at}.matchLabels.{key}"), Some(value), "is not a label", remedy);
            }
        }
        let mut selector: Selector = raw.match_labels.clone().into_iter().collect();
        for (index, expression) in raw.match_expressions.iter().enumerate() {
            selector.extend(self.expression(&format!("{at}.matchExpressions[{index}]"), expression));
        }
        selector
    }

    fn expression(&mut self, at: &str, raw: &RawExpression) -> Option<Expression> {
        if !is_label_key(&raw.key) {
            let remedy = "give the key of a label";
            self.problem(format!("{at}.key"), Some(&raw.key), "is not a label's key", remedy);
        }
        for (index, value) in raw.values.iter().enumerate().filter(|(_, value)| !is_label_value(value)) {
            let remedy = "write the value as it is on the object";
            self.problem(format!("{at}.values[{index}]"), Some(value), "is not a label's value", remedy);
        }
        let (key, values) = (raw.key.clone(), raw.values.iter().cloned().collect());
        match (raw.operator.as_str(), raw.values.is_empty()) {
            ("In", false) => Some(Expression::In(key, values)),
            ("NotIn", false) => Some(Expression::NotIn(key, values)),
            ("Exists", true) => Some(Expression::Exists(key)),
            ("DoesNotExist", true) => Some(Expression::DoesNotExist(key)),
            ("", _) => {
                let remedy = "write In, NotIn, Exists or DoesNotExist";
                self.problem(format!("{at}.operator"), None, "is missing", remedy);
                None
            }
            (operator, _) => {
                let remedy = "give In and NotIn at least one value, Exists and DoesNotExist none";
                self.problem(format!("{at}.values"), None, format!("does not go with {operator}"), remedy);
                None
            }
        }
    }
}
