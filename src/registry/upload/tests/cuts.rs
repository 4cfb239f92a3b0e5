//! Uploads that are cut, and where they go on.

use proptest::prelude::*;

use super::*;

#[test]
fn a_cut_upload_goes_on_where_the_registry_is() {
    use Fault::{Cut, Lost, Status};
    use Method::{Get, Patch, Post, Put};
    let blob = bytes(8 * MIB);
    let size = blob.len();
    let cases = [
        ("U1", Habits::default(), vec![(Patch, 1, Cut(5 * MIB))], size),
        (
            "U2",
            Habits::default(),
            vec![(Patch, 1, Cut(MIB)), (Patch, 2, Cut(MIB)), (Patch, 3, Cut(MIB))],
            size,
        ),
        ("U5", Habits::default(), vec![(Put, 1, Status(500, ""))], size),
        ("closed, answer lost", Habits::default(), vec![(Put, 1, Lost)], size),
        ("patched, answer lost", Habits::default(), vec![(Patch, 1, Lost)], size),
        ("503 on PATCH", Habits::default(), vec![(Patch, 1, Status(503, ""))], size),
        (
            "status 503",
            Habits::default(),
            vec![(Patch, 1, Cut(MIB)), (Get, 1, Status(503, "")), (Get, 2, Cut(0))],
            size,
        ),
        (
            "status refused",
            Habits::default(),
            vec![(Patch, 1, Cut(MIB)), (Get, 1, Status(405, ""))],
            size + MIB,
        ),
        (
            "2.8.2 forgets",
            Habits { forgets: true, ..Habits::default() },
            vec![(Patch, 1, Cut(2 * MIB)), (Patch, 2, Cut(MIB))],
            size + 3 * MIB,
        ),
        (
            "ECR never resumes",
            Habits { ecr: true, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            size + MIB,
        ),
        (
            "rolls back",
            Habits { rolls_back: true, ..Habits::default() },
            vec![(Patch, 1, Cut(6 * MIB)), (Patch, 2, Cut(6 * MIB)), (Patch, 4, Cut(MIB))],
            size + 13 * MIB,
        ),
        (
            "says less than it has",
            Habits { lies: -5, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            3 * size,
        ),
        (
            "says more than was sent",
            Habits { lies: 5, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            size + MIB,
        ),
        (
            "hashes wrongly after a cut",
            Habits { corrupts: true, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            2 * size,
        ),
        (
            "session unknown on PATCH",
            Habits::default(),
            vec![(Patch, 1, Status(404, "BLOB_UPLOAD_UNKNOWN"))],
            size,
        ),
        (
            "session unknown on PUT",
            Habits::default(),
            vec![(Put, 1, Status(404, "BLOB_UPLOAD_UNKNOWN"))],
            2 * size,
        ),
        (
            "elsewhere",
            Habits { elsewhere: true, ..Habits::default() },
            vec![(Patch, 1, Cut(9))],
            size,
        ),
        ("POST cut", Habits::default(), vec![(Post, 9, Cut(0))], size),
    ];
    // Each waits between its tries.
    std::thread::scope(|scope| {
        for (name, habits, faults, most) in cases {
            let blob = &blob;
            scope.spawn(move || {
                let fake = Fake::new(habits, &faults);
                let sent = send(&fake, blob).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(sent as usize, fake.received(), "{name}");
                assert!(sent as usize <= most, "{name}: {sent} bytes, {:?}", fake.log());
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn wherever_it_is_cut_no_byte_is_sent_twice_to_a_registry_that_keeps_them(
        size in 65_537usize..400_000,
        cuts in prop::collection::vec(1usize..90_000, 0..5),
        unit in prop::option::of(1u64..100_000),
    ) {
        let faults: Vec<_> = cuts
            .iter()
            .enumerate()
            .map(|(n, at)| (Method::Patch, n as u32 + 1, Fault::Cut(*at)))
            .collect();
        let fake = Fake::new(Habits::default(), &faults);
        let style = unit.map_or(TransferStyle::Auto, |u| TransferStyle::Chunked(u.max(20_000)));
        let sent = send_as(&fake, &bytes(size), &styled(style)).unwrap();
        prop_assert_eq!(sent as usize, size);
    }
}
