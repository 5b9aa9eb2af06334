//! Where a connection comes from, as a proxy in front says it: PROXY protocol, version 2 (binary) only.
//!
//! Source networks of grants and the addresses in the ledger are only as good as this header, so it is believed of configured
//! proxies alone, and required of them: behind one, a connection without it has no known source. From anybody else its first
//! bytes are no TLS, and the handshake ends there.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2.2.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The bytes that every header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The most bytes behind the first sixteen: addresses, and what else proxies like to tell.
const MAX_REST: usize = 2048;
/// What is discarded at a time of that.
const CHUNK: usize = 256;

/// Reads the header, to its last byte and no further. `None` is a connection that the proxy makes for itself, to see whether
/// anybody is there.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if there is none, or it tells of no TCP connection.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; 16];
    from.read_exact(&mut start).await?;
    let [signature @ .., version, family, high, low] = start;
    if signature != SIGNATURE {
        return Err(refused("a configured proxy sends no PROXY header of version 2"));
    }
    let mut rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > MAX_REST {
        return Err(refused("a PROXY header has more than 2 KiB"));
    }
    let source = match (version, family) {
        (0x20, _) => None,
        (0x21, 0x11) => {
            let addresses: [u8; 12] = take(from, &mut rest).await?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = addresses;
            Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))))
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = take(from, &mut rest).await?;
            let [.., high, low, _, _] = take::<20>(from, &mut rest).await?;
            Some(SocketAddr::from((Ipv6Addr::from(address), u16::from_be_bytes([high, low]))))
        }
        _ => return Err(refused("a PROXY header tells of no TCP connection over IPv4 or IPv6")),
    };
    let mut discarded = [0; CHUNK];
    while rest > 0 {
        let now = rest.min(CHUNK);
        from.read_exact(&mut discarded[..now]).await?;
        rest -= now;
    }
    Ok(source)
}

async fn take<const N: usize>(from: &mut (impl AsyncRead + Unpin), rest: &mut usize) -> io::Result<[u8; N]> {
    *rest = rest.checked_sub(N).ok_or_else(|| refused("a PROXY header is shorter than its addresses"))?;
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version, family], &length, rest].concat()
    }

    /// What is read, and what is left for TLS.
    async fn parse(bytes: &[u8]) -> io::Result<(Option<SocketAddr>, usize)> {
        let mut from = bytes;
        let source = read(&mut from).await?;
        Ok((source, from.len()))
    }

    #[tokio::test]
    async fn it_says_where_a_connection_comes_from() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc3, 0x50, 0x01, 0xbb];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        (v6[15], v6[33]) = (9, 80);
        let tls = b"\x16\x03\x01";
        for (rest, family, source) in [(&v4[..], 0x11, "192.0.2.7:50000"), (&v6[..], 0x21, "[2001:db8::9]:80")] {
            for more in [&[][..], &[4, 0, 1, 0], &[0; 1000]] {
                let bytes = [&header(0x21, family, &[rest, more].concat())[..], tls].concat();
                assert_eq!(parse(&bytes).await.unwrap(), (Some(source.parse().unwrap()), tls.len()));
            }
            // Every byte of it is needed.
            let whole = header(0x21, family, rest);
            for end in 0..whole.len() {
                assert!(parse(&whole[..end]).await.is_err(), "{end}");
            }
            assert!(parse(&header(0x21, family, &rest[1..])).await.is_err(), "addresses cut short");
        }
        let health = [&header(0x20, 0, &[1; 300])[..], tls].concat();
        assert_eq!(parse(&health).await.unwrap(), (None, tls.len()));
    }

    #[tokio::test]
    async fn what_is_none_is_refused() {
        let addresses = [0; 216];
        for (version, family) in
            [(0x21, 0x00), (0x21, 0x12), (0x21, 0x22), (0x21, 0x31), (0x11, 0x11), (0x22, 0x11), (0x31, 0x11)]
        {
            assert!(parse(&header(version, family, &addresses)).await.is_err(), "{version:x} {family:x}");
        }
        assert!(parse(b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n").await.is_err(), "version 1");
        assert!(parse(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0\0\0\0\0\0").await.is_err(), "TLS at once");
        assert!(parse(&header(0x21, 0x11, &vec![0; MAX_REST + 1])).await.is_err(), "too long");
    }

    proptest! {
        /// Whatever comes, no more is read than is said, and nothing panics.
        #[test]
        fn it_reads_no_further_than_it_says(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), signed in any::<bool>(), version in 0x20..0x23_u8, family in prop::sample::select(vec![0x00, 0x11, 0x21, 0x31_u8])) {
            if signed && bytes.len() >= 16 {
                bytes[..12].copy_from_slice(&SIGNATURE);
                (bytes[12], bytes[13], bytes[14]) = (version, family, 0);
            }
            let parsed = futures::executor::block_on(parse(&bytes));
            if let Ok((_, left)) = parsed {
                let said = 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
                prop_assert_eq!(bytes.len() - left, said);
            }
        }
    }
}
