//! What a token allows.

use crate::problem::{Code, Problem};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeSet;

/// Most tenants that one token names; a token for more names all.
pub(super) const MAX_TENANTS: usize = 1_000;

/// What may be done with a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Publish events.
    Publish,
    /// Ask for figures, days, reports and rejects, and follow live views.
    Query,
}

impl Scope {
    pub const ALL: [Self; 2] = [Self::Publish, Self::Query];

    /// The name in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Query => "query",
        }
    }

    /// The scope of that name.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A text that names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; there are publish and query")]
pub struct ScopeError(String);

impl std::str::FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::named(text).ok_or_else(|| ScopeError(text.to_owned()))
    }
}

/// The tenants that a token names: a list of ids, or `"*"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    All,
    These(BTreeSet<TenantId>),
}

impl Tenants {
    /// Whether `tenant` is one of them.
    pub fn contain(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::These(tenants) => tenants.contains(tenant),
        }
    }
}

impl Serialize for Tenants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("*"),
            Self::These(tenants) => serializer.collect_seq(tenants),
        }
    }
}

impl<'de> Deserialize<'de> for Tenants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            One(String),
            Many(Vec<TenantId>),
        }
        match Form::deserialize(deserializer) {
            Ok(Form::One(text)) if text == "*" => Ok(Self::All),
            Ok(Form::Many(tenants)) if (1..=MAX_TENANTS).contains(&tenants.len()) => {
                Ok(Self::These(tenants.into_iter().collect()))
            }
            _ => Err(de::Error::custom(format!("tenants are a list of 1 to {MAX_TENANTS} ids, or \"*\" for all"))),
        }
    }
}

/// What a valid token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Names the token in logs and counts its requests; never the token itself.
    pub holder: String,
    pub tenants: Tenants,
    pub scopes: BTreeSet<Scope>,
    /// The token is void from then on.
    pub expires_at: Option<Instant>,
}

impl Grant {
    /// Everything, for everyone on this machine: `daybook up` without tokens.
    pub fn everything() -> Self {
        Self { holder: "local".to_owned(), tenants: Tenants::All, scopes: Scope::ALL.into(), expires_at: None }
    }

    /// Checks that it has the scope, and is for the tenant.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(crate) fn allow(&self, scope: Scope, tenant: Option<&TenantId>) -> Result<(), Problem> {
        if !self.scopes.contains(&scope) {
            let detail = format!("the token has not the scope {}", scope.as_str());
            return Err(Problem::new(Code::Forbidden, detail).hint("use a token with that scope"));
        }
        if tenant.is_some_and(|tenant| !self.tenants.contain(tenant)) {
            // The same whether there is such a tenant or not.
            return Err(Problem::new(Code::Forbidden, "the token is not for this tenant").field("tenant"));
        }
        Ok(())
    }
}
