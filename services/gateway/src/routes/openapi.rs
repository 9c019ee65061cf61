//! The OpenAPI 3.1 document, made from the table of routes.

use super::answers::problems_of;
use super::route::{Action, Route};
use super::schemas;
use super::table::ROUTES;
use crate::http::parameters::Parameter;
use crate::http::{Fixed, Format};
use crate::problem::PROBLEM_JSON;
use serde_json::{Map, Value, json};

/// The document as it is served.
pub(super) fn fixed() -> Fixed {
    let text = serde_json::to_string_pretty(&document()).expect("plain values") + "\n";
    Fixed::new(Format::Json.media_type(), text)
}

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Daybook",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Exact live figures and sealed day reports for every tenant. Errors are problem details of RFC 9457 \
                with a stable `code`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key of `daybook key create`, or a JWT with `tenants` and `scope`. Without tokens, \
                        `daybook up` serves the machine that it runs on.",
                },
            },
            "schemas": {"Problem": schemas::problem()},
        },
    })
}

fn operation(route: &Route) -> Value {
    let parameters: Vec<Value> = route
        .path_parameters()
        .map(|p| parameter(p, "path"))
        .chain(route.query.iter().map(|p| parameter(p, "query")))
        .collect();
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "description": route.about,
        "parameters": parameters,
        "responses": responses(route),
    });
    match route.action {
        Action::Open(_) => operation["security"] = json!([]),
        Action::For(scope, _) => operation["x-scope"] = scope.as_str().into(),
    }
    if !route.bodies.is_empty() {
        let content: Map<String, Value> =
            route.bodies.iter().map(|(media, schema)| ((*media).to_owned(), json!({"schema": schema()}))).collect();
        // A question without a body asks for everything.
        let is_required = route.bodies.len() > 1;
        operation["requestBody"] = json!({"required": is_required, "content": content});
    }
    operation
}

fn parameter(parameter: &Parameter, place: &str) -> Value {
    let mut described = json!({
        "name": parameter.name,
        "in": place,
        "required": place == "path",
        "description": parameter.about,
        "schema": parameter.schema(),
    });
    if described["schema"]["type"] == "array" {
        described["explode"] = parameter.explodes().into();
    }
    described
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for (status, about, schema) in route.answers {
        let schema = schema();
        let mut response = json!({"description": about});
        if !schema.is_null() {
            let content: Map<String, Value> = route.formats.iter().map(|format| of_format(*format, &schema)).collect();
            response["content"] = content.into();
        }
        responses.insert(status.to_string(), response);
    }
    for (status, codes) in problems_of(route) {
        let about =
            codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect::<Vec<_>>().join(" ");
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        let response = json!({"description": about, "content": {PROBLEM_JSON: {"schema": schema}}});
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

/// The media type and its schema: only JSON has the one of the table.
fn of_format(format: Format, schema: &Value) -> (String, Value) {
    let schema = match format {
        Format::Json => schema.clone(),
        _ => json!({"type": "string"}),
    };
    (format.name().to_owned(), json!({"schema": schema}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_once_and_completely() {
        let document = document();
        let mut ids = BTreeSet::new();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{}", route.id);
            let named = route.path.matches('{').count();
            let in_path = operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path").count();
            assert_eq!(named, in_path, "{}", route.path);
            assert!(operation["responses"]["200"]["description"].is_string(), "{}", route.id);
            assert!(operation["responses"]["405"].is_null(), "405 is for other methods");
            assert!(!route.summary.is_empty() && !route.about.is_empty());
            assert_eq!(operation["requestBody"].is_object(), route.method == "POST", "{}", route.id);
            let is_open = matches!(route.action, Action::Open(_));
            assert_eq!(operation["responses"]["401"].is_null(), is_open, "{}", route.id);
        }
        assert_eq!(ids.len(), ROUTES.len());
    }
}
