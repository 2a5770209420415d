//! Waiting for a condition with a limit; the one place in the lab that sleeps.

use std::time::Duration;

use crate::lab::LabError;

/// Looks at `condition` until it holds; an error naming `what` when `limit` has passed.
///
/// # Errors
/// [`LabError::TimedOut`].
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<(), LabError> {
    wait_for(what, limit, || Ok(condition().then_some(()).ok_or(None)))
}

/// Asks `attempt` until it gives a value. `Ok(Err(reason))` means "not yet", an error ends the wait.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Result<T, Option<String>>, LabError>,
) -> Result<T, LabError> {
    let mut waited = Duration::ZERO;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let begun = std::time::Instant::now();
        let last = match attempt()? {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if waited >= limit {
            return Err(LabError::TimedOut { what: what.to_owned(), limit, last });
        }
        rest(pause);
        waited += begun.elapsed();
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition; no async here")]
pub(crate) fn rest(pause: Duration) {
    std::thread::sleep(pause);
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
