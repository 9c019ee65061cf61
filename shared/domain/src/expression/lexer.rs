//! Texts into tokens, each with its place.

use super::MAX_EXPRESSION_BYTES;
use super::error::{ExpressionError, Span, excerpt};
use super::relation::Relation;
use crate::value::{Number, NumberError};
use std::fmt;

/// The smallest piece of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name as it stands.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A text in single quotes, without them and with `''` taken for `'`.
    Text(String),
    Number(Number),
    Keyword(Keyword),
    Relation(Relation),
    Open,
    Close,
    Comma,
    End,
}

/// As an error message says what was found.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(name) => f.write_str(&excerpt(name)),
            Self::Quoted(name) => write!(f, "\"{}\"", excerpt(name)),
            Self::Text(text) => write!(f, "'{}'", excerpt(text)),
            Self::Number(number) => number.fmt(f),
            Self::Keyword(keyword) => write!(f, "\"{}\"", keyword.as_str()),
            Self::Relation(relation) => write!(f, "\"{}\"", relation.as_str()),
            Self::Open => f.write_str("\"(\""),
            Self::Close => f.write_str("\")\""),
            Self::Comma => f.write_str("\",\""),
            Self::End => f.write_str("the end"),
        }
    }
}

/// A word with a meaning of its own, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Or,
    Not,
    In,
    Is,
    Null,
    Between,
}

impl Keyword {
    const ALL: [Self; 7] = [Self::And, Self::Or, Self::Not, Self::In, Self::Is, Self::Null, Self::Between];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::In => "in",
            Self::Is => "is",
            Self::Null => "null",
            Self::Between => "between",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.as_str().eq_ignore_ascii_case(word))
    }
}

/// Whether a name may stand without double quotes.
pub(super) fn is_plain_word(name: &str) -> bool {
    name.starts_with(starts_word) && name.chars().all(continues_word) && Keyword::of(name).is_none()
}

