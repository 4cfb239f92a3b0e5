//! HTTP/2 as strangers may speak it, frame by frame, without the TLS around it. RFC 9113.

use std::io::ErrorKind;
use std::time::Instant;

use super::super::{Server as Shared, requests};
use super::*;
use crate::digest::{Algorithm, Digest};
use crate::serve::names::RepositoryName;

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
/// `:status: 200` in a block of headers.
const FINE: u8 = 0x88;

/// A server that speaks HTTP/2 with everybody.
struct Two {
    server: Arc<Shared>,
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _store: tempfile::TempDir,
}

impl Two {
    fn start(blobs: &[&[u8]], change: impl FnOnce(&mut ServerSettings)) -> Self {
        let store = tempfile::tempdir().unwrap();
        let registry = writing(store.path());
        let (to, name) =
            (registry.writable().unwrap(), RepositoryName::of(&"docker.io/a".parse().unwrap()));
        for bytes in blobs {
            let session = to.uploads().begin(&name, Algorithm::Sha256).unwrap();
            let mut claimed = session.claim().unwrap();
            claimed.append(None, None, &mut { *bytes }).unwrap();
            to.commit(&name, claimed, &Digest::of(bytes)).unwrap();
        }
        let mut settings = ServerSettings::new(Vec::new()).unwrap();
        change(&mut settings);
        let server = Arc::new(Shared::new(Arc::new(registry), settings));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), server.clone());
        runtime.spawn(async move {
            loop {
                let (stream, remote) = listener.accept().await.unwrap();
                let peer = Peer { address: remote.ip(), certified: false, encrypted: true };
                let watcher = GracefulShutdown::new().watcher();
                tokio::spawn(requests(stream, remote, peer, true, shared.clone(), watcher));
            }
        });
        Self { server, address, _runtime: runtime, _store: store }
    }

    /// Waits until so many turns are free.
    fn until_free(&self, want: usize) {
        let end = Instant::now() + PATIENCE;
        while self.server.turns.free() != want {
            assert!(Instant::now() < end, "{} turns are free", self.server.turns.free());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A client.
struct Client(TcpStream);

impl Client {
    /// Connects, and lets so many bytes of each answer come.
    fn connect(to: &Two, window: u32) -> Self {
        let stream = TcpStream::connect(to.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(stream);
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut setting = vec![0, 4];
        setting.extend(window.to_be_bytes());
        assert!(client.send(SETTINGS, 0, 0, &setting));
        client
    }

    /// Sends a frame; false when nobody takes it.
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).is_ok()
    }

    /// Asks for something: GET, without a body.
    fn get(&mut self, stream: u32, path: &str) {
        let mut block = vec![0x82, 0x86];
        for (name, value) in [(0x04, path), (0x01, "localhost")] {
            block.extend([name, u8::try_from(value.len()).unwrap()]);
            block.extend(value.as_bytes());
        }
        assert!(self.send(HEADERS, 0x5, stream, &block));
    }

    fn blob(&mut self, stream: u32, bytes: &[u8]) {
        self.get(stream, &format!("/v2/a/blobs/{}", Digest::of(bytes)));
    }

    /// The next frame: its type, its stream, its payload; nothing at the end.
    fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return None;
            }
            Err(e) => panic!("{e}"),
        }
        let number = |at: usize, n: usize| {
            head[at..at + n].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
        };
        let mut payload = vec![0; number(0, 3) as usize];
        self.0.read_exact(&mut payload).unwrap();
        Some((head[3], number(5, 4), payload))
    }

    /// The next frame of this type.
    fn next(&mut self, kind: u8) -> (u32, Vec<u8>) {
        loop {
            let (found, stream, payload) = self.frame().expect("the connection was ended");
            if found == kind {
                return (stream, payload);
            }
        }
    }
}

#[test]
fn answers_that_nobody_reads_count_as_requests_and_are_left() {
    let large = vec![7; 3 << 20];
    let server = Two::start(&[&large], |settings| {
        settings.requests = 4;
        settings.idle_timeout = Duration::from_secs(3);
    });
    let mut client = Client::connect(&server, 0);
    let (_, settings) = client.next(SETTINGS);
    let streams = settings.chunks(6).find(|s| s[..2] == [0, 3]).expect("a limit of streams");
    assert_eq!(streams[2..], MAX_STREAMS.to_be_bytes());
    for n in 0..7 {
        client.blob(2 * n + 1, &large);
    }
    let answers: Vec<bool> = (0..7).map(|_| client.next(HEADERS).1[0] == FINE).collect();
    assert_eq!(answers, [true, true, true, true, false, false, false]);
    // Who watches the server waits for nobody.
    client.get(15, "/healthz");
    assert_eq!(client.next(HEADERS).1[0], FINE);
    // However much is said on the connection meanwhile.
    let end = Instant::now() + PATIENCE;
    while client.send(PING, 0, 0, &[0; 8]) {
        assert!(Instant::now() < end, "it was kept for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
    server.until_free(4);
}

#[test]
fn an_answer_that_was_read_to_its_end_counts_until_it_is_sent() {
    let small = [7; 1000];
    let server = Two::start(&[&small], |settings| {
        settings.requests = 2;
        settings.idle_timeout = Duration::from_secs(30);
    });
    let mut client = Client::connect(&server, 1);
    client.blob(1, &small);
    client.blob(3, &small);
    let first = [client.next(DATA), client.next(DATA)];
    assert_eq!(first.map(|(_, bytes)| bytes.len()), [1, 1]);
    client.get(5, "/healthz");
    while client.next(DATA).0 != 5 {}
    assert_eq!(server.server.turns.free(), 0);
    for (stream, free) in [(1, 1), (3, 2)] {
        assert!(client.send(WINDOW, 0, stream, &1000_u32.to_be_bytes()));
        let mut came = 1;
        while came < small.len() {
            let (of, bytes) = client.next(DATA);
            came += bytes.len() * usize::from(of == stream);
        }
        server.until_free(free);
    }
}

#[test]
fn a_connection_without_requests_is_left_whatever_it_says() {
    let server = Two::start(&[], |settings| settings.idle_timeout = Duration::from_millis(800));
    let mut client = Client::connect(&server, 65_535);
    let end = Instant::now() + PATIENCE;
    while client.send(PING, 0, 0, &[0; 8]) {
        assert!(Instant::now() < end, "it was kept for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
}
