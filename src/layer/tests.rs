//! What must hold for every encoding, in both directions.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::encode::zstd_encoder;
use super::*;
use crate::error::{Error, Kind};

const COMPRESSED: [Encoding; 4] = [Encoding::Gzip, Encoding::Zstd, Encoding::Xz, Encoding::Bzip2];

/// Pseudo-random data that compresses to about half.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&(state & 0x3f0f_ff01_030f_0307).to_le_bytes());
    }
    data.truncate(len);
    data
}

fn encode(data: &[u8], compression: &str) -> Vec<u8> {
    encode_by(data, compression.parse().unwrap(), data.len().max(1))
}

/// Encodes with writes of at most `step` bytes.
fn encode_by(data: &[u8], compression: Compression, step: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
    for part in data.chunks(step) {
        encoder.write_all(part).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// Compresses with what is at hand, also to formats that the encoder does not write.
fn compress(data: &[u8], encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        Encoding::Xz => {
            liblzma::read::XzEncoder::new(data, 1).read_to_end(&mut out).unwrap();
        }
        Encoding::Bzip2 => {
            let level = bzip2::Compression::new(1);
            bzip2::read::BzEncoder::new(data, level).read_to_end(&mut out).unwrap();
        }
        _ => out = encode(data, encoding.name()),
    }
    out
}

fn decode_within(
    bytes: &[u8],
    encoding: Encoding,
    limits: &StreamLimits,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    decoder(encoding, bytes, limits)?.read_to_end(&mut out)?;
    Ok(out)
}

fn decode(bytes: &[u8], encoding: Encoding) -> Result<Vec<u8>, Error> {
    decode_within(bytes, encoding, &StreamLimits::default())
}

fn check_error(got: Result<Vec<u8>, Error>, kind: Kind, what: &str) {
    let err = got.unwrap_err();
    assert_eq!((err.kind(), err.what()), (kind, what));
}

fn xz_with_dictionary(data: &[u8], dictionary: u32) -> Vec<u8> {
    use liblzma::stream::{Check, Filters, LzmaOptions, MatchFinder, Mode, Stream};
    let mut options = LzmaOptions::new_preset(0).unwrap();
    options.dict_size(dictionary).mode(Mode::Fast).match_finder(MatchFinder::HashChain3);
    let stream = Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc64).unwrap();
    let mut out = Vec::new();
    liblzma::read::XzEncoder::new_stream(data, stream).read_to_end(&mut out).unwrap();
    out
}

fn zstd_with_window(data: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A skippable zstd frame.
fn skippable(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap();
    [&[0x5a, 0x2a, 0x4d, 0x18], &len.to_le_bytes()[..], content].concat()
}

#[test]
fn every_encoding_gives_back_what_went_in() {
    for len in [0, 1, 1000, 1 << 20, (1 << 20) + 1, 5_000_000] {
        let data = sample(len);
        for encoding in COMPRESSED {
            let bytes = compress(&data, encoding);
            let (sniffed, mut reader) = sniffed(&bytes[..]).unwrap();
            assert_eq!(sniffed, encoding);
            let mut out = Vec::new();
            decoder(encoding, &mut reader, &StreamLimits::default())
                .unwrap()
                .read_to_end(&mut out)
                .unwrap();
            assert!(out == data, "{encoding} {len}");
        }
        assert!(decode(&encode(&data, "none"), Encoding::Plain).unwrap() == data);
    }
}

#[test]
fn members_and_streams_one_after_another_are_one_stream() {
    for encoding in COMPRESSED {
        let mut all = Vec::new();
        let mut want = Vec::new();
        for len in [0, 70_000, 1, 0, 300_000] {
            let data = sample(len);
            all.extend(compress(&data, encoding));
            want.extend(data);
        }
        assert!(decode(&all, encoding).unwrap() == want, "{encoding}");
    }
}

#[test]
fn skippable_zstd_frames_may_stand_anywhere() {
    let data = sample(200_000);
    let frame = encode(&data, "zstd");
    let skip = skippable(&[9; 100_000]);
    let all = [&skip[..], &frame, &skippable(b""), &skip, &frame, &skip].concat();
    assert_eq!(Encoding::sniff(&all), Encoding::Zstd);
    assert!(decode(&all, Encoding::Zstd).unwrap() == [&data[..], &data].concat());
    let cut = &all[..all.len() - 1];
    check_error(decode(cut, Encoding::Zstd), Kind::Malformed, "truncated zstd stream");
}

#[test]
fn what_a_zstd_frame_means_does_not_depend_on_how_it_arrives() {
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = buf.len().min(1);
            self.0.read(&mut buf[..n])
        }
    }
    // No content, eleven empty blocks, and one that repeats a byte no times: the library's decoder of
    // whole frames takes it, its decoder of streams does not.
    let odd = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 0][..], &[0; 33], &[3, 0, 0, 0]].concat();
    for frame in [odd, encode(&sample(1_000), "zstd"), encode(b"", "zstd")] {
        let limits = StreamLimits::default();
        let mut slow = Vec::new();
        let mut reader = decoder(Encoding::Zstd, Drip(&frame), &limits).unwrap();
        let slow = reader.read_to_end(&mut slow).is_ok().then_some(slow);
        assert_eq!(decode(&frame, Encoding::Zstd).ok(), slow);
    }
}