/// The tokens of `source` with their places; the last one is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, Span)>, ExpressionError> {
    if source.len() > MAX_EXPRESSION_BYTES {
        // The place is what is too much, from the limit on.
        let mut start = MAX_EXPRESSION_BYTES;
        while !source.is_char_boundary(start) {
            start -= 1;
        }
        let message =
            format!("the expression is {} bytes long; at most {MAX_EXPRESSION_BYTES} are allowed", source.len());
        return Err(Span { start, end: source.len() }.error(message));
    }
    let mut lexer = Lexer { source, position: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.take_while(char::is_whitespace);
        let start = lexer.position;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((token, lexer.since(start)));
        if end {
            return Ok(tokens);
        }
    }
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn continues_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn since(&self, start: usize) -> Span {
        Span { start, end: self.position }
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
        self.position += taken.len();
        taken
    }

    fn token(&mut self) -> Result<Token, ExpressionError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        if starts_word(first) {
            return self.word();
        }
        if first.is_ascii_digit() || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            return self.number();
        }
        match first {
            '\'' => return self.text(),
            '"' => return self.quoted(),
            _ => {}
        }
        let symbols = [
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
            ("!=", Token::Relation(Relation::NotEqual)),
            ("<>", Token::Relation(Relation::NotEqual)),
            ("<=", Token::Relation(Relation::LessOrEqual)),
            (">=", Token::Relation(Relation::GreaterOrEqual)),
            ("<", Token::Relation(Relation::Less)),
            (">", Token::Relation(Relation::Greater)),
        ];
        if let Some((symbol, token)) = symbols.into_iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            self.position += symbol.len();
            return Ok(token);
        }
        if first == '=' && !rest.starts_with("==") {
            self.position += 1;
            return Ok(Token::Relation(Relation::Equal));
        }
        Err(self.unexpected(first))
    }

    fn word(&mut self) -> Result<Token, ExpressionError> {
        let start = self.position;
        let word = self.take_while(continues_word);
        if self.rest().starts_with('-') {
            // Could only be a subtraction, which the language has not.
            let tail = self.take_while(|c| continues_word(c) || c == '-');
            return Err(self.since(start).error_with_hint(
                format!("{} holds a \"-\"", excerpt(&format!("{word}{tail}"))),
                format!(
                    "a name that is no plain word stands in double quotes: \"{}\"",
                    excerpt(&format!("{word}{tail}"))
                ),
            ));
        }
        Ok(match Keyword::of(word) {
            Some(keyword) => Token::Keyword(keyword),
            None => Token::Word(word.to_owned()),
        })
    }

    fn number(&mut self) -> Result<Token, ExpressionError> {
        let start = self.position;
        self.position += usize::from(self.rest().starts_with('-'));
        self.take_while(|c| continues_word(c) || c == '.');
        if self.source[start..self.position].ends_with(['e', 'E']) && self.rest().starts_with(['-', '+']) {
            self.position += 1;
            self.take_while(continues_word);
        }
        let text = &self.source[start..self.position];
        Number::parse(text).map(Token::Number).map_err(|problem| {
            let place = self.since(start);
            match problem {
                NumberError::Overflow(_) | NumberError::Digits { .. } => {
                    place.error(format!("{} has more digits than any measure", excerpt(text)))
                }
                NumberError::Syntax(_) if text.contains('.') => {
                    place.error_with_hint(format!("{} is not a number", excerpt(text)), "write it like 12.5 or -3")
                }
                NumberError::Syntax(_) => place.error_with_hint(
                    format!("{} is neither a number nor a plain word", excerpt(text)),
                    format!("a name that is no plain word stands in double quotes: \"{}\"", excerpt(text)),
                ),
            }
        })
    }

    fn text(&mut self) -> Result<Token, ExpressionError> {
        let start = self.position;
        let mut text = String::new();
        loop {
            self.position += 1;
            text.push_str(self.take_while(|c| c != '\''));
            if self.rest().is_empty() {
                return Err(self.since(start).error_with_hint(
                    "this text has no end: its closing ' is missing",
                    "a ' inside a text is written ''",
                ));
            }
            self.position += 1;
            if !self.rest().starts_with('\'') {
                return Ok(Token::Text(text));
            }
            text.push('\'');
        }
    }

    fn quoted(&mut self) -> Result<Token, ExpressionError> {
        let start = self.position;
        self.position += 1;
        let name = self.take_while(|c| c != '"');
        if self.rest().is_empty() {
            return Err(self.since(start).error("this name has no end: its closing \" is missing"));
        }
        self.position += 1;
        if name.is_empty() {
            return Err(self.since(start).error_with_hint(
                "expected a name between the double quotes",
                "the empty text is written with single quotes: ''",
            ));
        }
        Ok(Token::Quoted(name.to_owned()))
    }

    fn unexpected(&self, first: char) -> ExpressionError {
        let rest = self.rest();
        let star = match self.source[..self.position].trim_end().ends_with('(') {
            true => "entities are counted by count, without *",
            false => "there is no multiplication; publish the product as a measure of its own",
        };
        let hints = [
            ("==", "equality is written ="),
            ("&&", "write and"),
            ("||", "write or"),
            ("!", "write not, or != for unequal"),
            ("&", "write and"),
            ("|", "write or"),
            (".", "a number starts with a digit: 0.5"),
            (
                "-",
                "a number's sign stands right before its digits; there is no subtraction: publish the difference as a measure of its own",
            ),
            ("+", "a number has no + before it; there is no addition: publish the sum as a measure of its own"),
            ("*", star),
            ("/", "there is no division; ratio(a, b) divides two metrics"),
            ("‘", "texts stand in straight quotes: '"),
            ("’", "texts stand in straight quotes: '"),
            ("“", "texts stand in straight single quotes: '"),
            ("”", "texts stand in straight single quotes: '"),
            ("`", "names stand in double quotes: \""),
            ("[", "lists stand in parentheses: in ('a', 'b')"),
        ];
        let (length, hint) = match hints.into_iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            Some((symbol, hint)) => (symbol.len(), Some(hint.to_owned())),
            None if first.is_alphabetic() => {
                let hint = "names are made of A-Z a-z 0-9 _ -, and texts stand in single quotes";
                (first.len_utf8(), Some(hint.to_owned()))
            }
            None => (first.len_utf8(), None),
        };
        let place = Span { start: self.position, end: self.position + length };
        let found = &rest[..length];
        ExpressionError { hint, ..place.error(format!("unexpected {found:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(source: &str) -> Vec<Token> {
        tokens(source).unwrap().into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn every_token_is_read() {
        let word = |text: &str| Token::Word(text.into());
        let number = |text: &str| Token::Number(Number::parse(text).unwrap());
        assert_eq!(plain(""), [Token::End]);
        assert_eq!(plain(" \t\n\u{a0}"), [Token::End]);
        assert_eq!(plain("a _b C9"), [word("a"), word("_b"), word("C9"), Token::End]);
        assert_eq!(plain(r#""a-b"'it''s'''"#), [Token::Quoted("a-b".into()), Token::Text("it's'".into()), Token::End]);
        assert_eq!(plain("''"), [Token::Text(String::new()), Token::End]);
        assert_eq!(
            plain("1 -2.50 1e3 1E-3 1e+2"),
            [number("1"), number("-2.5"), number("1000"), number("0.001"), number("100"), Token::End,]
        );
        assert_eq!(plain("(a,b)"), [Token::Open, word("a"), Token::Comma, word("b"), Token::Close, Token::End]);
        let mut relations = plain("= != < <= > >=");
        assert_eq!(relations.pop(), Some(Token::End));
        assert_eq!(relations, Relation::ALL.map(Token::Relation));
        assert_eq!(plain("<>"), [Token::Relation(Relation::NotEqual), Token::End]);
        let mut keywords = plain("AND or NoT iN Is null bEtween");
        assert_eq!(keywords.pop(), Some(Token::End));
        assert_eq!(keywords, Keyword::ALL.map(Token::Keyword));
        assert_eq!(plain("x>-1"), [word("x"), Token::Relation(Relation::Greater), number("-1"), Token::End]);
    }

    #[test]
    fn tokens_know_their_place() {
        let places: Vec<_> = tokens(" ").unwrap();
        assert_eq!(places, [(Token::End, Span { start: 1, end: 1 })]);
        let places: Vec<_> = tokens("a = 'é''' )").unwrap().into_iter().map(|(_, s)| (s.start, s.end)).collect();
        assert_eq!(places, [(0, 1), (2, 3), (4, 10), (11, 12), (12, 12)]);
    }

    #[test]
    fn mistakes_are_found_with_a_hint() {
        for (source, position, length, message, hint) in [
            ("a = 'x", 4, 2, "closing '", "''"),
            ("a = 'x''", 4, 4, "closing '", "''"),
            ("\"a = 1", 0, 6, "closing \"", ""),
            ("\"\" = 1", 0, 2, "expected a name", "single quotes"),
            ("a == 1", 2, 2, "unexpected \"==\"", "written ="),
            ("a = 1 && b", 6, 2, "unexpected \"&&\"", "write and"),
            ("a = 1 || b", 6, 2, "unexpected \"||\"", "write or"),
            ("!a", 0, 1, "unexpected \"!\"", "write not"),
            ("arr-delay > 1", 0, 9, "holds a \"-\"", "\"arr-delay\""),
            ("a -1-", 4, 1, "unexpected \"-\"", "no subtraction"),
            ("a = - 1", 4, 1, "unexpected \"-\"", "right before"),
            ("a = +1", 4, 1, "unexpected \"+\"", "no +"),
            ("a = .5", 4, 1, "unexpected \".\"", "0.5"),
            ("a = 1.2.3", 4, 5, "not a number", "12.5"),
            ("a = 1.", 4, 2, "not a number", "12.5"),
            ("9lives = 1", 0, 6, "neither a number", "\"9lives\""),
            ("a = 1e", 4, 2, "neither a number", "double quotes"),
            ("a = 1e99", 4, 4, "more digits", ""),
            ("count(*)", 6, 1, "unexpected \"*\"", "without *"),
            ("3 * won", 2, 1, "unexpected \"*\"", "publish the product"),
            ("sum(3 * won)", 6, 1, "unexpected \"*\"", "publish the product"),
            ("é = 1", 0, 2, "unexpected \"é\"", "names are made of"),
            ("a = “x”", 4, 3, "unexpected", "straight"),
            ("a; b", 1, 1, "unexpected \";\"", ""),
            ("a\0", 1, 1, "unexpected \"\\0\"", ""),
        ] {
            let error = tokens(source).expect_err(source);
            assert_eq!((error.position, error.length), (position, length), "{source}: {error}");
            assert!(error.message.contains(message), "{source}: {error}");
            assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{source}: {error}");
        }
    }

    #[test]
    fn long_texts_are_refused() {
        assert!(tokens(&" ".repeat(MAX_EXPRESSION_BYTES)).is_ok());
        let error = tokens(&" ".repeat(MAX_EXPRESSION_BYTES + 2)).unwrap_err();
        assert_eq!((error.position, error.length), (MAX_EXPRESSION_BYTES, 2));
        let error = tokens(&format!("x{}", "é".repeat(MAX_EXPRESSION_BYTES / 2))).unwrap_err();
        assert_eq!((error.position, error.length), (MAX_EXPRESSION_BYTES - 1, 2));
    }
}
