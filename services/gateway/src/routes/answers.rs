//! Which problems a route can answer.

use super::route::{Action, Route};
use crate::problem::Code;
use std::collections::BTreeMap;

/// Every problem of the route, by its status.
pub(super) fn problems_of(route: &Route) -> BTreeMap<u16, Vec<Code>> {
    let mut codes = vec![Code::ForeignOrigin, Code::NotAcceptable, Code::WrongHost];
    if let Action::For(..) = route.action {
        codes.extend([
            Code::BadRequest,
            Code::Unauthorized,
            Code::Forbidden,
            Code::RateLimited,
            Code::Busy,
            Code::Unavailable,
        ]);
    }
    if !route.bodies.is_empty() {
        codes.extend([Code::Timeout, Code::TooLarge, Code::UnsupportedMediaType]);
    }
    codes.extend(route.problems);
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in codes {
        let of_status = by_status.entry(code.status().as_u16()).or_default();
        if !of_status.contains(&code) {
            of_status.push(code);
        }
    }
    by_status
}
