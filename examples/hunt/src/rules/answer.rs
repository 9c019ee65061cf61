//! The key of a challenge. At rest only hashes of exact and normalised answers are kept; a pattern is kept as it is.

use data_encoding::HEXLOWER;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Longest answer that a player may send, in bytes.
pub const MAX_ANSWER_BYTES: usize = 256;
/// Most memory of a compiled pattern.
const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Bytes of a hash that are kept.
const HASH_BYTES: usize = 16;

/// One way to answer a challenge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Exactly this text, without blanks around it.
    Exact(Hashed),
    /// This text by its letters and digits alone, in any case.
    Normalised(Hashed),
    /// A regular expression over the whole answer, without blanks around it.
    Regex(Pattern),
}

/// A salted hash, written `salt:hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hashed {
    salt: String,
    hash: String,
}

/// A pattern, compiled when it is first needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern {
    text: String,
    #[serde(skip)]
    compiled: OnceLock<Option<Regex>>,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) | (Self::Normalised(one), Self::Normalised(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.text == other.text,
            _ => false,
        }
    }
}

impl Answer {
    /// Whether this answer is right.
    pub fn accepts(&self, answer: &str) -> bool {
        match self {
            Self::Exact(hashed) => hashed.is_of(answer.trim()),
            Self::Normalised(hashed) => hashed.is_of(&normalised(answer)),
            Self::Regex(pattern) => pattern.matches(answer.trim()),
        }
    }
}

impl Hashed {
    /// Hashes a text with this salt.
    pub fn of(text: &str, salt: &str) -> Self {
        Self { salt: salt.to_owned(), hash: digest(text, salt) }
    }

    fn is_of(&self, text: &str) -> bool {
        digest(text, &self.salt) == self.hash
    }
}

impl From<Hashed> for String {
    fn from(hashed: Hashed) -> Self {
        format!("{}:{}", hashed.salt, hashed.hash)
    }
}

impl TryFrom<String> for Hashed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once(':').filter(|(salt, hash)| {
            !salt.is_empty() && hash.len() == 2 * HASH_BYTES && HEXLOWER.decode(hash.as_bytes()).is_ok()
        });
        match parts {
            Some((salt, hash)) => Ok(Self { salt: salt.to_owned(), hash: hash.to_owned() }),
            None => Err(format!(
                "is no salted hash; `hunt rules hash` makes one of a clear answer, such as salt:{}",
                "0".repeat(32)
            )),
        }
    }
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let compiled = compile(text).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "is a pattern that is too large; make its repetitions shorter".to_owned()
            }
            error => {
                let text = error.to_string();
                format!("is no pattern: {}", text.lines().last().unwrap_or_default().trim_start_matches("error: "))
            }
        })?;
        Ok(Self { text: text.to_owned(), compiled: OnceLock::from(Some(compiled)) })
    }

    fn matches(&self, answer: &str) -> bool {
        self.compiled.get_or_init(|| compile(&self.text).ok()).as_ref().is_some_and(|regex| regex.is_match(answer))
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    // Of the pattern alone first: `a)(b` is no pattern, though it would be one in parentheses.
    Regex::new(text)?;
    RegexBuilder::new(&format!("^(?:{text})$")).size_limit(MAX_PATTERN_BYTES).build()
}

fn digest(text: &str, salt: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("hunt 2026 answer");
    // The length keeps salt and text apart.
    hasher.update(&salt.len().to_le_bytes()).update(salt.as_bytes()).update(text.as_bytes());
    HEXLOWER.encode(&hasher.finalize().as_bytes()[..HASH_BYTES])
}

/// The letters and digits of a text in lower case.
pub fn normalised(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_kind() {
        let exact = Answer::Exact(Hashed::of("Iron Gate", "s1"));
        assert!(exact.accepts(" Iron Gate\n") && !exact.accepts("iron gate") && !exact.accepts("IronGate"));
        let normalised = Answer::Normalised(Hashed::of(&normalised("Iron Gate"), "s2"));
        assert!(normalised.accepts("iron-gate!") && !normalised.accepts("iron gates"));
        let regex = Answer::Regex(Pattern::new("(?i)gate|door [0-9]+").unwrap());
        assert!(regex.accepts("GATE") && regex.accepts(" door 12 ") && !regex.accepts("the gate"));
        let stored: Answer = serde_json::from_str(&serde_json::to_string(&regex).unwrap()).unwrap();
        assert!(stored == regex && stored.accepts("gate"));
    }

    #[test]
    fn a_hash_is_read_as_it_was_written() {
        let hashed = Hashed::of("x", "salt");
        let text = String::from(hashed.clone());
        assert_eq!(Hashed::try_from(text), Ok(hashed));
        assert_ne!(digest("x", "sal"), digest("tx", "sal"));
        for bad in ["", "salt", ":00", "salt:xyz", "salt:00"] {
            assert!(Hashed::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_that_are_none_or_too_large_are_refused() {
        assert!(Pattern::new("a)(b").is_err() && Pattern::new("[").is_err());
        assert!(Pattern::new("(\\w{200}){200}").unwrap_err().contains("too large"));
    }
}
