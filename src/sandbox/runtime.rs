//! What runs in the pods of a simulated cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::api::State;
use super::chain::Answer;
use super::faults::VersionFault;
use super::store::Change;

/// The containers of a cluster.
#[derive(Default)]
pub struct Runtime {
    faults: BTreeMap<String, VersionFault>,
}

impl Runtime {
    pub fn set_version_faults(&mut self, faults: BTreeMap<String, VersionFault>) {
        self.faults = faults;
    }
    pub fn ask(
        &self,
        _pod: &Value,
        _port: &str,
        _method: &str,
        _path: &str,
        _body: &[u8],
        _now: Timestamp,
    ) -> Option<Answer> {
        None
    }
    pub fn play(
        &mut self,
        _state: &mut State,
        _changes: &[Change],
        _is_due: bool,
        _now: Timestamp,
    ) -> Option<Timestamp> {
        None
    }
}
