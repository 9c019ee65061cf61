//! Tokens into conditions, by recursive descent.

use super::error::{ExpressionError, Span, excerpt};
use super::lexer::{Keyword, Token, tokens};
use super::syntax::{Condition, Constant, Identifier, Literal, Operand};
use super::{MAX_LIST_LITERALS, MAX_NESTING};

/// Reads the text of a `where`.
pub(super) fn condition(source: &str) -> Result<Condition, ExpressionError> {
    let mut parser = ConditionParser { cursor: Cursor::new(source)?, nesting: 0 };
    let condition = parser.any()?;
    match parser.cursor.peek() {
        Token::End => Ok(condition),
        Token::Relation(_) => {
            Err(parser.cursor.unexpected("and, or or the end", Some("comparisons are joined by and")))
        }
        Token::Close => Err(parser.cursor.unexpected("and, or or the end", Some("there is no ( that it closes"))),
        _ => Err(parser.cursor.unexpected("and, or or the end", None)),
    }
}

/// A place among the tokens of a text.
pub(super) struct Cursor {
    tokens: Vec<(Token, Span)>,
    next: usize,
}

impl Cursor {
    pub(super) fn new(source: &str) -> Result<Self, ExpressionError> {
        Ok(Self { tokens: tokens(source)?, next: 0 })
    }

    /// The next token; at the end it is [`Token::End`] for ever.
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    pub(super) fn place(&self) -> Span {
        self.tokens[self.next].1
    }

    pub(super) fn take(&mut self) -> (Token, Span) {
        let token = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    /// Takes the next token if it is `wanted`.
    pub(super) fn accept(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == wanted;
        if found {
            self.take();
        }
        found
    }

    fn accept_keyword(&mut self, wanted: Keyword) -> bool {
        self.accept(&Token::Keyword(wanted))
    }

    pub(super) fn unexpected(&self, expected: &str, hint: Option<&str>) -> ExpressionError {
        let error = self.place().error(format!("expected {expected}, found {}", self.peek()));
        let keyword = match self.peek() {
            Token::Keyword(keyword) if expected.contains("name") => {
                Some(format!("a name that is a keyword stands in double quotes: \"{}\"", keyword.as_str()))
            }
            _ => None,
        };
        ExpressionError { hint: hint.map(str::to_owned).or(keyword), ..error }
    }

    /// The next token as a name, or nothing taken.
    pub(super) fn identifier(&mut self) -> Option<Identifier> {
        let (name, quoted) = match self.peek() {
            Token::Word(name) => (name.clone(), false),
            Token::Quoted(name) => (name.clone(), true),
            _ => return None,
        };
        let (_, place) = self.take();
        Some(Identifier { name, quoted, place })
    }

    fn literal(&mut self) -> Option<Literal> {
        let constant = match self.peek() {
            Token::Text(text) => Constant::Text(text.clone()),
            Token::Number(number) => Constant::Number(*number),
            _ => return None,
        };
        let (_, place) = self.take();
        Some(Literal { constant, place })
    }
}

struct ConditionParser {
    cursor: Cursor,
    /// How many parentheses and `not`s are open.
    nesting: usize,
}

impl ConditionParser {
    fn any(&mut self) -> Result<Condition, ExpressionError> {
        let mut parts = vec![self.all()?];
        while self.cursor.accept_keyword(Keyword::Or) {
            parts.push(self.all()?);
        }
        Ok(Condition::any(parts))
    }

    fn all(&mut self) -> Result<Condition, ExpressionError> {
        let mut parts = vec![self.negation()?];
        while self.cursor.accept_keyword(Keyword::And) {
            parts.push(self.negation()?);
        }
        Ok(Condition::all(parts))
    }

    fn negation(&mut self) -> Result<Condition, ExpressionError> {
        let place = self.cursor.place();
        if self.cursor.accept_keyword(Keyword::Not) {
            return self.nested(place, Self::negation).map(Condition::not);
        }
        if self.cursor.accept(&Token::Open) {
            let inner = self.nested(place, Self::any)?;
            if !self.cursor.accept(&Token::Close) {
                let expected = format!("and, or or \")\" for the \"(\" at {}", place.start);
                return Err(self.cursor.unexpected(&expected, None));
            }
            return Ok(inner);
        }
        self.test()
    }

    fn nested(
        &mut self,
        place: Span,
        parse: fn(&mut Self) -> Result<Condition, ExpressionError>,
    ) -> Result<Condition, ExpressionError> {
        if self.nesting == MAX_NESTING {
            return Err(place.error(format!("nested more than {MAX_NESTING} deep")));
        }
        self.nesting += 1;
        let inner = parse(self);
        self.nesting -= 1;
        inner
    }

