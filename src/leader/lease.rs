//! The next move with a Lease, from what was last seen of it. Pure: the time is an argument, and it is monotonic.

use std::time::{Duration, Instant};

/// What a daemon wants with a Lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Not to have it: another daemon leads.
    Yield,
    /// To have it if it is free, and to keep it.
    #[default]
    Have,
    /// To have it; who has it is asked to hand it over.
    Insist,
}

/// A Lease as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The daemon that holds it; `None` where it was released.
    pub holder: Option<String>,
    /// The daemon that asks for it.
    pub wanted_by: Option<String>,
    /// How long after its last change it still counts as held.
    pub duration: Duration,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing; look again later.
    Wait,
    /// Make it, held by us.
    Create,
    /// Say once more that it is ours.
    Renew,
    /// Take it, for it was released.
    Take,
    /// Take it from a daemon that has fallen silent.
    TakeFromSilent,
    /// Ask its holder for it.
    Ask,
    /// Let it go.
    Release,
}

/// Decides. `unchanged_since` is when we first saw its holder's last word, by our own clock.
#[must_use]
pub fn next(me: &str, wish: Wish, seen: Option<&Seen>, unchanged_since: Instant, now: Instant) -> Move {
    let Some(seen) = seen else {
        return if wish == Wish::Yield { Move::Wait } else { Move::Create };
    };
    let silent = unchanged_since + seen.duration <= now;
    let others_wish = seen.wanted_by.as_deref().is_some_and(|who| who != me);
    match seen.holder.as_deref() {
        Some(holder) if holder == me => {
            if wish == Wish::Yield || (others_wish && wish != Wish::Insist) {
                Move::Release
            } else {
                Move::Renew
            }
        }
        _ if wish == Wish::Yield => Move::Wait,
        // It was let go for somebody who asked; should he not come, it is free.
        None if others_wish && wish != Wish::Insist && !silent => Move::Wait,
        None => Move::Take,
        Some(_) if silent => Move::TakeFromSilent,
        Some(_) if wish == Wish::Insist && seen.wanted_by.as_deref() != Some(me) => Move::Ask,
        Some(_) => Move::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn seen(holder: Option<&str>, wanted_by: Option<&str>) -> Seen {
        Seen { holder: holder.map(Into::into), wanted_by: wanted_by.map(Into::into), duration: DURATION }
    }

    fn after(seconds: u64, wish: Wish, holder: Option<&str>, wanted_by: Option<&str>) -> Move {
        let since = Instant::now();
        next("me", wish, Some(&seen(holder, wanted_by)), since, since + Duration::from_secs(seconds))
    }

    #[test]
    fn a_lease_is_taken_from_another_only_after_it_was_seen_unchanged_for_as_long_as_he_promised() {
        assert_eq!(after(14, Wish::Have, Some("other"), None), Move::Wait);
        assert_eq!(after(15, Wish::Have, Some("other"), None), Move::TakeFromSilent);
        assert_eq!(after(999, Wish::Yield, Some("other"), None), Move::Wait);
    }

    #[test]
    fn the_leader_asks_once_for_what_another_holds() {
        assert_eq!(after(1, Wish::Insist, Some("other"), None), Move::Ask);
        assert_eq!(after(1, Wish::Insist, Some("other"), Some("third")), Move::Ask);
        assert_eq!(after(1, Wish::Insist, Some("other"), Some("me")), Move::Wait);
        assert_eq!(after(1, Wish::Have, Some("other"), None), Move::Wait, "only the leader asks");
    }

    #[test]
    fn what_is_asked_for_is_handed_over_but_not_by_the_leader() {
        assert_eq!(after(1, Wish::Have, Some("me"), Some("other")), Move::Release);
        assert_eq!(after(1, Wish::Insist, Some("me"), Some("other")), Move::Renew);
        assert_eq!(after(1, Wish::Have, Some("me"), None), Move::Renew);
        assert_eq!(after(1, Wish::Yield, Some("me"), None), Move::Release);
    }

    #[test]
    fn a_lease_that_was_let_go_is_for_who_asked_and_after_a_while_for_all() {
        assert_eq!(after(1, Wish::Have, None, Some("other")), Move::Wait);
        assert_eq!(after(15, Wish::Have, None, Some("other")), Move::Take);
        assert_eq!(after(1, Wish::Have, None, Some("me")), Move::Take);
        assert_eq!(after(1, Wish::Have, None, None), Move::Take);
        assert_eq!(after(1, Wish::Insist, None, Some("other")), Move::Take);
        assert_eq!(after(99, Wish::Yield, None, None), Move::Wait);
    }

    #[test]
    fn a_lease_that_does_not_exist_is_made_by_who_wants_it() {
        let now = Instant::now();
        assert_eq!(next("me", Wish::Have, None, now, now), Move::Create);
        assert_eq!(next("me", Wish::Yield, None, now, now), Move::Wait);
    }
}
