//! The home cluster: it keeps the few small things that cannot live in the cluster they are about.
//!
//! [`record`] is what is remembered of every member, with the [`history`] of what was done to it, [`control`] what people
//! decided at the command line; both are `ConfigMaps`, kept by [`kept`]. [`lead`] holds the planner's Lease, with what is
//! [`said`] in it (what is [`followed`], and what is in the way; who stands by looks whether it is in [`agreement`]), and says
//! whether steps may be taken: not before home knows all that they depend on ([`recording`]), nor by a wrong clock
//! ([`skew`]). Everything else goes on without home.

pub mod agreement;
pub mod control;
pub mod followed;
pub mod history;
pub mod kept;
pub mod lead;
pub mod record;
mod recording;
pub mod said;
pub mod skew;

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use crate::fleet::ClusterName;

use self::control::Control;
use self::record::Remembered;

/// What home may take to say its time, or to take a record.
const ANSWER_BOUND: Duration = Duration::from_secs(5);

/// What is known of home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HomeView {
    /// Why no step may be taken, if so: home cannot be seen, or another daemon leads.
    pub no_steps: Option<NoSteps>,
    /// What is remembered of the members, as it is kept in home.
    pub records: BTreeMap<ClusterName, Remembered>,
    /// Members of which home knows all that a step depends on.
    pub recorded: BTreeSet<ClusterName>,
    /// What people decided at the command line.
    pub control: Control,
    /// Resources must carry this epoch before a step is taken anywhere; 0 asks for nothing.
    pub epoch: i64,
}

impl HomeView {
    /// Before anything is known.
    #[must_use]
    pub fn unseen() -> Self {
        Self::default().without_steps("it is not connected")
    }

    /// The same while home cannot be used: what was read there stays known.
    #[must_use]
    pub fn without_steps(&self, why: &str) -> Self {
        Self { no_steps: Some(NoSteps::Unseen(why.into())), recorded: BTreeSet::new(), ..self.clone() }
    }
}

/// Why no step may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSteps {
    /// Home cannot be seen, or does not let us.
    Unseen(String),
    /// Another daemon leads.
    Standby(String),
    /// The one before us fell silent; its last writes may still be on their way.
    TakingOver,
    /// Our clock and home's differ by so many seconds.
    ClockSkew(i64),
    /// Home's time is not known, for this reason.
    ClockUnknown(String),
    /// This machine slept, or its clock was set, and home was not asked for the time since.
    ClockJumped,
}

impl std::fmt::Display for NoSteps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unseen(why) => {
                write!(f, "the home cluster cannot be used ({why}); no step is taken until it can")
            }
            Self::Standby(other) => write!(f, "the daemon {other} leads; this one stands by"),
            Self::TakingOver => {
                f.write_str("taking over: what an earlier daemon may still have on its way is waited for")
            }
            Self::ClockSkew(seconds) => write!(
                f,
                "this machine's clock and the home cluster's differ by {seconds} s; set the clock (NTP) and steps go on"
            ),
            Self::ClockUnknown(why) => write!(
                f,
                "the home cluster's time is not known ({why}), and with a wrong one a soak would seem to be over; no step is \
                 taken until GET /version answers with a Date (does a proxy leave it out?)"
            ),
            Self::ClockJumped => f.write_str(
                "this machine slept or its clock was set; steps go on when the home cluster was asked for the time, within a \
                 minute",
            ),
        }
    }
}