    fn test(&mut self) -> Result<Condition, ExpressionError> {
        let subject = self.operand()?;
        if let Token::Relation(relation) = *self.cursor.peek() {
            self.cursor.take();
            return Ok(Condition::compare(subject, relation, self.operand()?));
        }
        if self.cursor.accept_keyword(Keyword::Is) {
            let negated = self.cursor.accept_keyword(Keyword::Not);
            if !self.cursor.accept_keyword(Keyword::Null) {
                let expected = if negated { "null" } else { "null or not null" };
                return Err(self.cursor.unexpected(expected, Some("other values are compared by = or !=")));
            }
            return Ok(Condition::IsNull { subject, negated });
        }
        let negated = self.cursor.accept_keyword(Keyword::Not);
        if self.cursor.accept_keyword(Keyword::In) {
            let list = self.list()?;
            return Ok(Condition::In { subject, list, negated });
        }
        if self.cursor.accept_keyword(Keyword::Between) {
            let low = self.operand()?;
            if !self.cursor.accept_keyword(Keyword::And) {
                return Err(self.cursor.unexpected("and with the upper bound", Some("such as between 1 and 5")));
            }
            let high = self.operand()?;
            return Ok(Condition::Between { subject, low, high, negated });
        }
        Err(match (self.cursor.peek(), &subject) {
            _ if negated => self.cursor.unexpected("in or between after not", None),
            (Token::Open, Operand::Field(_)) => {
                self.cursor.unexpected("a comparison", Some("a condition has no functions"))
            }
            _ => self.cursor.unexpected("a comparison", Some("such as = 'text', < 5, in (1, 2) or is null")),
        })
    }

