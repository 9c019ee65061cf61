//! Makes the page that was asked for, each screen by its own file, within a deadline.

use super::page::Page;
use super::visitor::Visitor;
use super::wanted::Wanted;
use super::{Console, Screen, catalogue, cluster, rejects, report, tenant, today, view};
use crate::problem::{Code, Problem};
use std::time::Duration;

/// How long a page may take, all in all.
const DEADLINE: Duration = Duration::from_secs(20);

/// Makes the page.
///
/// # Errors
/// Those of the query service; what was asked for is not there.
pub(super) async fn page(console: &Console, visitor: &Visitor, wanted: &Wanted) -> Result<Page, Problem> {
    let made = async {
        match wanted.screen {
            Screen::Today => today::page(console, visitor, wanted).await,
            Screen::Tenant => tenant::page(console, wanted).await,
            Screen::View => view::page(console, visitor, wanted).await,
            Screen::Report => report::page(console, wanted).await,
            Screen::Rejects => rejects::page(console, wanted).await,
            Screen::Catalogue => catalogue::page(console, visitor).await,
            Screen::Cluster => cluster::page(console, visitor).await,
        }
    };
    let late = || Problem::new(Code::Unavailable, format!("no answer within {DEADLINE:?}"));
    tokio::time::timeout(DEADLINE, made).await.map_err(|_| late())?
}
