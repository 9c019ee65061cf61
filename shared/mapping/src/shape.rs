//! The values at some paths of a JSON text, found in one pass: everything else is only checked to be JSON.

use crate::pointer::Pointer;
use crate::scan::{ReadError, Scanner};
use crate::wanted::{Node, Slots, Values};
use smallvec::smallvec;

/// The paths that are wanted, as a tree. Each wanted path has a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    root: Node,
    slots: usize,
    nodes: usize,
}

impl Shape {
    /// The slot of the path's value.
    pub(crate) fn slot(&mut self, pointer: &Pointer) -> usize {
        let mut node = &mut self.root;
        for step in &pointer.steps {
            node = node.grow(step, &mut self.nodes);
        }
        *node.slot.get_or_insert_with(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    /// The value of each slot as it is written, where there is one.
    ///
    /// # Errors
    /// When the text is not one JSON value, or a key on the way to a wanted value stands twice in its object.
    pub(crate) fn read<'r>(&self, text: &'r str) -> Result<Values<'r>, ReadError> {
        let mut slots = Slots { values: smallvec![None; self.slots], base: 0, seen: smallvec![false; self.nodes + 1] };
        let mut scanner = Scanner::new(text);
        scanner.value(Some(&self.root), &mut slots, 0)?;
        scanner.end()?;
        Ok(slots.values)
    }

    /// The elements of an array, each with its slots.
    ///
    /// # Errors
    /// When the text is not one array in JSON, or has more than `most` elements.
    pub(crate) fn read_each<'r>(&self, text: &'r str, most: usize) -> Result<Elements<'r>, ReadError> {
        let mut slots = Slots { values: Values::new(), base: 0, seen: smallvec![false; self.nodes + 1] };
        let mut pieces = Vec::new();
        let mut scanner = Scanner::new(text);
        let mut more = scanner.open_array()?;
        while more {
            if pieces.len() == most {
                let mut error = scanner.error(format!("the array has more than {most} elements"));
                error.is_length = true;
                return Err(error);
            }
            slots.base = slots.values.len();
            slots.values.resize(slots.base + self.slots, None);
            slots.seen.fill(false);
            let start = scanner.begin();
            let refused = scanner.value(Some(&self.root), &mut slots, 0).err();
            if refused.is_some() {
                // It is JSON all the same, or else this fails too.
                scanner.back_to(start);
                scanner.value(None, &mut slots, 0)?;
            }
            pieces.push((scanner.since(start), refused));
            more = scanner.next_element()?;
        }
        scanner.end()?;
        Ok(Elements { values: slots.values, stride: self.slots, pieces })
    }
}

/// The elements of an array.
#[derive(Debug)]
pub(crate) struct Elements<'r> {
    values: Values<'r>,
    /// How many slots each has.
    stride: usize,
    pieces: Vec<(&'r str, Option<ReadError>)>,
}

