//! The notation of nats-server's configuration files.

use std::fmt::{Display, Write};

/// A configuration file that is being written, two blanks deeper in each block.
#[derive(Default)]
pub(super) struct Text {
    text: String,
    depth: usize,
}

impl Text {
    /// A file that begins with these lines of comment.
    pub(super) fn with_comment(lines: &[&str]) -> Self {
        let text = lines.iter().map(|line| format!("# {line}\n")).collect();
        Self { text, depth: 0 }
    }

    pub(super) fn line(&mut self, name: &str, value: impl Display) {
        let indent = "  ".repeat(self.depth);
        writeln!(self.text, "{indent}{name}: {value}").expect("a String takes every write");
    }

    /// An entry of a list, on a line of its own.
    pub(super) fn item(&mut self, value: &str) {
        let indent = "  ".repeat(self.depth);
        writeln!(self.text, "{indent}{value}").expect("a String takes every write");
    }

    pub(super) fn comment(&mut self, text: &str) {
        self.item(&format!("# {text}"));
    }

    pub(super) fn block(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.enclosed(&format!("{name} {{"), "}", fill);
    }

    pub(super) fn list(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.enclosed(&format!("{name}: ["), "]", fill);
    }

    fn enclosed(&mut self, open: &str, close: &str, fill: impl FnOnce(&mut Self)) {
        self.item(open);
        self.depth += 1;
        fill(self);
        self.depth -= 1;
        self.item(close);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// A string in the server's notation, which knows these escapes and neither variables nor comments inside quotes.
pub(super) fn quoted(value: &str) -> String {
    let mut text = String::from('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

/// Strings in brackets.
pub(super) fn quoted_list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    format!("[{}]", values.join(", "))
}
