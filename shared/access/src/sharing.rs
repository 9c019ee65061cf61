//! What crosses the border between the services' account and a tenant's.
//!
//! The services' account exports its public subjects for any tenant; each tenant's account imports those subjects that name
//! this tenant, under the same names. Only the operator makes accounts, so no tenant gives itself an import. Nothing of the
//! JetStream API is exported: what stands in a stream is asked of the query service.

use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use std::time::Duration;

/// How long the broker keeps the way back for a reply. Longer than query takes over any question.
pub const REPLY_THRESHOLD: Duration = Duration::from_secs(12);

/// The direction of what is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// Requests go to the services, replies come back.
    Service,
    /// Messages go to the tenants.
    Stream,
}

impl Crossing {
    /// The word for it in claims and configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Stream => "stream",
        }
    }
}

/// A subject that crosses the border.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub crossing: Crossing,
    pub subject: String,
}

/// What the services' account exports.
pub fn exports(subjects: &Subjects) -> Vec<Shared> {
    shared(subjects, "*")
}

/// What a tenant's account imports.
pub fn imports(subjects: &Subjects, tenant: &TenantId) -> Vec<Shared> {
    shared(subjects, tenant.as_str())
}

fn shared(subjects: &Subjects, tenant: &str) -> Vec<Shared> {
    let service = |subject| Shared { crossing: Crossing::Service, subject };
    let stream = |subject| Shared { crossing: Crossing::Stream, subject };
    vec![
        service(subjects.input(tenant, "*")),
        service(subjects.query(tenant, "*")),
        stream(subjects.live(tenant, "*")),
        stream(subjects.days_of(tenant)),
        stream(subjects.reports_of(tenant)),
        stream(subjects.rejects(tenant)),
        stream(subjects.alerts(tenant)),
    ]
}
