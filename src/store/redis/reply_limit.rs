//! A stream that fails when the server sends a longer reply than is allowed.
//!
//! It counts replies as they arrive, by the outer syntax of RESP (redis.io/docs/reference/protocol-spec). A client
//! that buffers an endless reply, or allocates the length that a reply announces, runs out of memory.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::MAX_STORED_BYTES;

/// The most bytes of a reply: the definitions and the state.
const MAX_BYTES: u64 = MAX_STORED_BYTES + 1024 * 1024;

/// The most bytes of a line: a status, an error, a number or a length.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// The most values of a reply; `CLUSTER SLOTS` of a large cluster has the most. A parsed value takes about 50 bytes.
const MAX_VALUES: u64 = 100_000;

/// Why a reply was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it has {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// A stream that counts replies.
pub struct Bounded<S> {
    stream: S,
    reply: Reply,
    refused: Option<Refused>,
}

impl<S> Bounded<S> {
    pub fn new(stream: S) -> Self {
        Bounded { stream, reply: Reply::default(), refused: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.refused.is_none() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            let mut rest = buffer.filled().get(before..).unwrap_or_default();
            self.refused = self.reply.count(&mut rest).err();
            // Replies before the one that is too long are the answers of other commands.
            let refused = rest.len() + usize::from(self.refused.is_some());
            buffer.set_filled(buffer.filled().len() - refused);
        }
        match self.refused {
            Some(refused) if buffer.filled().len() == before => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refused)))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What has arrived so far of a reply, or of a pushed message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reply {
    bytes: u64,
    /// The number of values announced so far.
    values: u64,
    /// The number of values still to come; 0 before the first.
    missing: u64,
    part: Part,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// The byte with the kind of the next value.
    #[default]
    Kind,
    /// The rest of a line.
    Line { kind: u8, length: u64, number: Number, after_cr: bool },
    /// Text of this many bytes, including the line break after it.
    Text(u64),
}

/// A line, read as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Number {
    #[default]
    Missing,
    Minus,
    MinusOne,
    Natural(u64),
    /// Something that the parser may or may not accept as a number.
    Other,
}

impl Reply {
    /// Takes bytes from the front, until one of them shows that the reply is too long.
    fn count(&mut self, bytes: &mut &[u8]) -> Result<(), Refused> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            self.part = match self.part {
                Part::Kind => {
                    self.missing = self.missing.max(1);
                    self.add(1)?;
                    Part::Line { kind: byte, length: 0, number: Number::Missing, after_cr: false }
                }
                Part::Line { kind, number, after_cr: true, .. } if byte == b'\n' => {
                    self.value(kind, number)?
                }
                Part::Line { kind, length, number, .. } => {
                    self.add(1)?;
                    if length >= MAX_LINE_BYTES {
                        return Err(TOO_LONG_A_LINE);
                    }
                    let number = number.with(byte);
                    Part::Line { kind, length: length + 1, number, after_cr: byte == b'\r' }
                }
                Part::Text(left) => {
                    // `byte` was one of them.
                    let more = (left - 1).min(bytes.len() as u64);
                    *bytes = bytes.get(more as usize..).unwrap_or_default();
                    match left - 1 - more {
                        0 => self.ended(),
                        left => Part::Text(left),
                    }
                }
            };
        }
        Ok(())
    }

    /// Handles the complete first line of a value.
    fn value(&mut self, kind: u8, number: Number) -> Result<Part, Refused> {
        let values = match (kind, number) {
            (b'$' | b'*' | b'~' | b'>', Number::MinusOne) => 0,
            (b'$' | b'!' | b'=', Number::Natural(length)) => {
                let length = length.saturating_add(2);
                self.add(length)?;
                return Ok(Part::Text(length));
            }
            (b'*' | b'~' | b'>', Number::Natural(length)) => length,
            (b'%', Number::Natural(length)) => length.saturating_mul(2),
            // An attribute precedes the value that it describes.
            (b'|', Number::Natural(length)) => length.saturating_mul(2).saturating_add(1),
            (b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|', _) => {
                return Err(Refused("a length that is not a number"));
            }
            _ => 0,
        };
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return Err(TOO_MANY_VALUES);
        }
        self.missing += values;
        Ok(self.ended())
    }

    /// Handles the end of a value; nested values may follow.
    fn ended(&mut self) -> Part {
        self.missing -= 1;
        if self.missing == 0 {
            *self = Reply::default();
        }
        Part::Kind
    }

    fn add(&mut self, bytes: u64) -> Result<(), Refused> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES { Err(TOO_MANY_BYTES) } else { Ok(()) }
    }
}

