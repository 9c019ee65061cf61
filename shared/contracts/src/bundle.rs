//! Bundles: several questions to a shard in one message, and several of its answers in one.
//!
//! A bundle of questions is [`MARK`], then of each question its length (4 bytes, little endian) and its JSON. Questions are
//! numbered from 0 in their order. The shard answers each by itself, and answers that are ready together travel together: a bundle of
//! answers is [`MARK`], then of each answer the number of its question (2 bytes), what it is (1 byte), its [`Brief`] if it has one, its
//! length (4 bytes) and its bytes. Every question gets one answer, in whichever message and order.
//!
//! A reply that is no bundle, which is an error in JSON, answers all questions of its bundle that have no answer yet.

use crate::ask::{Answer, AsOf};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use daybook_domain::ids::{InboxSeq, LogSeq};

/// What bundles begin with. No JSON does, and neither do the shard's replies in MessagePack, which are lists or maps.
pub const MARK: u8 = 0x01;
/// Most questions of one bundle: as many as query has under way to one partition.
pub const MAX_QUESTIONS: usize = 64;
/// Bytes of a bundle at which nothing more is added to it, far below the broker's payload limit. One question or one answer may be
/// larger, and is alone then.
pub const MAX_BYTES: usize = 256 << 10;

/// A reply as it would be alone.
const REPLY: u8 = 0;
/// The text of an answer about a view, with its brief.
const VIEW: u8 = 1;
/// The number, what it is, and the length.
const ANSWER_HEAD: usize = 2 + 1 + 4;
const BRIEF: usize = 4 + 8 + 8 + 8;

/// What query has to know of an answer that it hands on unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    pub generation: u32,
    pub as_of: AsOf,
    pub freshness_ms: u64,
}

impl<Rows> From<&Answer<Rows>> for Brief {
    fn from(answer: &Answer<Rows>) -> Self {
        Self { generation: answer.generation, as_of: answer.as_of, freshness_ms: answer.freshness_ms }
    }
}

/// What a shard says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The bytes of a reply: an [`Asked`](crate::ask::Asked) in JSON, or figures in MessagePack.
    Reply(Bytes),
    /// The JSON of an [`Answer`], which clients get as it is.
    View(Brief, Bytes),
}

impl Said {
    /// The answer of a shard to a question about a view.
    pub fn view(answer: &Answer) -> Self {
        Self::View(answer.into(), serde_json::to_vec(answer).expect("answers are plain values").into())
    }

    /// As a reply of its own.
    pub fn alone(self) -> Bytes {
        match self {
            Self::Reply(bytes) => bytes,
            Self::View(_, text) => [b"{\"Ok\":".as_slice(), &text, b"}"].concat().into(),
        }
    }

    fn bytes(&self) -> &Bytes {
        let (Self::Reply(bytes) | Self::View(_, bytes)) = self;
        bytes
    }

    /// What it takes in a bundle, in bytes.
    pub fn framed_bytes(&self) -> usize {
        let brief = if matches!(self, Self::View(..)) { BRIEF } else { 0 };
        ANSWER_HEAD + brief + self.bytes().len()
    }
}

/// A bundle that is not written as bundles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bundle of questions or answers cannot be read")]
pub struct Malformed;

/// Whether a message is a bundle.
pub fn is_bundle(payload: &[u8]) -> bool {
    payload.first() == Some(&MARK)
}

/// A bundle of questions that is being made.
#[derive(Debug)]
pub struct QuestionBundle {
    bytes: BytesMut,
    questions: usize,
}

impl Default for QuestionBundle {
    fn default() -> Self {
        Self { bytes: BytesMut::from(&[MARK][..]), questions: 0 }
    }
}

impl QuestionBundle {
    /// Whether a question of that length finds room. The first one always does.
    pub fn has_room_for(&self, length: usize) -> bool {
        self.questions == 0 || (self.questions < MAX_QUESTIONS && self.bytes.len() + 4 + length <= MAX_BYTES)
    }

    /// Adds the JSON of a question.
    ///
    /// # Panics
    /// Beyond 4 GiB.
    pub fn push(&mut self, question: &[u8]) {
        self.bytes.put_u32_le(u32::try_from(question.len()).expect("a question is far shorter"));
        self.bytes.put_slice(question);
        self.questions += 1;
    }

