//! The columns of a table and their cells.

use anyhow::{Context as _, bail};
use daybook_contracts::lists::ViewEntry;
use daybook_contracts::report::{Figure, Row};
use daybook_domain::catalogue::Grain;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use daybook_domain::value::{Number, pow10};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Digits of a decimal column, before and after the point.
pub const DECIMAL_DIGITS: u8 = 38;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Text,
    Date,
    /// 64 bits, signed.
    Integer,
    /// With so many digits after the point.
    Decimal(u8),
    /// A binary float: of figures with as many digits as it takes.
    Float,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// The columns of a view's table: tenant and day, time where the view is kept by it, dimensions, metrics, and of a ranking position and
/// rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns(pub Vec<Column>);

/// A column with its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    pub column: Column,
    pub values: Values,
}

/// The cells of a column, one a row; all of the column's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Text(Vec<Option<String>>),
    Date(Vec<Date>),
    Integer(Vec<Option<i64>>),
    /// Unscaled.
    Decimal(u8, Vec<Option<i128>>),
    Float(Vec<Option<Number>>),
}

/// The rows of a day, by columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub rows: usize,
    pub columns: Vec<Cells>,
}

impl Columns {
    /// The columns of a view. Without its digits, as from shards of an earlier build, figures are binary floats.
    ///
    /// # Errors
    /// Two columns have one name: the view has a `tenant` of its own.
    pub fn of(view: &ViewEntry) -> anyhow::Result<Self> {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let mut columns = vec![column("tenant", Kind::Text), column("day", Kind::Date)];
        if view.grain != Grain::Day {
            columns.push(column("time", Kind::Text));
        }
        if view.ranked {
            columns.extend(["position", "rank"].map(|name| column(name, Kind::Integer)));
        }
        columns.extend(view.dimensions.iter().map(|name| column(name.as_str(), Kind::Text)));
        let digits = view.digits.iter().copied().chain(std::iter::repeat(None));
        columns.extend(view.metrics.iter().zip(digits).map(|(name, digits)| {
            let kind = match digits {
                Some(0) => Kind::Integer,
                Some(digits) => Kind::Decimal(digits),
                None => Kind::Float,
            };
            column(name.as_str(), kind)
        }));
        let mut names = BTreeSet::new();
        if let Some(Column { name, .. }) = columns.iter().find(|column| !names.insert(&column.name)) {
            let view = &view.name;
            bail!(
                "view {view} has a column {name}, and so has each exported table; export a view that calls it otherwise"
            );
        }
        Ok(Self(columns))
    }

    /// The rows of a tenant's day by columns.
    ///
    /// # Errors
    /// A figure does not fit its column.
    pub fn table(&self, tenant: &TenantId, day: Date, rows: &[Row]) -> anyhow::Result<Table> {
        let cells = |(place, column): (usize, &Column)| {
            let of_row = |row: &Row| row.get(&column.name).cloned().unwrap_or(Figure::Null);
            let values = match (place, column.kind) {
                (0, _) => Values::Text(vec![Some(tenant.to_string()); rows.len()]),
                (1, _) => Values::Date(vec![day; rows.len()]),
                (_, Kind::Text | Kind::Date) => Values::Text(rows.iter().map(|row| text(&of_row(row))).collect()),
                (_, Kind::Integer) => {
                    let unscaled = rows.iter().map(|row| at_scale(&of_row(row), 0));
                    let whole = unscaled.map(|value| match value? {
                        None => Ok(None),
                        Some(value) => Ok(Some(i64::try_from(value).ok().context("it does not fit 64 bits")?)),
                    });
                    Values::Integer(whole.collect::<anyhow::Result<_>>()?)
                }
                (_, Kind::Decimal(scale)) => {
                    let unscaled = rows.iter().map(|row| at_scale(&of_row(row), scale));
                    Values::Decimal(scale, unscaled.collect::<anyhow::Result<_>>()?)
                }
                (_, Kind::Float) => {
                    Values::Float(rows.iter().map(|row| number(&of_row(row))).collect::<anyhow::Result<_>>()?)
                }
            };
            anyhow::Ok(Cells { column: column.clone(), values })
        };
        let columns = self.0.iter().enumerate().map(|column| {
            cells(column).with_context(|| format!("a figure of column {} of {tenant} on {day}", column.1.name))
        });
        Ok(Table { rows: rows.len(), columns: columns.collect::<anyhow::Result<_>>()? })
    }
}

