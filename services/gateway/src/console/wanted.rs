//! A page that was asked for: the screen, and what its URL says.

use super::asked::Asked;
use super::{Console, Screen};
use crate::problem::{Code, Problem};
use daybook_domain::catalogue::Tenant;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A page that was asked for.
pub(super) struct Wanted {
    pub screen: Screen,
    pub path: String,
    pub asked: Asked,
    /// The parameters of the path.
    pub place: BTreeMap<String, String>,
}

impl Wanted {
    /// A name in the path.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of_path<T: std::str::FromStr<Err: std::fmt::Display>>(&self, what: &str) -> Result<T, Problem> {
        let text = self.place.get(what).map_or("", String::as_str);
        text.parse().map_err(|error| Problem::new(Code::BadRequest, format!("{error}")).field(what))
    }

    /// The tenant in the path.
    ///
    /// # Errors
    /// There is no such tenant.
    pub(super) async fn tenant(&self, console: &Console) -> Result<Arc<Tenant>, Problem> {
        let id: TenantId = self.of_path("tenant")?;
        console.gateway.definitions.tenant(&id).await
    }

    /// The view in the path.
    ///
    /// # Errors
    /// It is no name.
    pub(super) fn view(&self) -> Result<Name, Problem> {
        self.of_path("view")
    }

    /// The business day in the path.
    ///
    /// # Errors
    /// It is no date.
    pub(super) fn date(&self) -> Result<Date, Problem> {
        self.of_path("date")
    }
}
