//! Looks at the first bytes of a stream without losing them.
//!
//! It must not know what is done with the stream afterwards.

use std::io::{self, Read};

use crate::encoding::{Encoding, SNIFF_LEN};

/// A reader whose first bytes were peeked; it still yields all of them.
#[derive(Debug)]
pub struct Peeked<R> {
    first: [u8; SNIFF_LEN],
    pos: usize,
    len: usize,
    reader: R,
}

/// Reads the first bytes of `reader` and says how it is compressed.
///
/// # Errors
///
/// Whatever `reader` fails with.
pub fn sniffed<R: Read>(mut reader: R) -> io::Result<(Encoding, Peeked<R>)> {
    let mut first = [0; SNIFF_LEN];
    let mut len = 0;
    while len < SNIFF_LEN {
        match reader.read(&mut first[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok((Encoding::sniff(&first[..len]), Peeked { first, pos: 0, len, reader }))
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.pos == self.len {
            return self.reader.read(out);
        }
        let n = out.len().min(self.len - self.pos);
        out[..n].copy_from_slice(&self.first[self.pos..self.pos + n]);
        self.pos += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sniffing_loses_no_bytes() {
        for len in [0, 1, SNIFF_LEN - 1, SNIFF_LEN, SNIFF_LEN + 1, 100] {
            let data = vec![7; len];
            let (encoding, mut reader) = sniffed(&data[..]).unwrap();
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            assert_eq!((encoding, all), (Encoding::Plain, data));
        }
    }
}