    /// The message.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// The questions of a bundle, in their order.
///
/// # Errors
/// When it is no bundle, or has no question or more than [`MAX_QUESTIONS`].
pub fn read_questions(bundle: &Bytes) -> Result<Vec<Bytes>, Malformed> {
    let mut rest = body(bundle)?;
    let mut questions = Vec::new();
    while !rest.is_empty() {
        let length = rest.try_get_u32_le().map_err(|_| Malformed)?;
        questions.push(take(&mut rest, length)?);
        if questions.len() > MAX_QUESTIONS {
            return Err(Malformed);
        }
    }
    if questions.is_empty() { Err(Malformed) } else { Ok(questions) }
}

/// A bundle of answers that is being made.
#[derive(Debug)]
pub struct AnswerBundle {
    bytes: BytesMut,
}

impl Default for AnswerBundle {
    fn default() -> Self {
        Self { bytes: BytesMut::from(&[MARK][..]) }
    }
}

impl AnswerBundle {
    /// Whether a bundle of answers of so many bytes takes one of `more` bytes, as [`Said::framed_bytes`] counts them.
    pub fn takes(bytes: usize, more: usize) -> bool {
        1 + bytes + more <= MAX_BYTES
    }

    /// Adds the answer to the question of that number.
    ///
    /// # Panics
    /// Beyond 4 GiB.
    pub fn push(&mut self, number: u16, said: &Said) {
        self.bytes.reserve(said.framed_bytes());
        self.bytes.put_u16_le(number);
        match said {
            Said::Reply(_) => self.bytes.put_u8(REPLY),
            Said::View(brief, _) => {
                self.bytes.put_u8(VIEW);
                self.bytes.put_u32_le(brief.generation);
                self.bytes.put_u64_le(brief.as_of.log.0);
                self.bytes.put_u64_le(brief.as_of.inbox.0);
                self.bytes.put_u64_le(brief.freshness_ms);
            }
        }
        self.bytes.put_u32_le(u32::try_from(said.bytes().len()).expect("an answer is far shorter"));
        self.bytes.put_slice(said.bytes());
    }

