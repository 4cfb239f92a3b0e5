//! How a blob is split into requests, and what was learned about the registry's limits.
//!
//! It sends nothing. Where registries differ, the names in the comments are theirs, as reported in their
//! issue trackers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::registry::settings::TransferStyle;

/// The smallest request that a registry may force upon us, in bytes: nginx takes no more by default.
const SMALLEST: u64 = 1 << 20;
/// The largest request once they have to be smaller than the blob.
const LARGEST: u64 = 64 << 20;
/// What GHCR takes at most with a `Content-Range`; others behind the same code as well.
pub(super) const COMMON: u64 = 4 << 20;
/// Blobs up to this size go with one PUT: no PATCH before it, and nothing lost when that is refused.
const SMALL: u64 = 64 << 10;

/// What uploads to one host have learned about it, for later uploads. Cheap to share.
#[derive(Debug, Default)]
pub struct HostCapabilities {
    /// No PATCH there (GAR).
    put_only: AtomicBool,
    /// No PUT with a body there (Artifactory).
    patch_only: AtomicBool,
    /// Most bytes of one request; 0 when no bound is known.
    unit: AtomicU64,
}

/// How one blob is sent.
#[derive(Debug)]
pub(super) struct UploadPlan {
    style: TransferStyle,
    size: u64,
    put: bool,
    unit: Option<u64>,
    least: u64,
    /// One PATCH is all the registry takes (Gitea).
    single: bool,
    /// Cuts in a row that left the registry where it was.
    stuck: u32,
}

impl UploadPlan {
    pub(super) fn new(style: TransferStyle, size: u64, learned: &HostCapabilities) -> Self {
        let known = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let put = match style {
            TransferStyle::PutOnly => true,
            TransferStyle::Auto => {
                known(&learned.put_only) || (size <= SMALL && !known(&learned.patch_only))
            }
            _ => false,
        };
        let unit = match style {
            TransferStyle::Chunked(bytes) => Some(bytes.max(1)),
            TransferStyle::Auto => Some(learned.unit.load(Ordering::Relaxed)).filter(|u| *u > 0),
            _ => None,
        };
        Self { style, size, put, unit, least: 0, single: false, stuck: 0 }
    }

    /// Whether the whole blob goes with the closing PUT.
    pub(super) fn put(&self) -> bool {
        self.put
    }

    /// Bytes per request, when not all at once.
    pub(super) fn unit(&self) -> Option<u64> {
        self.unit
    }

    /// How many of the `left` bytes the next PATCH carries.
    pub(super) fn length(&self, left: u64) -> u64 {
        self.unit.map_or(left, |unit| left.min(unit.max(self.least)))
    }

    /// Notes the smallest request that the registry takes (`OCI-Chunk-Min-Length`).
    pub(super) fn at_least(&mut self, bytes: u64) {
        self.least = bytes;
    }

    /// A request of `tried` bytes was too large (413). False when it cannot be made smaller.
    pub(super) fn shrink(&mut self, tried: u64) -> bool {
        let mut next = LARGEST;
        while next >= tried {
            next /= 2;
        }
        self.limit(next.max(if tried > SMALLEST { SMALLEST } else { 0 }), tried)
    }

    /// No request may be larger than `bytes`. False when that is no help to one of `tried` bytes.
    pub(super) fn limit(&mut self, bytes: u64, tried: u64) -> bool {
        let sized = matches!(self.style, TransferStyle::Auto | TransferStyle::Chunked(_));
        let bytes = bytes.max(self.least);
        if !sized || self.single || bytes < SMALLEST || bytes >= tried {
            return false;
        }
        self.put = false;
        self.unit = Some(bytes);
        true
    }

    /// A request was cut off and the registry kept nothing of the `handed` bytes that went out.
    pub(super) fn cut_in_vain(&mut self, handed: u64, tried: u64) {
        self.stuck += 1;
        if self.stuck > 1 {
            let bound = (handed.min(tried) / 2).clamp(SMALLEST, LARGEST);
            let bytes = 1 << (u64::BITS - 1 - bound.leading_zeros());
            self.limit(bytes, tried);
        }
    }

    /// The registry came further.
    pub(super) fn moved(&mut self) {
        self.stuck = 0;
    }

    /// The registry takes one PATCH per session and no second. False when that cannot be.
    pub(super) fn one_patch(&mut self) -> bool {
        let bound = matches!(self.style, TransferStyle::Chunked(_)) || self.single;
        self.single = true;
        self.unit = None;
        !bound
    }

    /// PATCH is refused. False when there is no other way.
    pub(super) fn no_patch(&mut self) -> bool {
        let other = self.style == TransferStyle::Auto && !self.put;
        self.put |= other;
        other
    }

