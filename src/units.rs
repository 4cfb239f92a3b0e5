//! Sizes and numbers in words, sizes as docker prints them.
//!
//! It knows nothing of what is counted. The rule of `size` is that of the `docker/go-units` package
//! (`HumanSizeWithPrecision`).

use std::fmt::Display;

const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// A size in bytes with three significant digits and SI units: `12.3MB`.
pub fn size(bytes: u64) -> String {
    scaled(bytes as f64)
}

/// `1 image`, `2 images`.
pub fn count<N: Display + PartialEq + From<u8>>(n: N, one: &str, many: &str) -> String {
    let word = if n == N::from(1) { one } else { many };
    format!("{n} {word}")
}

/// A number of bytes in binary units: limits and windows are powers of two.
pub fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    let one = 1_u64 << (10 * unit);
    let (whole, rest) = (bytes / one, bytes % one);
    if rest == 0 {
        format!("{whole} {}", UNITS[unit])
    } else {
        let tenths = u128::from(rest) * 10 / u128::from(one);
        format!("{whole}.{tenths} {}", UNITS[unit])
    }
}

fn scaled(mut value: f64) -> String {
    let mut unit = 0;
    // go-units compares before it rounds and so prints 999 900 bytes as "1e+03kB"; from 999.5 on we take
    // the next unit instead.
    while (value >= 1000.0 || (unit > 0 && value >= 999.5)) && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    };
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{digits}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_significant_digits_in_si_units() {
        for (bytes, shown) in [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (7800, "7.8kB"),
            (12_345, "12.3kB"),
            (4_261_550, "4.26MB"),
            (9_999, "10kB"),
            (99_960, "100kB"),
            (999_499, "999kB"),
            (999_900, "1MB"),
            (123_456_789, "123MB"),
            (100_000_000, "100MB"),
            (1_500_000_000, "1.5GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }
}