impl Values {
    /// A cell as text; `None` for nothing.
    pub fn text(&self, row: usize) -> Option<String> {
        match self {
            Self::Text(texts) => texts[row].clone(),
            Self::Date(dates) => Some(dates[row].to_string()),
            Self::Integer(integers) => integers[row].map(|value| value.to_string()),
            Self::Decimal(scale, unscaled) => unscaled[row].map(|value| Number::new(value, *scale).to_string()),
            Self::Float(numbers) => numbers[row].map(|number| number.to_string()),
        }
    }

    /// Whether the cells are numbers.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Decimal(..) | Self::Float(_))
    }
}

fn text(figure: &Figure) -> Option<String> {
    match figure {
        Figure::Null => None,
        Figure::Text(text) => Some(text.to_string()),
        Figure::Number(number) => Some(number.to_string()),
    }
}

fn number(figure: &Figure) -> anyhow::Result<Option<Number>> {
    match figure {
        Figure::Null => Ok(None),
        Figure::Number(number) => Ok(Some(*number)),
        Figure::Text(text) => bail!("{text:?} is no number"),
    }
}

/// The figure's unscaled value at so many digits after the point.
fn at_scale(figure: &Figure, scale: u8) -> anyhow::Result<Option<i128>> {
    let Some(number) = number(figure)? else { return Ok(None) };
    let trimmed = number.trimmed();
    let missing = scale
        .checked_sub(trimmed.scale())
        .with_context(|| format!("{number} has more than {scale} digits after the point"))?;
    let unscaled = trimmed.unscaled().checked_mul(pow10(missing)).filter(|value| value.abs() < pow10(DECIMAL_DIGITS));
    Ok(Some(unscaled.with_context(|| format!("{number} does not fit {DECIMAL_DIGITS} digits"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::Name;

    fn row(cells: &[(&str, Figure)]) -> Row {
        Row(cells.iter().map(|(name, figure)| (Name::new(name).unwrap(), figure.clone())).collect())
    }

    #[test]
    fn figures_get_the_digits_of_their_columns() {
        let columns = Columns(
            [
                ("tenant", Kind::Text),
                ("day", Kind::Date),
                ("store", Kind::Text),
                ("total", Kind::Decimal(2)),
                ("n", Kind::Integer),
            ]
            .map(|(name, kind)| Column { name: name.to_owned(), kind })
            .to_vec(),
        );
        let rows = [
            // Sealed reports have no zeros at the end.
            row(&[
                ("store", Figure::Text("a".into())),
                ("total", Figure::Number(Number::new(50773, 1))),
                ("n", Figure::integer(3)),
            ]),
            row(&[("store", Figure::Null), ("total", Figure::Null), ("other", Figure::integer(1))]),
        ];
        let day: Date = "2026-01-01".parse().unwrap();
        let table = columns.table(&TenantId::new("acme").unwrap(), day, &rows).unwrap();
        let texts = |row| table.columns.iter().map(|cells| cells.values.text(row)).collect::<Vec<_>>();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(texts(0), [some("acme"), some("2026-01-01"), some("a"), some("5077.30"), some("3")]);
        assert_eq!(texts(1), [some("acme"), some("2026-01-01"), None, None, None]);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let columns = |kind| {
            Columns(vec![
                Column { name: "tenant".into(), kind: Kind::Text },
                Column { name: "day".into(), kind: Kind::Date },
                Column { name: "n".into(), kind },
            ])
        };
        let told = |kind, figure| {
            let day: Date = "2026-01-01".parse().unwrap();
            let error =
                columns(kind).table(&TenantId::new("acme").unwrap(), day, &[row(&[("n", figure)])]).unwrap_err();
            format!("{error:#}")
        };
        let place = "a figure of column n of acme on 2026-01-01: ";
        assert_eq!(told(Kind::Integer, Figure::integer(1_i128 << 70)), format!("{place}it does not fit 64 bits"));
        assert_eq!(
            told(Kind::Decimal(1), Figure::Number(Number::new(125, 2))),
            format!("{place}1.25 has more than 1 digits after the point")
        );
        assert_eq!(told(Kind::Float, Figure::Text("x".into())), format!("{place}\"x\" is no number"));
    }
}