#[test]
fn zeros_after_the_data_are_padding_and_anything_else_is_refused() {
    let data = sample(100_000);
    for encoding in COMPRESSED {
        let bytes = compress(&data, encoding);
        for zeros in [1, 2, 3, 4, 511, 512, 200_000] {
            let padded = [&bytes[..], &vec![0; zeros]].concat();
            let got = decode(&padded, encoding);
            if encoding == Encoding::Zstd {
                check_error(got, Kind::Malformed, "other bytes follow the zstd data");
            } else {
                assert!(got.unwrap() == data, "{encoding} {zeros}");
            }
        }
        for junk in [&b"x"[..], b"\0\0\0\0x", b"junk at the end of it", &[0x1f, 0x8c], &[0x28, 0]] {
            let got = decode(&[&bytes[..], junk].concat(), encoding);
            let what = format!("other bytes follow the {encoding} data");
            check_error(got, Kind::Malformed, &what);
        }
    }
}

#[test]
fn a_stream_cut_short_anywhere_is_an_error() {
    let data = sample(40_000);
    for encoding in COMPRESSED {
        let bytes = compress(&data, encoding);
        let what = format!("truncated {encoding} stream");
        let edge = bytes.len() - 40;
        for len in (0..60).chain((60..edge).step_by(997)).chain(edge..bytes.len()) {
            check_error(decode(&bytes[..len], encoding), Kind::Malformed, &what);
        }
    }
}

#[test]
fn a_second_member_cut_short_is_an_error() {
    for encoding in COMPRESSED {
        let bytes = compress(&sample(5_000), encoding);
        let what = format!("truncated {encoding} stream");
        for len in [1, 2, 3, bytes.len() / 2, bytes.len() - 1] {
            let cut = [&bytes[..], &bytes[..len]].concat();
            check_error(decode(&cut, encoding), Kind::Malformed, &what);
        }
    }
}

