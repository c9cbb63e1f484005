//! Installs the CRD in a cluster that has none, where the fleet file says that we do, and as long as its Lease is ours.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use tokio::time::Instant;
use tracing::info;

use super::{MEMBER_LEASE, Signs, Worker, fenced, trouble};
use crate::cluster::limits::ANSWER_BOUND;
use crate::observed::ClusterState;
use crate::polkadot::{self, FIELD_MANAGER};

/// The installation of a CRD that failed is tried again so soon, as rights are granted; or sooner.
const INSTALL_AGAIN: Duration = Duration::from_secs(15);

/// The installation of the CRD.
pub(super) struct Installing {
    /// When it is tried again.
    pub(super) again: Instant,
    /// Why it failed, if it did.
    failed: Option<String>,
}

impl Installing {
    /// None was tried yet.
    pub(super) fn at_once() -> Self {
        Self { again: Instant::now(), failed: None }
    }
}

impl Worker {
    /// Whether the CRD is ours to install: the fleet file says so, and so does the Lease.
    pub(super) fn may_install(&self) -> bool {
        self.cluster.borrow().settings.install_crd && self.hold.is_held()
    }

    /// Installs the CRD if it is time to; the state of a cluster without it.
    pub(super) async fn install(&self, installing: &mut Installing, signs: &Signs) -> ClusterState {
        if Instant::now() >= installing.again {
            installing.again = Instant::now() + INSTALL_AGAIN.min(self.connect.limits().longest_pause);
            installing.failed = self.install_crd(signs).await.err();
        }
        ClusterState::NoCrd(installing.failed.clone())
    }

    /// Installs the CRD, or says why it cannot.
    async fn install_crd(&self, signs: &Signs) -> Result<(), String> {
        let crd = polkadot::crd();
        let client = fenced(signs.exchange.unlimited(), &self.hold, MEMBER_LEASE);
        let api: Api<CustomResourceDefinition> = Api::all(client);
        let (name, params) = (crd.name_any(), PatchParams::apply(FIELD_MANAGER));
        match tokio::time::timeout(ANSWER_BOUND, api.patch(&name, &params, &Patch::Apply(&crd))).await {
            Ok(Ok(_)) => {
                info!(cluster = %self.name, "Installed the Polkadot CRD.");
                signs.retry.send_modify(|count| *count += 1);
                Ok(())
            }
            Ok(Err(error)) => Err(trouble::not_installed(&error, &signs.at.borrow())),
            Err(_) => Err(format!("{} does not answer; it is tried again", *signs.at.borrow())),
        }
    }
}
