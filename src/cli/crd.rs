//! `polkafleet crd` and `polkafleet schema`: what is generated from our types, for people and tools.

use std::process::ExitCode;

use crate::fleet::file::json_schema;
use crate::polkadot;

#[allow(clippy::print_stdout, clippy::print_stderr)]
pub(super) fn run() -> ExitCode {
    match serde_yaml::to_string(&polkadot::crd()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: the CRD cannot be written as YAML: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)]
pub(super) fn schema() -> ExitCode {
    println!("{:#}", json_schema());
    ExitCode::SUCCESS
}