#[test]
fn a_changed_bit_never_passes_as_other_data() {
    let data = sample(20_000);
    for encoding in COMPRESSED {
        let bytes = compress(&data, encoding);
        for at in (0..bytes.len()).step_by(101).chain(bytes.len() - 12..bytes.len()) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            // A few header bits (time, system, level) change nothing in the data.
            if let Ok(out) = decode(&bad, encoding) {
                assert!(out == data, "{encoding}, byte {at}");
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_corruption() {
    let data = sample(20_000);
    let mut gzip = encode(&data, "gzip");
    let len = gzip.len();
    gzip[len - 8] ^= 1;
    let what = "the gzip data does not match its checksum";
    check_error(decode(&gzip, Encoding::Gzip), Kind::Corrupt, what);
    gzip[len - 8] ^= 1;
    gzip[len - 4] ^= 1;
    check_error(
        decode(&gzip, Encoding::Gzip),
        Kind::Corrupt,
        "the gzip data does not match its length",
    );
    let mut zstd = encode(&data, "zstd");
    let len = zstd.len();
    zstd[len - 1] ^= 1;
    let what = "the zstd data does not match its checksum";
    check_error(decode(&zstd, Encoding::Zstd), Kind::Corrupt, what);
}

#[test]
fn a_gzip_header_may_carry_all_its_fields() {
    let plain = encode(b"hello", "gzip");
    let mut header = vec![0x1f, 0x8b, 8, 0x1f, 1, 2, 3, 4, 2, 3, 3, 0];
    header.extend_from_slice(b"abcname\0comment\0");
    let crc = libdeflater::crc32(&header) as u16;
    header.extend_from_slice(&crc.to_le_bytes());
    let mut all = [&header[..], &plain[10..]].concat();
    assert_eq!(decode(&all, Encoding::Gzip).unwrap(), b"hello");
    all[4] ^= 1;
    let what = "a gzip header does not match its checksum";
    check_error(decode(&all, Encoding::Gzip), Kind::Corrupt, what);
}

#[test]
fn output_past_the_limit_is_refused() {
    let data = sample(100_000);
    for encoding in COMPRESSED.into_iter().chain([Encoding::Plain]) {
        let bytes = compress(&data, encoding);
        let limits = |max_output| StreamLimits { max_output, ..StreamLimits::default() };
        assert!(decode_within(&bytes, encoding, &limits(100_000)).unwrap() == data);
        let what = "the decoded data is larger than the limit of 64 KiB";
        let got = decode_within(&bytes, encoding, &limits(64 << 10));
        check_error(got, Kind::Malformed, what);
    }
}

#[test]
fn a_failed_stream_keeps_failing() {
    let bytes = encode(&sample(50_000), "gzip");
    let mut reader =
        decoder(Encoding::Gzip, &bytes[..bytes.len() - 1], &StreamLimits::default()).unwrap();
    let first = io::copy(&mut reader, &mut io::sink()).unwrap_err().to_string();
    for _ in 0..3 {
        assert_eq!(reader.read(&mut [0; 16]).unwrap_err().to_string(), first);
    }
}

#[test]
fn a_window_that_nobody_has_memory_for_is_refused_in_any_frame() {
    // A frame header that asks for 2^41 bytes.
    let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x04, 0xf8, 1, 0, 0, 0, 0, 0, 0];
    let what = "the zstd window of 2 TiB is larger than the limit of 128 MiB";
    check_error(decode(&huge, Encoding::Zstd), Kind::Malformed, what);
    let second = [&encode(b"small", "zstd")[..], &huge].concat();
    check_error(decode(&second, Encoding::Zstd), Kind::Malformed, what);
    // A single-segment frame whose content, and so its window, is 2^40 bytes.
    let single = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0];
    let what = "the zstd window of 1 TiB is larger than the limit of 128 MiB";
    check_error(decode(&single, Encoding::Zstd), Kind::Malformed, what);
}

#[test]
fn a_zstd_frame_for_a_dictionary_is_unsupported() {
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x50, 7, 1, 0, 0];
    let what = "the zstd frame needs a dictionary";
    check_error(decode(&frame, Encoding::Zstd), Kind::Unsupported, what);
}

#[test]
fn big_windows_up_to_the_limit_are_decoded() {
    let data = sample(3_000_000);
    let limits = StreamLimits { max_window: 64 << 20, ..StreamLimits::default() };
    let xz = xz_with_dictionary(&data, 64 << 20);
    assert!(decode_within(&xz, Encoding::Xz, &limits).unwrap() == data);
    let zstd = [zstd_with_window(&data, 26), encode(&data, "zstd"), zstd_with_window(&data, 25)];
    assert!(decode_within(&zstd.concat(), Encoding::Zstd, &limits).unwrap() == data.repeat(3));

    let limits = StreamLimits { max_window: 32 << 20, ..StreamLimits::default() };
    let what = "the xz dictionary is larger than the limit of 32 MiB";
    check_error(decode_within(&xz, Encoding::Xz, &limits), Kind::Malformed, what);
    let what = "the zstd window of 64 MiB is larger than the limit of 32 MiB";
    check_error(decode_within(&zstd[0], Encoding::Zstd, &limits), Kind::Malformed, what);
}

#[test]
fn a_big_window_inside_a_big_window_is_decoded_by_one_thread() {
    let data = sample(500_000);
    let limits = StreamLimits::default();
    let outer = xz_with_dictionary(&zstd_with_window(&data, 25), 16 << 20);
    let archive = decoder(Encoding::Xz, &outer[..], &limits).unwrap();
    let mut out = Vec::new();
    decoder(Encoding::Zstd, archive, &limits).unwrap().read_to_end(&mut out).unwrap();
    assert!(out == data);
}

#[test]
fn gzip_bytes_depend_neither_on_threads_nor_on_write_sizes() {
    let data = sample(9_500_000);
    let compression = Compression::new(Encoding::Gzip);
    let want = encode_by(&data, compression, data.len());
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| encode_by(&data, compression, 77_777)) == want);
    }
    assert!(encode_by(&data, compression, 12_345) == want);
    // Ten blocks, ten members, each with the fixed header.
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    assert!(want.starts_with(&header));
    assert_eq!(want.windows(10).filter(|window| *window == header).count(), 10);
}

