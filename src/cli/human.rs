//! Numbers in words: sizes, ages, rates and short ids, as docker prints them.
//!
//! It must not know the clock: callers pass the time. The rules for sizes (`imgpack::units`) and ages are
//! those of the `docker/go-units` package (`HumanDuration`), those of ids and cut texts of docker's list
//! commands.

use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

pub(crate) use imgpack::units::{count, size};

/// Seconds from 1970 to the first day of year 1, which Go programs write for "no time".
const ZERO_TIME: i64 = -62_135_596_800;

/// How long a time is, in docker's words: `Less than a second`, `About an hour`, `3 months`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let minutes = seconds / 60;
    let hours = seconds.saturating_add(1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_string(),
        () if seconds == 1 => "1 second".to_string(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_string(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_string(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        // Only the years count whole hours.
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// The age at `now` of something made at `created`, both in seconds since 1970: `2 weeks ago`, or `N/A`
/// for Go's zero time. A time in the future is `Less than a second ago`.
pub(crate) fn ago(created: i64, now: i64) -> String {
    if created == ZERO_TIME {
        return "N/A".to_string();
    }
    let seconds = u64::try_from(i128::from(now) - i128::from(created)).unwrap_or_default();
    format!("{} ago", duration(Duration::from_secs(seconds)))
}

/// A time in seconds since 1970 as docker's `CreatedAt` in UTC: `2023-11-14 22:13:20 +0000 UTC`; `N/A` for
/// times no calendar reaches.
pub(crate) fn timestamp(created: i64) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
    OffsetDateTime::from_unix_timestamp(created)
        .ok()
        .and_then(|time| time.format(&form).ok())
        .unwrap_or_else(|| "N/A".to_string())
}

/// At most `most` characters of a text; `…` takes the last place of a text that is longer.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_string();
    }
    match most {
        0 => String::new(),
        // A lone mark would say nothing, so docker keeps the character.
        1 => text.chars().take(1).collect(),
        _ => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_use_the_words_of_docker() {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        for (seconds, shown) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 1800, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (95 * DAY, "3 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (4000 * DAY, "10 years"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), shown, "{seconds}");
        }
    }

    #[test]
    fn an_age_of_the_zero_time_is_not_available() {
        assert_eq!(ago(ZERO_TIME, 1_700_000_000), "N/A");
        assert_eq!(ago(1_700_000_000 - 15 * 86_400, 1_700_000_000), "2 weeks ago");
        assert_eq!(ago(1_700_000_100, 1_700_000_000), "Less than a second ago");
        assert_eq!(ago(0, 1_700_000_000), "53 years ago");
        assert!(ago(i64::MIN, i64::MAX).ends_with("years ago"));
        assert_eq!(timestamp(1_700_000_000), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(timestamp(ZERO_TIME), "0001-01-01 00:00:00 +0000 UTC");
        assert_eq!(timestamp(i64::MAX), "N/A");
    }

    #[test]
    fn a_long_text_ends_in_an_ellipsis() {
        assert_eq!(ellipsis("hello", 5), "hello");
        assert_eq!(ellipsis("hello", 4), "hel…");
        assert_eq!(ellipsis("héllo", 3), "hé…");
        assert_eq!(ellipsis("hello", 1), "h");
        assert_eq!(ellipsis("hello", 0), "");
    }
}
