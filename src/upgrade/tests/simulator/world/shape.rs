//! The fleet that a random run begins with.

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{
    ClusterName, Count, Fleet, Guard, Health, Stage, Telemetry, Unreachable, Upgrade, Validators,
};
use crate::observed::{NodeView, ResourceView, RoleView};
use crate::polkadot::{Kind, Role};
use crate::upgrade::tests::model;
use crate::upgrade::tests::simulator::schedule::{FIRST, Shape, version};

/// How long all must have been well.
pub(in super::super) const STABLE: i64 = 60;
/// Each upgrade's deadline.
pub(in super::super) const DEADLINE: i64 = 1800;

pub(in super::super) fn fleet(shape: &Shape) -> Fleet {
    let selector = |key: &str, value: String| [(key.to_owned(), value)].into_iter().collect();
    let stages: Vec<Stage> = shape
        .stages
        .iter()
        .enumerate()
        .map(|(index, (width, soak, approval))| Stage {
            name: format!("s{index}"),
            clusters: selector("stage", index.to_string()),
            optional: shape.optional,
            max_concurrent: if shape.percent {
                Count::Percent((34 * width).min(100))
            } else {
                Count::Number(*width)
            },
            soak: SignedDuration::from_secs(*soak),
            approval_required: *approval,
            approved_version: None,
            approver: None,
        })
        .collect();
    let upgrade = |team: usize| Upgrade {
        name: format!("u{team}"),
        client_version: version(FIRST + 1),
        selector: if shape.two {
            selector("team", team.to_string())
        } else {
            kube::core::Selector::default()
        },
        attempt: 1,
        paused: false,
        allow_downgrade: false,
        allow_ephemeral: false,
        expedite: None,
        stages: stages.clone(),
        max_failures: Count::Number(shape.max_failures),
        progress_deadline: SignedDuration::from_secs(DEADLINE),
        unreachable: if shape.skip { Unreachable::Skip } else { Unreachable::Wait },
        health: Health { stable_for: SignedDuration::from_secs(STABLE), ..Health::default() },
        prepull: shape.prepull,
    };
    Fleet {
        home: ClusterName::from("c0"),
        home_namespace: "polkafleet".into(),
        clusters: vec![],
        validators: Validators { max_unavailable: shape.budget, guard: Guard::Strict },
        upgrades: (0..if shape.two { 2 } else { 1 }).map(upgrade).collect(),
        lease: SignedDuration::from_secs(15),
        telemetry: Telemetry::default(),
        admin: None,
    }
}

pub(super) fn resource(kind: Kind, sentries: u8, index: usize, now: Timestamp) -> ResourceView {
    let hash = format!("{}#0", version(FIRST));
    let node = |role: Role, ordinal: i32| NodeView {
        pod: format!("r{index}-{role}-{ordinal}"),
        ordinal,
        hash: Some(hash.clone()),
        version: Some(version(FIRST)),
        ready_since: Some(now),
        stuck: None,
        machine: Some(format!("m{index}-{role}-{ordinal}")),
    };
    let count = |role: Role| if role == Role::Sentry { i32::from(sentries) } else { 1 };
    let role = |role: Role| RoleView {
        role,
        hash: hash.clone(),
        nodes: (0..count(role)).map(|ordinal| node(role, ordinal)).collect(),
        volumes_added: false,
    };
    ResourceView {
        uid: format!("u{index}"),
        labels: [("team".to_owned(), (index % 2).to_string())].into(),
        client_version: Some(version(FIRST)),
        roles: Role::ALL.into_iter().filter(|one| kind.has(*one)).map(role).collect(),
        ..model::resource(kind, index, now)
    }
}