impl<'r> Elements<'r> {
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Each as it is written, with its slots, or why these cannot be told.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'r str, Result<&[Option<&'r str>], &ReadError>)> {
        self.pieces.iter().enumerate().map(|(at, (piece, refused))| {
            let values = &self.values[at * self.stride..(at + 1) * self.stride];
            (*piece, refused.as_ref().map_or(Ok(values), Err))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'r>(paths: &[&str], text: &'r str) -> Result<Vec<Option<&'r str>>, String> {
        let mut shape = Shape::default();
        let slots: Vec<usize> = paths.iter().map(|path| shape.slot(&Pointer::parse(path).unwrap())).collect();
        let values = shape.read(text).map_err(|error| error.to_string())?;
        Ok(slots.into_iter().map(|slot| values[slot]).collect())
    }

    #[test]
    fn values_are_found_by_their_paths() {
        let text = r#" {"a": {"b": [1.50, {"c": "x"}], "~/": null}, "z": {"q": 1}, "": true, "n": 12e2} "#;
        let found = read(&["/a/b/0", "/a/b/1/c", "/a/b", "/a/~0~1", "/", "/n", "/n/x", "/gone", "/a/b/2"], text);
        let expected = [
            Some("1.50"),
            Some("\"x\""),
            Some(r#"[1.50, {"c": "x"}]"#),
            Some("null"),
            Some("true"),
            Some("12e2"),
            None,
            None,
            None,
        ];
        assert_eq!(found.unwrap(), expected);
        assert_eq!(read(&["", ""], "17").unwrap(), [Some("17"), Some("17")]);
        assert_eq!(read(&["/01", "/1"], "[1, 2]").unwrap(), [None, Some("2")], "an index has no leading zero");
        assert_eq!(read(&["/1"], r#"{"1": 2}"#).unwrap(), [Some("2")], "but a key may look like one");
    }

    #[test]
    fn a_key_that_stands_twice_on_the_way_is_refused() {
        assert!(read(&["/a"], r#"{"a": 1, "b": 2, "a": 3}"#).unwrap_err().contains("\"a\" stands twice"));
        assert!(read(&["/a/b"], r#"{"a": {"b": 1}, "a": {}}"#).unwrap_err().contains("\"a\" stands twice"));
        assert!(read(&["/a", "/a/b"], r#"{"a": {"b": 1, "b": 1}}"#).unwrap_err().contains("\"b\" stands twice"));
        assert_eq!(read(&["/a"], r#"{"a": 1, "b": 2, "b": 3}"#).unwrap(), [Some("1")], "nobody asks for b");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{\"a\": }", "{\"a\": 1} x", "{\"b\": tru}", "[1,]", "{\"a\": 01}", "nul"] {
            assert!(read(&["/a"], text).is_err(), "{text}");
        }
    }

    #[test]
    fn elements_are_read_one_by_one() {
        let mut shape = Shape::default();
        shape.slot(&Pointer::parse("./a").unwrap());
        let text = r#" [ {"a": 1}, 7, {"a": 1, "a": 2}, {"b": [1, {"a": 9}], "a": "x"} ] "#;
        let elements = shape.read_each(text, 4).unwrap();
        let shown: Vec<_> = elements.iter().map(|(piece, values)| (piece, values.map(<[_]>::to_vec).ok())).collect();
        assert_eq!(
            shown,
            [
                (r#"{"a": 1}"#, Some(vec![Some("1")])),
                ("7", Some(vec![None])),
                (r#"{"a": 1, "a": 2}"#, None),
                (r#"{"b": [1, {"a": 9}], "a": "x"}"#, Some(vec![Some("\"x\"")])),
            ]
        );
        assert_eq!(shape.read_each("[]", 4).unwrap().iter().count(), 0);
        assert!(shape.read_each(text, 3).unwrap_err().to_string().contains("more than 3"));
        for bad in ["[", "[1", "[1,]", "[1] 2", "{}", "[1 2]", ""] {
            assert!(shape.read_each(bad, 4).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Whatever `serde_json` takes for JSON is JSON here, and nothing else.
        #[test]
        fn json_is_what_serde_json_takes_for_it(text in r#"[\[\]{}:,"\\ae0-9.+\-u \ntrfl]{0,24}"#) {
            let ours = read(&["/a"], &text).is_ok();
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            let twice = text.matches("\"a\"").count() > 1;
            prop_assert!(ours == theirs || (theirs && twice), "{text:?}: {ours} here, {theirs} there");
        }

        #[test]
        fn any_value_is_read(value in json_value()) {
            let text = value.to_string();
            prop_assert_eq!(read(&[""], &text).unwrap(), [Some(text.as_str())]);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert!(read(&["/a/b", "/0/a"], &pretty).is_ok());
        }
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(|number| if number.is_finite() { number.into() } else { 0.into() }),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map("[a-c]{0,2}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
