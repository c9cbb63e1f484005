//! `polkafleet validate`: everything about a fleet file that needs no network.

use std::process::ExitCode;

use crate::fleet::file::Sources;
use crate::fleet::validate::load;

#[allow(clippy::print_stdout)]
pub(super) fn run(sources: &Sources) -> ExitCode {
    match load(sources) {
        Ok(fleet) => {
            println!(
                "valid: {} clusters, home {}, {} upgrades",
                fleet.clusters.len(),
                fleet.home,
                fleet.upgrades.len()
            );
            for line in fleet.without_effect() {
                println!("without effect in this version: {line}");
            }
            ExitCode::SUCCESS
        }
        Err(problems) => super::refuse(&problems),
    }
}
