//! Parameters of paths and queries: their forms as data, from which requests are checked and the document is made.

use super::query::pieces;
use crate::problem::{Code, Problem};
use daybook_contracts::ask::DaySelector;
use daybook_domain::ids::Name;
use daybook_domain::nearest::nearest;
use daybook_domain::time::Date;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest text of a parameter, in characters. Longer conditions go with POST: the head of a request is bounded.
const MAX_TEXT_CHARS: usize = 2_000;
/// Longest cursor, in bytes.
const MAX_CURSOR_BYTES: usize = 16 << 10;
/// What selects days.
pub(crate) const DAYS: &str = "^(today|yesterday|week_to_date|month_to_date|last_[0-9]{1,3}_days|season:[A-Za-z0-9_-]{1,64}\
    |[0-9]{4}-[0-9]{2}-[0-9]{2}([.][.][0-9]{4}-[0-9]{2}-[0-9]{2})?)$";
/// Ids of tenants and names of definitions.
pub(crate) const NAME: &str = "^[A-Za-z0-9_-]{1,64}$";

/// The form of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// A tenant's id, or the name of a definition.
    Name,
    /// A business day, such as 2024-03-01.
    Date,
    /// Any text.
    Text,
    /// What [`DaySelector`] reads.
    Days,
    /// The `next` of another answer.
    Cursor,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A whole number between these, both included.
    Whole(u64, u64),
    /// `true` or `false`.
    Flag,
    /// Texts, separated by commas; an empty one is a list of none.
    List,
    /// Texts, each a parameter of its own, because they may hold commas.
    Repeated,
}

/// A parameter of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub name: &'static str,
    pub form: Form,
    pub about: &'static str,
    pub example: &'static str,
}

/// Parameters that a request has given, of the right form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Value>,
}

impl Given {
    /// A text, a name, a date or a choice.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// A whole number.
    pub(crate) fn whole(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.as_u64()
    }

    /// These parameters as an object, without those of the path.
    pub(crate) fn object(&self, parameters: &[Parameter]) -> Map<String, Value> {
        let given = parameters.iter().filter_map(|p| Some((p.name.to_owned(), self.values.get(p.name)?.clone())));
        given.collect()
    }

    /// Takes a parameter of the path in.
    ///
    /// # Errors
    /// Its form is wrong.
    pub(crate) fn take_path(&mut self, parameter: &Parameter, text: &str) -> Result<(), Problem> {
        self.values.insert(parameter.name, parameter.read(text)?);
        Ok(())
    }

    /// Takes the query of a URL in.
    ///
    /// # Errors
    /// A parameter is unknown, there twice, or of a wrong form.
    pub(crate) fn take_query(&mut self, query: &str, parameters: &'static [Parameter]) -> Result<(), Problem> {
        for (name, text) in pieces(query)? {
            let Some(parameter) = parameters.iter().find(|known| known.name == name) else {
                return Err(unknown(&name, parameters));
            };
            let value = parameter.read(&text)?;
            match self.values.get_mut(parameter.name) {
                None => drop(self.values.insert(parameter.name, value)),
                Some(Value::Array(values)) if parameter.form == Form::Repeated => {
                    if let Value::Array(more) = value {
                        values.extend(more);
                    }
                }
                Some(_) => {
                    let problem = Problem::new(Code::BadRequest, "the parameter is given twice");
                    return Err(problem.field(parameter.name));
                }
            }
        }
        Ok(())
    }
}

fn unknown(name: &str, parameters: &[Parameter]) -> Problem {
    let problem = Problem::new(Code::BadRequest, "there is no such parameter").field(name);
    let names = || parameters.iter().map(|parameter| parameter.name);
    match nearest(name, names()) {
        Some(meant) => problem.hint(format!("did you mean {meant}?")),
        None if parameters.is_empty() => problem.hint("this path takes none"),
        None => problem.hint(format!("there are {}", names().collect::<Vec<_>>().join(", "))),
    }
}