    fn operand(&mut self) -> Result<Operand, ExpressionError> {
        if let Some(field) = self.cursor.identifier() {
            return Ok(Operand::Field(field));
        }
        match self.cursor.literal() {
            Some(literal) => Ok(Operand::Literal(literal)),
            None => Err(self.no_value("the name of a field or a value")),
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>, ExpressionError> {
        if !self.cursor.accept(&Token::Open) {
            return Err(self.cursor.unexpected("\"(\" and a list", Some("such as in ('a', 'b')")));
        }
        let mut list = Vec::new();
        loop {
            if list.len() == MAX_LIST_LITERALS {
                let message = format!("more than {MAX_LIST_LITERALS} values in a list");
                return Err(self.cursor.place().error(message));
            }
            let Some(literal) = self.cursor.literal() else {
                return Err(match self.cursor.peek() {
                    Token::Word(word) => {
                        let hint =
                            format!("a list holds constants; a text stands in single quotes: '{}'", excerpt(word));
                        self.cursor.unexpected("a text or a number", Some(&hint))
                    }
                    _ => self.no_value("a text or a number"),
                });
            };
            list.push(literal);
            if self.cursor.accept(&Token::Close) {
                return Ok(list);
            }
            if !self.cursor.accept(&Token::Comma) {
                return Err(self.cursor.unexpected("\",\" or \")\"", None));
            }
        }
    }

    fn no_value(&self, expected: &str) -> ExpressionError {
        match self.cursor.peek() {
            // In SQL such a comparison is never true, which is never meant.
            Token::Keyword(Keyword::Null) => {
                self.cursor.unexpected(expected, Some("nothing equals null; use is null or is not null"))
            }
            _ => self.cursor.unexpected(expected, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition with every parenthesis, whatever the canonical form leaves out.
    fn grouped(condition: &Condition) -> String {
        let join = |parts: &[Condition], word: &str| {
            let parts: Vec<_> = parts.iter().map(grouped).collect();
            format!("[{}]", parts.join(word))
        };
        match condition {
            Condition::All(parts) => join(parts, " & "),
            Condition::Any(parts) => join(parts, " | "),
            Condition::Not(inner) => format!("!{}", grouped(inner)),
            test => test.to_string(),
        }
    }

    #[test]
    fn precedence_is_not_and_or() {
        for (source, shape) in [
            ("a = 1 or b = 2 and c = 3", "[a = 1 | [b = 2 & c = 3]]"),
            ("(a = 1 or b = 2) and c = 3", "[[a = 1 | b = 2] & c = 3]"),
            ("not a = 1 and b = 2", "[a != 1 & b = 2]"),
            ("not (a = 1 and b = 2)", "![a = 1 & b = 2]"),
            ("not not (a = 1 and b = 2)", "[a = 1 & b = 2]"),
            ("a = 1 and (b = 2 and (c = 3 and d = 4))", "[a = 1 & b = 2 & c = 3 & d = 4]"),
            ("((a = 1)) or (b = 2 or c = 3)", "[a = 1 | b = 2 | c = 3]"),
            ("a between 1 and 2 and b = 3", "[a between 1 and 2 & b = 3]"),
            ("a NOT BETWEEN 1 AND 2 OR a IS NOT NULL", "[a not between 1 and 2 | a is not null]"),
        ] {
            assert_eq!(grouped(&condition(source).unwrap()), shape, "{source}");
        }
    }

    #[test]
    fn the_canonical_form_is_one_for_equal_texts() {
        for (source, canonical) in [
            ("a=1", "a = 1"),
            ("1.50 < a", "a > 1.5"),
            ("'x' <> a", "a != 'x'"),
            ("5 >= a", "a <= 5"),
            ("a = b", "a = b"),
            ("\"a\" = \"b-c\"", "a = \"b-c\""),
            ("\"status\" = status", "\"status\" = status"),
            ("\"And\" = \"9\"", "\"And\" = \"9\""),
            ("a in (3, 1, 2.0, 2)", "a in (1, 2, 3)"),
            ("not a in ('b', 'a')", "a not in ('a', 'b')"),
            ("not a not in ('it''s')", "a in ('it''s')"),
            ("not a is null", "a is not null"),
            ("not a <= 1", "a > 1"),
            ("not a between b and 2", "a not between b and 2"),
            ("(a = 1 and b = 2) or c = 3", "a = 1 and b = 2 or c = 3"),
            ("a = 1 and (b = 2 or c = 3)", "a = 1 and (b = 2 or c = 3)"),
            ("not (a = 1 or not (b = 2 and c = 3))", "not (a = 1 or not (b = 2 and c = 3))"),
        ] {
            let parsed = condition(source).unwrap();
            assert_eq!(parsed.to_string(), canonical, "{source}");
            assert_eq!(condition(canonical).unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (source, position, length, message, hint) in [
            ("", 0, 0, "expected the name of a field or a value, found the end", ""),
            ("  ", 2, 0, "found the end", ""),
            ("a", 1, 0, "expected a comparison, found the end", "is null"),
            ("a b", 2, 1, "expected a comparison, found b", "such as"),
            ("a =", 3, 0, "expected the name of a field or a value, found the end", ""),
            ("a = 1 b", 6, 1, "expected and, or or the end, found b", ""),
            ("a < b < c", 6, 1, "found \"<\"", "joined by and"),
            ("a = 1)", 5, 1, "found \")\"", "no ("),
            ("(a = 1", 6, 0, "for the \"(\" at 0, found the end", ""),
            ("b = 2 and (a = 1 b", 17, 1, "for the \"(\" at 10, found b", ""),
            ("()", 1, 1, "found \")\"", ""),
            ("a = 1 and", 9, 0, "found the end", ""),
            ("or a = 1", 0, 2, "found \"or\"", "\"or\""),
            ("a = null", 4, 4, "found \"null\"", "is null"),
            ("NULL = a", 0, 4, "found \"null\"", "is null"),
            ("a in (1, null)", 9, 4, "found \"null\"", "is null"),
            ("a is 5", 5, 1, "expected null or not null, found 5", "="),
            ("a is not 'x'", 9, 3, "expected null, found 'x'", ""),
            ("a not = 5", 6, 1, "expected in or between after not", ""),
            ("a in 5", 5, 1, "expected \"(\" and a list", "in ('a', 'b')"),
            ("a in ()", 6, 1, "expected a text or a number, found \")\"", ""),
            ("a in (1,)", 8, 1, "expected a text or a number", ""),
            ("a in (1 2)", 8, 1, "expected \",\" or \")\", found 2", ""),
            ("a in (UA)", 6, 2, "found UA", "'UA'"),
            ("a in (1, 2", 10, 0, "found the end", ""),
            ("a between 1, 2", 11, 1, "expected and with the upper bound", "between 1 and 5"),
            ("a between 1 and", 15, 0, "found the end", ""),
            ("sum(a) > 5", 3, 1, "expected a comparison, found \"(\"", "no functions"),
            ("in = 5", 0, 2, "found \"in\"", "\"in\""),
        ] {
            let error = condition(source).expect_err(source);
            assert_eq!((error.position, error.length), (position, length), "{source}: {error}");
            assert!(error.message.contains(message), "{source}: {error}");
            assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{source}: {error}");
        }
    }

    #[test]
    fn nesting_and_lists_are_bounded() {
        let parentheses = |depth: usize| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(condition(&parentheses(MAX_NESTING)).is_ok());
        let error = condition(&parentheses(MAX_NESTING + 1)).unwrap_err();
        assert_eq!((error.position, error.length), (MAX_NESTING, 1));
        assert!(condition(&format!("{}a = 1", "not ".repeat(MAX_NESTING))).is_ok());
        let error = condition(&format!("{}a = 1", "not ".repeat(MAX_NESTING + 1))).unwrap_err();
        assert_eq!((error.position, error.length), (4 * MAX_NESTING, 3));
        // Hostile texts of the full length, with and without an end.
        assert!(condition(&"(".repeat(4096)).is_err());
        assert!(condition(&"not ".repeat(1024)).is_err());

        let list = |count: usize| format!("a in (1{})", ",2".repeat(count - 1));
        assert!(condition(&list(MAX_LIST_LITERALS)).is_ok());
        let error = condition(&list(MAX_LIST_LITERALS + 1)).unwrap_err();
        assert_eq!((error.position, error.length), (list(MAX_LIST_LITERALS).len(), 1));
    }
}
