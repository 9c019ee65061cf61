//! A row of a comparison of peers, as a peer's program prints it.

use serde::Deserialize;

/// A row of a table, with its figures in their order.
#[derive(Debug, Deserialize)]
pub struct Row {
    pub table: String,
    pub name: String,
    pub figures: Vec<(String, String)>,
}

impl Row {
    pub fn new(table: &str, name: &str, figures: &[(&str, String)]) -> Self {
        let figures = figures.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Self { table: table.to_owned(), name: name.to_owned(), figures }
    }
}