    /// A PUT with the blob is refused. False when there is no other way.
    pub(super) fn no_put(&mut self) -> bool {
        let other = self.style == TransferStyle::Auto && self.put;
        self.put &= !other;
        other
    }

    /// The blob is there: what worked is remembered for the next.
    pub(super) fn worked(&self, learned: &HostCapabilities) {
        if self.style != TransferStyle::Auto || self.size == 0 {
            return;
        }
        let small = self.size <= SMALL;
        learned.put_only.fetch_or(self.put && !small, Ordering::Relaxed);
        learned.patch_only.fetch_or(!self.put && small, Ordering::Relaxed);
        if let Some(unit) = self.unit {
            learned.unit.store(unit, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_request_that_is_too_large_is_halved_down_to_one_mebibyte() {
        let mut plan = UploadPlan::new(TransferStyle::Auto, 1 << 30, &HostCapabilities::default());
        let mut tried = plan.length(1 << 30);
        let mut seen = Vec::new();
        while plan.shrink(tried) {
            tried = plan.length(1 << 30);
            seen.push(tried / MIB);
        }
        assert_eq!(seen, [64, 32, 16, 8, 4, 2, 1]);
        for (size, want) in [(3 * MIB, Some(2)), (MIB + 1, Some(1)), (MIB, None), (5, None)] {
            let mut plan = UploadPlan::new(TransferStyle::Auto, size, &HostCapabilities::default());
            let shrunk = plan.shrink(size).then(|| plan.length(size) / MIB);
            assert_eq!(shrunk, want, "{size}");
        }
    }

    #[test]
    fn no_request_is_smaller_than_the_registry_takes() {
        for (least, want) in [(5 * MIB, 5 * MIB), (64 * MIB, 64 * MIB)] {
            let mut plan =
                UploadPlan::new(TransferStyle::Chunked(MIB), 1 << 30, &HostCapabilities::default());
            plan.at_least(least);
            assert_eq!(plan.length(1 << 30), want);
            assert!(!plan.shrink(want));
            // The last may be.
            assert_eq!(plan.length(7), 7);
        }
    }

    #[test]
    fn styles_that_the_user_chose_are_kept() {
        let learned = HostCapabilities::default();
        let mut mono = UploadPlan::new(TransferStyle::Monolithic, 1 << 30, &learned);
        assert!(!mono.shrink(1 << 30) && !mono.no_patch() && !mono.put());
        assert_eq!(mono.length(1 << 30), 1 << 30);
        let mut put = UploadPlan::new(TransferStyle::PutOnly, 1 << 30, &learned);
        assert!(put.put() && !put.no_put() && !put.shrink(1 << 30) && put.put());
        let mut chunked = UploadPlan::new(TransferStyle::Chunked(4 * MIB), 1 << 30, &learned);
        assert!(!chunked.no_patch() && !chunked.one_patch());
    }

    #[test]
    fn what_worked_for_one_blob_is_how_the_next_begins() {
        let learned = HostCapabilities::default();
        assert!(UploadPlan::new(TransferStyle::Auto, 10, &learned).put());
        let mut plan = UploadPlan::new(TransferStyle::Auto, 10, &learned);
        assert!(plan.no_put());
        plan.worked(&learned);
        assert!(!UploadPlan::new(TransferStyle::Auto, 10, &learned).put());
        let mut plan = UploadPlan::new(TransferStyle::Auto, 1 << 30, &learned);
        assert!(plan.shrink(1 << 30));
        plan.worked(&learned);
        assert_eq!(UploadPlan::new(TransferStyle::Auto, 1 << 30, &learned).unit(), Some(64 * MIB));
        let mut plan = UploadPlan::new(TransferStyle::Auto, 1 << 30, &learned);
        assert!(plan.no_patch());
        plan.worked(&learned);
        assert!(UploadPlan::new(TransferStyle::Auto, 1 << 30, &learned).put());
        assert!(!UploadPlan::new(TransferStyle::Monolithic, 1 << 30, &learned).put());
    }

    #[test]
    fn cuts_that_leave_nothing_behind_make_requests_smaller() {
        let mut plan = UploadPlan::new(TransferStyle::Auto, 1 << 30, &HostCapabilities::default());
        plan.cut_in_vain(50_000_000, 1 << 30);
        assert_eq!(plan.unit(), None, "once is no habit");
        plan.cut_in_vain(50_000_000, 1 << 30);
        assert_eq!(plan.unit(), Some(16 * MIB));
        plan.cut_in_vain(10, 16 * MIB);
        assert_eq!(plan.unit(), Some(MIB));
        plan.cut_in_vain(10, MIB);
        assert_eq!(plan.unit(), Some(MIB));
    }
}
