//! An HTTP proxy in the usual sense: `CONNECT` (and absolute http URLs are refused), all to one place.
//!
//! With it a test gives a registry on loopback any host name: no name is looked up.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use super::server::Listener;
use super::wire::Head;

/// The proxy.
pub struct Tunnel {
    listener: Listener,
    asked: Arc<Mutex<Vec<Head>>>,
}

impl Tunnel {
    /// Whatever host is asked for, `to` (`127.0.0.1:port`) answers.
    pub fn start(to: &str) -> Self {
        let (to, asked) = (to.to_owned(), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&asked);
        let listener = Listener::start(move |stream| {
            // Either side may go away at any time.
            let _ = carry(stream, &to, &log);
        });
        Self { listener, asked }
    }

    /// The value of `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listener.port())
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Head> {
        self.asked.lock().expect("a lock").clone()
    }
}

fn carry(client: TcpStream, to: &str, log: &Mutex<Vec<Head>>) -> io::Result<()> {
    let mut from = BufReader::with_capacity(1, client.try_clone()?);
    let Some(head) = Head::read(&mut from)? else { return Ok(()) };
    let connect = head.method() == "CONNECT";
    log.lock().expect("a lock").push(head);
    if !connect {
        return (&client).write_all(b"HTTP/1.1 405 X\r\nContent-Length: 0\r\n\r\n");
    }
    let up = TcpStream::connect(to)?;
    (&client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    std::thread::scope(|scope| {
        scope.spawn(|| pass(&client, &up));
        pass(&up, &client);
    });
    Ok(())
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buf = [0; 16 << 10];
    while let Ok(n) = from.read(&mut buf) {
        if n == 0 || to.write_all(&buf[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