impl Parameter {
    /// Reads a value.
    fn read(&self, text: &str) -> Result<Value, Problem> {
        let wrong = |what: String| Problem::new(Code::BadRequest, what).field(self.name);
        if self.form != Form::Cursor && text.chars().nth(MAX_TEXT_CHARS).is_some() {
            return Err(wrong(format!("the value has more than {MAX_TEXT_CHARS} characters"))
                .hint("ask by POST, where the body may be longer"));
        }
        Ok(match self.form {
            Form::Name => {
                Name::new(text).map_err(|error| wrong(format!("the value {error}")))?;
                Value::from(text)
            }
            Form::Date => {
                text.parse::<Date>().map_err(|error| wrong(error.to_string()).hint("write a day as 2024-03-01"))?;
                Value::from(text)
            }
            Form::Text => Value::from(text),
            Form::Days => {
                text.parse::<DaySelector>().map_err(|error| wrong(error.to_string()))?;
                Value::from(text)
            }
            Form::Cursor => {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                if text.is_empty() || text.len() > MAX_CURSOR_BYTES || !text.bytes().all(is_plain) {
                    return Err(wrong("this is no cursor".to_owned())
                        .hint("use the `next` of the page before, or leave it out"));
                }
                Value::from(text)
            }
            Form::Choice(choices) => match choices.contains(&text) {
                true => Value::from(text),
                false => return Err(wrong("the value is none of the choices".to_owned()).hint(choices.join(", "))),
            },
            Form::Whole(least, most) => {
                let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse::<u64>().ok().filter(|number| is_plain && (least..=most).contains(number));
                Value::from(
                    number.ok_or_else(|| wrong(format!("the value is no whole number from {least} to {most}")))?,
                )
            }
            Form::Flag => match text {
                "true" => Value::from(true),
                "false" => Value::from(false),
                _ => return Err(wrong("the value is neither true nor false".to_owned())),
            },
            Form::List if text.is_empty() => json!([]),
            Form::List => text.split(',').map(str::trim).map(Value::from).collect(),
            Form::Repeated => json!([text]),
        })
    }

    /// The JSON schema of the value.
    pub(crate) fn schema(&self) -> Value {
        match self.form {
            Form::Name => json!({"type": "string", "pattern": NAME}),
            Form::Date => json!({"type": "string", "format": "date"}),
            Form::Text => json!({"type": "string", "maxLength": MAX_TEXT_CHARS}),
            Form::Days => json!({"type": "string", "pattern": DAYS}),
            Form::Cursor => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": MAX_CURSOR_BYTES}),
            Form::Choice(choices) => json!({"type": "string", "enum": choices}),
            Form::Whole(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Form::Flag => json!({"type": "boolean"}),
            Form::List | Form::Repeated => json!({"type": "array", "items": {"type": "string"}}),
        }
    }

    /// Whether the items of a list are parameters of their own.
    pub(crate) fn explodes(&self) -> bool {
        self.form == Form::Repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ALL: &[Parameter] = &[
        Parameter { name: "limit", form: Form::Whole(1, 100), about: "", example: "" },
        Parameter { name: "metrics", form: Form::List, about: "", example: "" },
        Parameter { name: "member", form: Form::Repeated, about: "", example: "" },
        Parameter { name: "where", form: Form::Text, about: "", example: "" },
        Parameter { name: "from", form: Form::Date, about: "", example: "" },
        Parameter { name: "flag", form: Form::Flag, about: "", example: "" },
    ];

    fn given(query: &str) -> Result<Value, String> {
        let mut given = Given::default();
        given.take_query(query, ALL).map_err(|problem| problem.json())?;
        Ok(Value::Object(given.object(ALL)))
    }

    #[test]
    fn queries_are_read_by_the_forms_of_their_parameters() {
        let read = given("limit=7&metrics=a,%20b&member=x,y&member=&where=a+%3D+'%C3%A9'&from=2024-02-29&flag=true&&");
        let expected = json!({"limit": 7, "metrics": ["a", "b"], "member": ["x,y", ""], "where": "a = 'é'",
            "from": "2024-02-29", "flag": true});
        assert_eq!(read.unwrap(), expected);
        assert_eq!(given("metrics=").unwrap(), json!({"metrics": []}));
        assert_eq!(given("").unwrap(), json!({}));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_name() {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=+7", "limit"),
            ("limit=1e2", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=1&limit=1", "limit"),
            ("limits=1", "did you mean limit?"),
            ("from=2023-02-29", "from"),
            ("flag", "flag"),
            ("where=%ff", "UTF-8"),
            ("xyzzy=1", "there are limit"),
        ] {
            let told = given(query).unwrap_err();
            assert!(told.contains(field), "{query}: {told}");
        }
        let many = "member=x&".repeat(65);
        assert!(given(&many).is_err());
    }
}
