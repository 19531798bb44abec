//! Waiting for a condition, with a deadline and a memory of what was there instead.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long to leave between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until `probe` says `Ok`. A probe's `Err` is what was seen instead; the last one becomes
/// part of the error when `timeout` is up. The probe is asked at least once.
///
/// # Errors
/// [`Error::NotInTime`].
pub fn wait<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => {
                return Err(Error::NotInTime {
                    what: what.to_owned(),
                    timeout,
                    last,
                });
            }
            Err(_) => {
                std::thread::sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wait;
    use std::time::Duration;

    #[test]
    fn the_last_sight_is_part_of_the_error() {
        let mut looks = 0;
        let outcome = wait("the moon", Duration::from_millis(1), || {
            looks += 1;
            Err::<(), _>(format!("cloud {looks}"))
        });
        let text = outcome
            .map_err(|error| error.to_string())
            .err()
            .unwrap_or_default();
        assert!(text.starts_with("the moon did not come about"), "{text}");
        assert!(
            text.ends_with(&format!("last seen: cloud {looks}")),
            "{text}"
        );
    }
}