    /// The message.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// The answers of a bundle, each with the number of its question. Their bytes are slices of the message.
///
/// # Errors
/// When it is no bundle; in the place of an answer that cannot be read, behind which there are no others.
pub fn read_answers(bundle: &Bytes) -> impl Iterator<Item = Result<(u16, Said), Malformed>> {
    let (mut rest, mut is_broken) = match body(bundle) {
        Ok(rest) => (rest, None),
        Err(malformed) => (Bytes::new(), Some(malformed)),
    };
    std::iter::from_fn(move || {
        if let Some(malformed) = is_broken.take() {
            return Some(Err(malformed));
        }
        if rest.is_empty() {
            return None;
        }
        let answer = read_answer(&mut rest);
        if answer.is_err() {
            rest.clear();
        }
        Some(answer)
    })
}

fn read_answer(rest: &mut Bytes) -> Result<(u16, Said), Malformed> {
    let number = rest.try_get_u16_le().map_err(|_| Malformed)?;
    let brief = match rest.try_get_u8().map_err(|_| Malformed)? {
        REPLY => None,
        VIEW if rest.len() >= BRIEF => Some(Brief {
            generation: rest.get_u32_le(),
            as_of: AsOf { log: LogSeq(rest.get_u64_le()), inbox: InboxSeq(rest.get_u64_le()) },
            freshness_ms: rest.get_u64_le(),
        }),
        _ => return Err(Malformed),
    };
    let length = rest.try_get_u32_le().map_err(|_| Malformed)?;
    let bytes = take(rest, length)?;
    Ok((number, brief.map_or_else(|| Said::Reply(bytes.clone()), |brief| Said::View(brief, bytes.clone()))))
}

fn body(bundle: &Bytes) -> Result<Bytes, Malformed> {
    if is_bundle(bundle) { Ok(bundle.slice(1..)) } else { Err(Malformed) }
}

fn take(rest: &mut Bytes, length: u32) -> Result<Bytes, Malformed> {
    let length = length as usize;
    if rest.len() < length { Err(Malformed) } else { Ok(rest.split_to(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief() -> Brief {
        Brief { generation: 3, as_of: AsOf { log: LogSeq(5), inbox: InboxSeq(1 << 40) }, freshness_ms: 7 }
    }

    fn bundled(questions: &[&[u8]]) -> Bytes {
        let mut bundle = QuestionBundle::default();
        questions.iter().for_each(|question| bundle.push(question));
        bundle.finish()
    }

    #[test]
    fn questions_have_golden_bytes() {
        let bundle = bundled(&[b"\"Position\"", b"\"Views\""]);
        assert_eq!(&bundle[..], b"\x01\x0a\0\0\0\"Position\"\x07\0\0\0\"Views\"");
        assert_eq!(read_questions(&bundle).unwrap(), [Bytes::from("\"Position\""), Bytes::from("\"Views\"")]);
        assert!(is_bundle(&bundle) && !is_bundle(b"\"Position\"") && !is_bundle(b""));
    }

    #[test]
    fn answers_have_golden_bytes_and_come_in_any_order() {
        let (text, reply) = (Said::View(brief(), "{}".into()), Said::Reply("no".into()));
        let mut bundle = AnswerBundle::default();
        bundle.push(258, &text);
        bundle.push(0, &reply);
        let bundle = bundle.finish();
        let view = b"\x02\x01\x01\x03\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\x07\0\0\0\0\0\0\0\x02\0\0\0{}";
        assert_eq!(&bundle[..], [b"\x01".as_slice(), view, b"\0\0\0\x02\0\0\0no"].concat());
        assert_eq!(bundle.len(), 1 + text.framed_bytes() + reply.framed_bytes());
        let read: Vec<_> = read_answers(&bundle).collect();
        assert_eq!(read, [Ok((258, text)), Ok((0, reply))]);
    }

    #[test]
    fn a_bundle_has_bounds_and_the_first_question_always_finds_room() {
        let mut bundle = QuestionBundle::default();
        assert!(bundle.has_room_for(2 * MAX_BYTES));
        for _ in 0..MAX_QUESTIONS {
            assert!(bundle.has_room_for(10));
            bundle.push(b"\"Position\"");
        }
        assert!(!bundle.has_room_for(10));
        assert_eq!(read_questions(&bundle.finish()).unwrap().len(), MAX_QUESTIONS);
        let mut bundle = QuestionBundle::default();
        bundle.push(&vec![b' '; MAX_BYTES - 100]);
        assert!(bundle.has_room_for(91) && !bundle.has_room_for(92));
        assert_eq!(read_questions(&bundled(&[b"1".as_slice(); MAX_QUESTIONS + 1])), Err(Malformed));

        assert!(AnswerBundle::takes(MAX_BYTES - 101, 100) && !AnswerBundle::takes(MAX_BYTES - 100, 100));
    }

    #[test]
    fn what_is_cut_off_is_never_read_and_what_stands_before_is() {
        let mut bundle = AnswerBundle::default();
        bundle.push(0, &Said::Reply("first".into()));
        let whole = bundle.bytes.len();
        bundle.push(1, &Said::View(brief(), "{\"a\":1}".into()));
        let bundle = bundle.finish();
        for length in 0..bundle.len() {
            let read: Vec<_> = read_answers(&bundle.slice(..length)).collect();
            let expected = usize::from(length >= whole);
            assert_eq!(read.iter().filter(|answer| answer.is_ok()).count(), expected, "{length}");
            assert_eq!(read.last().is_some_and(Result::is_err), length != 1 && length != whole, "{length}");
        }
        let questions = bundled(&[b"\"Position\"", b"\"Views\""]);
        let cut = (0..questions.len()).filter(|length| read_questions(&questions.slice(..*length)).is_ok());
        assert_eq!(cut.collect::<Vec<_>>(), [1 + 4 + 10], "the end of the first");
        for other in [&b"\x02\0"[..], b"{\"Err\":{}}", b"\x01\0\0\x09\x01\0\0\0x"] {
            assert_eq!(read_answers(&Bytes::from(other)).collect::<Vec<_>>(), [Err(Malformed)], "{other:?}");
        }
    }

    #[test]
    fn an_answer_alone_is_wrapped_as_every_reply_is() {
        assert_eq!(Said::View(brief(), "{\"rows\":[]}".into()).alone(), "{\"Ok\":{\"rows\":[]}}");
        assert_eq!(Said::Reply("{\"Err\":1}".into()).alone(), "{\"Err\":1}");
    }
}
