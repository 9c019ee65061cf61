//! The console: pages for people, under `/`, made of the same answers as the API. Pages only read.
//!
//! - [`serve`]: a request to a page, and who may see it; [`wanted`]: which page; [`visitor`]: who asks, by a cookie; [`sign_in`]: where
//!   it comes from; [`screens`]: makes the page;
//! - [`today`], [`tenant`], [`view`], [`report`], [`rejects`], [`catalogue`], [`cluster`] (with [`webhooks`]): the screens; each
//!   makes a [`page::Page`];
//! - [`page`]: what all pages have; [`live`]: pages that change while they are looked at; [`assets`]: style and script;
//! - [`asked`]: the query of a page's URL; [`survey`]: the days of many tenants; [`state`]: how a tenant's day stands;
//! - [`digits`]: the zeros that sealed reports leave out;
//! - [`words`]: numbers, times and lengths as people read them; [`rows`]: rows as a table; [`chart`]: figures as bars;
//!   [`snippets`]: a question as commands.

mod asked;
mod assets;
mod catalogue;
mod chart;
mod cluster;
mod digits;
mod live;
mod page;
mod rejects;
mod report;
mod rows;
mod screens;
mod serve;
mod sign_in;
mod snippets;
mod state;
mod survey;
mod tenant;
mod today;
mod view;
mod visitor;
mod wanted;
mod webhooks;
mod words;

use crate::console::cluster::Heard;
use crate::console::survey::Survey;
use crate::gateway::Gateway;
use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::routing::any;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Pages that are followed at once. A further one is shown, and does not change by itself.
pub(crate) const MAX_LIVE: u32 = 128;

/// A screen of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Screen {
    Today,
    Tenant,
    View,
    Report,
    Rejects,
    Catalogue,
    Cluster,
}

/// The paths of the screens.
const SCREENS: &[(&str, Screen)] = &[
    ("/", Screen::Today),
    ("/tenants/{tenant}", Screen::Tenant),
    ("/tenants/{tenant}/views/{view}", Screen::View),
    ("/tenants/{tenant}/reports/{date}", Screen::Report),
    ("/tenants/{tenant}/rejects", Screen::Rejects),
    ("/catalogue", Screen::Catalogue),
    ("/cluster", Screen::Cluster),
];

/// What the screens share.
pub(crate) struct Console {
    gateway: Arc<Gateway>,
    survey: Survey,
    heard: Heard,
    live: Arc<Semaphore>,
    /// Cookies are for HTTPS alone.
    is_tls: bool,
    stop: CancellationToken,
}

impl Console {
    /// A console of the gateway. Live pages end when `stop` is cancelled.
    pub(crate) fn new(gateway: Arc<Gateway>, is_tls: bool, stop: CancellationToken) -> Arc<Self> {
        let survey = Survey::new(gateway.asker.clone());
        let heard = Heard::listen(gateway.connection.clone(), stop.clone());
        Arc::new(Self { gateway, survey, heard, live: Arc::new(Semaphore::new(MAX_LIVE as usize)), is_tls, stop })
    }

    /// Its routes.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        let mut router = Router::new();
        for (path, screen) in SCREENS {
            let answer = move |State(console): State<Arc<Self>>, place: Result<RawPathParams, _>, request: Request| {
                // A path that is not UTF-8 has no parameters, and is refused for that.
                async move { serve::serve(console, path, *screen, place.ok(), request).await }
            };
            router = router.route(path, any(answer));
        }
        router
            .merge(assets::router())
            .route("/sign-in", any(sign_in::sign_in))
            .route("/sign-out", any(sign_in::sign_out))
            .with_state(self)
    }
}
