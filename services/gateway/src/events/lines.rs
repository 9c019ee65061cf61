//! Cuts a stream of bytes into lines, in bounded memory.

/// Collects bytes and gives lines.
pub(crate) struct Lines {
    longest: usize,
    /// The line that has begun.
    begun: Vec<u8>,
    /// The line that has begun is too long, and so many of its bytes were thrown away.
    dropped: usize,
    /// Lines so far, the blank ones too.
    number: u64,
}

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'l> {
    /// From 1.
    pub number: u64,
    /// The length of a line that is too long.
    pub content: Result<&'l [u8], usize>,
}

impl Lines {
    /// Lines of at most `longest` bytes.
    pub(crate) fn new(longest: usize) -> Self {
        Self { longest, begun: Vec::new(), dropped: 0, number: 0 }
    }

    /// Takes `bytes` in, and gives each line that they complete to `take`; blank ones are left out.
    pub(crate) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Line<'_>)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            rest = behind;
            self.number += 1;
            if self.begun.is_empty() && self.dropped == 0 && line.len() <= self.longest {
                // As it came, without a copy.
                give(self.number, Ok(line), &mut take);
            } else {
                self.keep(line);
                self.end(&mut take);
            }
        }
        self.keep(rest);
    }

    /// Gives the last line, which may have no end.
    pub(crate) fn finish(&mut self, mut take: impl FnMut(Line<'_>)) {
        if !self.begun.is_empty() || self.dropped > 0 {
            self.number += 1;
            self.end(&mut take);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.dropped > 0 || self.begun.len() + part.len() > self.longest {
            self.dropped += self.begun.len() + part.len();
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    fn end(&mut self, take: &mut impl FnMut(Line<'_>)) {
        match std::mem::take(&mut self.dropped) {
            0 => give(self.number, Ok(&self.begun), take),
            length => give(self.number, Err(length), take),
        }
        self.begun.clear();
    }
}

fn give(number: u64, content: Result<&[u8], usize>, take: &mut impl FnMut(Line<'_>)) {
    let content = content.map(<[u8]>::trim_ascii);
    if content != Ok(&[]) {
        take(Line { number, content });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&str]) -> Vec<(u64, Result<String, usize>)> {
        let mut lines = Lines::new(8);
        let mut found = Vec::new();
        let mut take = |line: Line<'_>| {
            found.push((line.number, line.content.map(|text| String::from_utf8(text.to_vec()).unwrap())));
        };
        for piece in pieces {
            lines.push(piece.as_bytes(), &mut take);
            assert!(lines.begun.len() <= 8);
        }
        lines.finish(&mut take);
        found
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = "{\"a\":1}\r\n\n  \n12345678\n123456789\nlast";
        let expected = vec![
            (1, Ok("{\"a\":1}".to_owned())),
            (4, Ok("12345678".to_owned())),
            (5, Err(9)),
            (6, Ok("last".to_owned())),
        ];
        assert_eq!(cut(&[text]), expected);
        for at in 0..text.len() {
            assert_eq!(cut(&[&text[..at], &text[at..]]), expected, "{at}");
        }
        let single: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(cut(&single.iter().map(String::as_str).collect::<Vec<_>>()), expected);
        assert!(cut(&["", "\n", "\r\n"]).is_empty());
        assert_eq!(cut(&["a".repeat(100).as_str(), "a"]), [(1, Err(101))]);
    }
}
