//! `Range` of downloads and `Content-Range` of uploads.
//!
//! It knows no blob. RFC 9110 §14; OCI distribution-spec, "Pulling blobs" and "Pushing a blob in chunks".

/// The range that a download requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole blob: there was no range, an invalid one, or several.
    Whole,
    /// A part: its first byte, counting from 0, and its length.
    Part(u64, u64),
    /// A range outside the blob.
    Unsatisfiable,
}

/// What a `Range` header asks of `size` bytes.
pub fn byte_range(header: &str, size: u64) -> ByteRange {
    let Some(spec) = header.trim().strip_prefix("bytes=") else { return ByteRange::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return ByteRange::Whole };
    match (number(first), number(last)) {
        (Bound::None, Bound::At(suffix)) => {
            let length = suffix.min(size);
            if length == 0 {
                ByteRange::Unsatisfiable
            } else {
                ByteRange::Part(size - length, length)
            }
        }
        (Bound::At(first), last) => {
            let last = match last {
                Bound::None => u64::MAX,
                Bound::At(last) => last,
                Bound::Bad => return ByteRange::Whole,
            };
            if first >= size || last < first {
                return ByteRange::Unsatisfiable;
            }
            ByteRange::Part(first, last.min(size - 1) - first + 1)
        }
        _ => ByteRange::Whole,
    }
}

/// First and last byte of a chunk: `0-99`, `bytes 0-99/*`. Nothing when it is not understood.
pub fn chunk(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-')?;
    match (number(first), number(last)) {
        (Bound::At(first), Bound::At(last)) if last >= first => Some((first, last)),
        _ => None,
    }
}

enum Bound {
    None,
    At(u64),
    Bad,
}

fn number(text: &str) -> Bound {
    let text = text.trim();
    if text.is_empty() {
        return Bound::None;
    }
    // Not `parse` alone: it would take a plus sign.
    match text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()) {
        Some(Some(number)) => Bound::At(number),
        // More than can be counted lies behind every end.
        Some(None) => Bound::At(u64::MAX),
        None => Bound::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        use ByteRange::{Part, Unsatisfiable, Whole};
        for (header, size, want) in [
            ("bytes=500-1499", 5000, Part(500, 1000)),
            ("bytes=500-", 5000, Part(500, 4500)),
            ("bytes=-500", 5000, Part(4500, 500)),
            ("bytes=-9000", 5000, Part(0, 5000)),
            ("bytes=2000-9000", 5000, Part(2000, 3000)),
            ("bytes=0-0", 5000, Part(0, 1)),
            ("bytes=4999-4999", 5000, Part(4999, 1)),
            ("bytes=500-0", 5000, Unsatisfiable),
            ("bytes=5000-10000", 5000, Unsatisfiable),
            ("bytes=-0", 5000, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=0-99999999999999999999999", 10, Part(0, 10)),
            ("bytes=0-1,5-6", 5000, Whole),
            ("bytes=a-b", 5000, Whole),
            ("bytes=+1-2", 5000, Whole),
            ("bytes=-", 5000, Whole),
            ("lines=1-2", 5000, Whole),
            ("", 5000, Whole),
        ] {
            assert_eq!(byte_range(header, size), want, "{header} of {size}");
        }
    }

    #[test]
    fn chunks_are_two_numbers() {
        for (header, want) in [
            ("0-99", Some((0, 99))),
            ("bytes 5-5/*", Some((5, 5))),
            ("bytes=5-6/7", Some((5, 6))),
            ("9-5", None),
            ("-5", None),
            ("5-", None),
            ("x", None),
        ] {
            assert_eq!(chunk(header), want, "{header}");
        }
    }
}
