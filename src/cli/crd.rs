//! `polkafleet crd` and `polkafleet schema`: what is generated from our types, for people and tools.

use std::process::ExitCode;

use crate::fleet::file::json_schema;
use crate::polkadot;

use super::terminal::say;

#[allow(clippy::print_stderr)]
pub(super) fn run() -> ExitCode {
    match serde_yaml::to_string(&polkadot::crd()) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: the CRD cannot be written as YAML: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn schema() -> ExitCode {
    say(&format!("{:#}\n", json_schema()));
    ExitCode::SUCCESS
}
