//! Figures as a person reads them.

use std::time::Duration;

/// Writes seconds as a person reads them: `0.4 s`, `12 s`, `3 min 20 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{seconds:.0} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Says roughly how long something takes.
pub(crate) fn about(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("about {:.0} s", seconds.max(1.0)),
        _ => format!("about {}", duration(seconds)),
    }
}

/// The end of a word that stands for so many things.
pub(crate) fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// Writes bytes as a person reads them, in powers of 1000.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(duration(0.44), "0.4 s");
        assert_eq!(duration(75.4), "75 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(about(0.2), "about 1 s");
        assert_eq!(about(8.4), "about 8 s");
        assert_eq!(about(70.0), "about 70 s");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(118_000_000), "118 MB");
        assert_eq!(bytes(1_700), "1.7 kB");
    }
}
