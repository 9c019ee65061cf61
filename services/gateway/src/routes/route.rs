//! What the table says of a route.

use super::inputs::PATH;
use super::schemas::Schema;
use crate::access::Scope;
use crate::http::parameters::Parameter;
use crate::http::{Call, Format, Reply};
use crate::problem::{Code, Problem};
use futures::future::BoxFuture;

/// Answers a request that its token allows.
pub(super) type Handler = fn(Call) -> BoxFuture<'static, Result<Reply, Problem>>;

/// A document about the routes.
#[derive(Clone, Copy)]
pub(super) enum Document {
    /// The OpenAPI document.
    OpenApi,
    /// A page to read it.
    Page,
}

/// What a route does.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// The same for everyone, without a token.
    Open(Document),
    /// For tokens with the scope.
    For(Scope, Handler),
}

/// One method of one path.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// The operation's id in the document.
    pub id: &'static str,
    pub summary: &'static str,
    pub about: &'static str,
    pub action: Action,
    /// Parameters of the query.
    pub query: &'static [Parameter],
    /// Bodies that are read: media type and schema.
    pub bodies: &'static [(&'static str, Schema)],
    /// The formats of the answer; the first where a client likes all alike.
    pub formats: &'static [Format],
    /// Statuses that are no problems, and the schema of their JSON.
    pub answers: &'static [(u16, &'static str, Schema)],
    /// Problems besides those that every route has.
    pub problems: &'static [Code],
    /// Whether it may take longer than other requests.
    pub is_stream: bool,
}

impl Route {
    /// The parameters of the path.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        let path = self.path;
        PATH.iter().filter(move |parameter| path.contains(&format!("{{{}}}", parameter.name)))
    }

    /// Whether its answers are server-sent events.
    pub(super) fn is_live(&self) -> bool {
        self.formats == [Format::EventStream]
    }
}
