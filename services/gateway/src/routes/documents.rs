//! The documents about the routes, each written, tagged and compressed once.

use super::route::Document;
use super::{openapi, page};
use crate::http::Fixed;

/// The documents.
pub(super) struct Documents {
    openapi: Fixed,
    page: Fixed,
}

impl Documents {
    /// Writes them.
    pub(super) fn new() -> Self {
        Self { openapi: openapi::fixed(), page: page::fixed() }
    }

    /// One of them.
    pub(super) fn of(&self, document: Document) -> &Fixed {
        match document {
            Document::OpenApi => &self.openapi,
            Document::Page => &self.page,
        }
    }
}
