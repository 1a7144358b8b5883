//! Dates as the archive writes them: `Wed, 25 Nov 2026 22:17:41 UTC`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads an RFC 2822 date; only UTC is accepted, as the archive uses no other zone.
pub(crate) fn parse_date(text: &str) -> Option<SystemTime> {
    let text = text.split_once(',').map_or(text, |(_, date)| date);
    let mut words = text.split_whitespace();
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let zone = words.next()?;
    let last = words.next().or(clock.next().map(|_| ""));
    let sane = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !sane || last.is_some() || !matches!(zone, "UTC" | "GMT" | "+0000" | "Z") {
        return None;
    }
    let days = days_before_year(year) + days_before_month(year, month) + day - 1;
    UNIX_EPOCH.checked_add(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Counts the days from 1970-01-01 to the first day of `year`.
fn days_before_year(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

fn days_before_month(year: u64, month: usize) -> u64 {
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    lengths[..month].iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let table = [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Thu, 29 Feb 2024 12:30:01 UTC", 1_709_209_801),
            ("Fri, 01 Mar 2024 00:00:00 +0000", 1_709_251_200),
            ("Wed, 25 Nov 2026 22:17:41 UTC", 1_795_645_061),
            ("01 Jan 2000 00:00:00 GMT", 946_684_800),
            ("Sun, 01 Mar 2100 00:00:00 UTC", 4_107_542_400),
        ];
        for (text, seconds) in table {
            assert_eq!(parse_date(text), Some(UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn odd_dates_are_none() {
        for text in [
            "",
            "x",
            "Wed, 25 Nov 2026 22:17:41 CET",
            "Wed, 32 Nov 2026 22:17:41 UTC",
            "25 Nov 1969 1:1:1 UTC",
            "25 Nov 2026 24:00:00 UTC",
            "25 Nov 2026 22:17 UTC",
            "25 Nov 2026 22:17:41:1 UTC",
            "25 Nov 99999999999 1:1:1 UTC",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