const TOO_MANY_BYTES: Refused = Refused("more bytes than definitions may have");
const TOO_LONG_A_LINE: Refused = Refused("a line of more than 65536 bytes");
const TOO_MANY_VALUES: Refused = Refused("more than 100000 values");

impl Number {
    fn with(self, byte: u8) -> Self {
        match (self, byte) {
            (number, b'\r') => number,
            (Number::Missing, b'-') => Number::Minus,
            (Number::Minus, b'1') => Number::MinusOne,
            (Number::Missing, b'0'..=b'9') => Number::Natural(u64::from(byte - b'0')),
            (Number::Natural(value), b'0'..=b'9') => {
                Number::Natural(value.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            _ => Number::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why and after how many bytes the reply is refused, however it is split.
    fn refused(bytes: &[u8]) -> Option<(Refused, usize)> {
        let mut reply = Reply::default();
        let at = bytes.iter().position(|byte| reply.count(&mut &[*byte][..]).is_err());
        let mut whole = Reply::default();
        let refused = whole.count(&mut &*bytes).err();
        assert_eq!(refused.is_some(), at.is_some());
        assert!(refused.is_some() || whole == reply);
        refused.zip(at)
    }

    #[test]
    fn replies_of_every_kind_are_passed_on_however_many_there_are() {
        let kinds: [&[u8]; 16] = [
            b"+OK\r\n",
            b"-ERR no\rway\r\r\n",
            b":-5\r\n",
            b"$3\r\n*9\r\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n$1\r\nx\r\n%1\r\n+a\r\n:1\r\n",
            b">2\r\n+message\r\n$1\r\nx\r\n",
            b"|1\r\n+a\r\n+b\r\n:1\r\n",
            b"~1\r\n#t\r\n",
            b"_\r\n",
            b",1.5\r\n",
            b"!5\r\nERR x\r\n",
            b"=7\r\ntxt:abc\r\n",
        ];
        let mut reply = Reply::default();
        for kind in kinds.iter().cycle().take(300_000) {
            assert_eq!(reply.count(&mut &kind[..]), Ok(()), "{}", kind.escape_ascii());
            assert_eq!(reply, Reply::default(), "{}", kind.escape_ascii());
        }
        assert_eq!(refused(&kinds.concat()), None);
        let definitions = [b"*2\r\n$", MAX_STORED_BYTES.to_string().as_bytes(), b"\r\n"].concat();
        assert_eq!(refused(&definitions), None);
    }

    #[test]
    fn a_reply_that_cannot_end_within_the_limits_is_refused_as_soon_as_that_is_known() {
        let line = "x".repeat(100_000);
        let texts = "$60000\r\n".to_owned() + &"x".repeat(60_000) + "\r\n";
        let nested = "*1\r\n".repeat(100_001);
        let cases = [
            (format!("${}\r\n", MAX_BYTES), TOO_MANY_BYTES, 11),
            ("$9999999999\r\n".into(), TOO_MANY_BYTES, 12),
            ("*1000000000\r\n".into(), TOO_MANY_VALUES, 13),
            ("%50001\r\n".into(), TOO_MANY_VALUES, 8),
            ("*100\r\n*100000\r\n".into(), TOO_MANY_VALUES, 15),
            (format!("+{line}"), TOO_LONG_A_LINE, 65_537),
            (format!("*2\r\n-{line}"), TOO_LONG_A_LINE, 65_541),
            (format!("*2000\r\n{}", texts.repeat(1_200)), TOO_MANY_BYTES, 26_160_000),
            (nested, TOO_MANY_VALUES, 400_000),
        ];
        for (bytes, why, at) in cases {
            let (found, place) = refused(bytes.as_bytes()).unwrap();
            let start = bytes.get(..20).unwrap_or(&bytes);
            assert_eq!(found, why, "{start}");
            assert!(place.abs_diff(at) <= at / 100 + 3, "{start}: after {place} bytes");
        }
    }

    #[test]
    fn a_length_that_others_may_understand_in_another_way_is_refused() {
        for length in ["", "-", "-2", "-0", "-11", "+1", " 1", "1 ", "?", "1.0"] {
            for kind in "$!=*~>%|".chars() {
                let bytes = format!("{kind}{length}\r\n");
                assert!(refused(bytes.as_bytes()).is_some(), "{bytes:?}");
            }
        }
        for kind in "!=%|".chars() {
            assert!(refused(format!("{kind}-1\r\n").as_bytes()).is_some(), "{kind}");
        }
    }
}