#[test]
fn zstd_bytes_depend_neither_on_workers_nor_on_write_sizes() {
    let data = sample(9_500_000);
    let with = |workers, step| {
        let mut encoder = zstd_encoder(Vec::new(), 3, workers).unwrap();
        for part in data.chunks(step) {
            encoder.write_all(part).unwrap();
        }
        encoder.finish().unwrap()
    };
    let want = encode(&data, "zstd");
    for (workers, step) in [(1, data.len()), (2, 100_001), (4, 4096)] {
        assert!(with(workers, step) == want, "{workers} workers");
    }
}

#[test]
fn empty_input_is_one_valid_empty_member() {
    for compression in ["gzip", "zstd"] {
        let bytes = encode(b"", compression);
        assert!(!bytes.is_empty());
        let encoding = Encoding::sniff(&bytes);
        assert_eq!(encoding.name(), compression);
        assert_eq!(decode(&bytes, encoding).unwrap(), b"");
    }
    assert_eq!(encode(&[1; 1 << 20], "gzip").windows(3).filter(|w| *w == [31, 139, 8]).count(), 1);
}

/// Digests of layers and archives follow from these bytes: a new version of a compression library
/// that changes them is a change of format, for the changelog.
#[test]
fn the_compressed_bytes_are_those_of_every_release() {
    let data = sample(2_500_000);
    let got: Vec<String> = ["gzip:1", "gzip:4", "gzip:9", "zstd:3", "zstd:9"]
        .into_iter()
        .map(|compression| {
            let hash = Sha256::digest(encode(&data, compression));
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{compression} {hex}")
        })
        .collect();
    let want = [
        "gzip:1 27570e0329070480f4927744d022af2b7da0555a720ec1990da04bde6fbbfc9d",
        "gzip:4 0d1e0f95e7cb9f0cff8e95b7660ecfc473429b4ab07dff2a695b49758ba28f5f",
        "gzip:9 878f7270ef4ab6d7297e5a43d03f30ac33bf2ffc9820d4273e7a6300ac112a2f",
        "zstd:3 7ca6a40ab35e3e4de49618ed94ea9fc0a5d0c6aa552563a7d8ae0165ae514d2b",
        "zstd:9 ab40b7f8e641aef5cfbd9796b57c7dbf119bece73ca0f1c8856bc3841378d7ed",
    ];
    assert_eq!(got, want);
}

#[test]
fn a_writer_that_fails_fails_the_encoder_for_good() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(28))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let data = sample(12 << 20);
    for compression in ["none", "gzip", "zstd"] {
        let mut encoder = Encoder::new(Full, compression.parse().unwrap()).unwrap();
        // Workers may still hold all of it when the last write returns; `finish` hears at the latest.
        let written = encoder.write_all(&data);
        let again = encoder.write_all(&data);
        let finished = encoder.finish().map(|_| ());
        let errors: Vec<_> =
            [written, again, finished].into_iter().filter_map(Result::err).collect();
        assert!(!errors.is_empty(), "{compression}");
        if compression == "gzip" {
            // A hole in the stream: nothing may follow it, and it never counts as finished.
            assert_eq!(errors.len(), 3, "{compression}");
        }
        for error in errors {
            assert_eq!(Error::from(error).kind(), Kind::Io, "{compression}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_data_in_any_pieces_comes_back(
        data in prop::collection::vec(any::<u8>(), 0..3000),
        repeat in 1_usize..40,
        step in 1_usize..5000,
        which in 0_usize..4,
    ) {
        let data = data.repeat(repeat);
        let encoding = COMPRESSED[which];
        let bytes = compress(&data, encoding);
        let mut reader = decoder(encoding, &bytes[..], &StreamLimits::default()).unwrap();
        let mut out = Vec::new();
        let mut piece = vec![0; step];
        loop {
            match reader.read(&mut piece).unwrap() {
                0 => break,
                n => out.extend_from_slice(&piece[..n]),
            }
        }
        prop_assert!(out == data);
    }

    #[test]
    fn no_input_makes_a_decoder_panic(
        junk in prop::collection::vec(any::<u8>(), 0..400),
        keep in 0_usize..60,
        which in 0_usize..4,
    ) {
        let encoding = COMPRESSED[which];
        let mut bytes = compress(b"some data, some data, some more data", encoding);
        bytes.truncate(keep);
        bytes.extend(junk);
        let limits = StreamLimits { max_output: 1 << 24, max_window: 1 << 24 };
        let _ = decode_within(&bytes, encoding, &limits);
    }
}
