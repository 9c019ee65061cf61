//! What a tenant's clients may do inside the tenant's account.

use crate::permissions::Permissions;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{Name, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The kinds that may be published.
///
/// Kinds should be named: INBOX bounds the messages of each kind, so a client that may invent kinds has a buffer for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publishable {
    /// Whatever the client calls its events.
    AnyKind,
    Kinds(BTreeSet<Name>),
}

/// How much of its tenant's access a token has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenScope {
    /// Whether it may publish and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish_only: bool,
    /// The kinds that it may publish; every kind of the tenant when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeSet<Name>>,
}

impl TokenScope {
    /// Whether it may do all that its tenant may. Such a token has no list of its own, so it follows the account's: a kind
    /// that is defined later needs no new token.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// What it may do in a tenant whose clients may publish `publishable`.
    pub fn permissions(&self, subjects: &Subjects, tenant: &TenantId, publishable: &Publishable) -> Permissions {
        let named = self.kinds.clone().map(Publishable::Kinds);
        let inputs = inputs(subjects, tenant, named.as_ref().unwrap_or(publishable));
        if self.publish_only { Permissions::with_inbox().publish(inputs) } else { whole(subjects, tenant, inputs) }
    }
}

/// What the clients of a tenant may do unless their token says less.
pub fn permissions(subjects: &Subjects, tenant: &TenantId, publishable: &Publishable) -> Permissions {
    whole(subjects, tenant, inputs(subjects, tenant, publishable))
}

fn inputs(subjects: &Subjects, tenant: &TenantId, publishable: &Publishable) -> Vec<String> {
    match publishable {
        Publishable::AnyKind => vec![subjects.input(tenant.as_str(), "*")],
        Publishable::Kinds(kinds) => kinds.iter().map(|kind| subjects.input(tenant.as_str(), kind.as_str())).collect(),
    }
}

fn whole(subjects: &Subjects, tenant: &TenantId, inputs: Vec<String>) -> Permissions {
    let tenant = tenant.as_str();
    Permissions::with_inbox().publish(inputs).publish([subjects.query(tenant, "*")]).subscribe([
        subjects.live(tenant, "*"),
        subjects.days_of(tenant),
        subjects.reports_of(tenant),
        subjects.rejects(tenant),
        subjects.alerts(tenant),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::{INBOXES, overlap};
    use crate::sharing::{Crossing, exports, imports};
    use proptest::prelude::*;

    fn subjects() -> Subjects {
        Subjects::new("daybook").unwrap()
    }

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    fn kinds(names: &[&str]) -> BTreeSet<Name> {
        names.iter().map(|name| Name::new(name).unwrap()).collect()
    }

    #[test]
    fn a_tenant_may_use_its_own_subjects() {
        let all = permissions(&subjects(), &id("acme"), &Publishable::Kinds(kinds(&["order", "refund"])));
        assert_eq!(all.publish, ["daybook.in.acme.order", "daybook.in.acme.refund", "daybook.query.acme.*"]);
        assert_eq!(
            all.subscribe,
            [
                "_INBOX.>",
                "daybook.live.acme.*",
                "daybook.days.acme.*",
                "daybook.reports.acme.*",
                "daybook.rejects.acme",
                "daybook.alerts.acme"
            ]
        );
        assert!(!all.may_respond);
    }

    #[test]
    fn a_token_may_do_less() {
        let scope = TokenScope { publish_only: true, kinds: Some(kinds(&["order"])) };
        let few = scope.permissions(&subjects(), &id("acme"), &Publishable::AnyKind);
        assert_eq!((few.publish, few.subscribe), (vec!["daybook.in.acme.order".to_owned()], vec![INBOXES.to_owned()]));
        let some = TokenScope { publish_only: false, kinds: Some(kinds(&["order"])) };
        let some = some.permissions(&subjects(), &id("acme"), &Publishable::AnyKind);
        assert!(some.may_publish("daybook.in.acme.order") && !some.may_publish("daybook.in.acme.refund"));
        assert!(some.may_publish("daybook.query.acme.orders") && some.may_hear("daybook.live.acme.orders"));
    }

    /// Everything that names a tenant: permissions and imports.
    fn patterns(tenant: &TenantId) -> Vec<String> {
        let all = permissions(&subjects(), tenant, &Publishable::AnyKind);
        let imported = imports(&subjects(), tenant).into_iter().map(|shared| shared.subject);
        let patterns = all.publish.into_iter().chain(all.subscribe).chain(imported);
        patterns.filter(|pattern| pattern != INBOXES).collect()
    }

    /// Ids that share beginnings, ends and separators.
    fn close_ids() -> impl Strategy<Value = String> {
        prop_oneof!["[ab_-]{1,4}", "[A-Za-z0-9_-]{1,64}", Just("in".to_owned()), Just("daybook".to_owned())]
    }

    proptest! {
        #[test]
        fn no_two_tenants_share_a_subject(one in close_ids(), other in close_ids()) {
            prop_assume!(one != other);
            for mine in patterns(&id(&one)) {
                for theirs in patterns(&id(&other)) {
                    prop_assert!(!overlap(&mine, &theirs), "{mine} of {one}, {theirs} of {other}");
                }
            }
        }

        /// Whatever is an id is one token without wildcards.
        #[test]
        fn hostile_ids_are_no_ids(text in "[a.*> $~\u{e9}\t\n\"]{0,6}") {
            if let Ok(tenant) = TenantId::new(&text) {
                let is_plain = !tenant.as_str().contains(['.', '*', '>', ' ', '$', '"', '\n']);
                prop_assert!(is_plain, "{text:?}");
            }
        }
    }

    #[test]
    fn nothing_of_the_broker_itself_crosses() {
        let everything = exports(&subjects()).into_iter().map(|shared| shared.subject);
        for subject in everything.chain(patterns(&id("acme"))) {
            assert!(subject.starts_with("daybook."), "{subject}");
        }
    }

    #[test]
    fn every_import_is_exported_and_permitted() {
        let (exports, acme) = (exports(&subjects()), id("acme"));
        let all = permissions(&subjects(), &acme, &Publishable::AnyKind);
        for import in imports(&subjects(), &acme) {
            let matching = exports.iter().filter(|export| overlap(&export.subject, &import.subject));
            let crossings: Vec<Crossing> = matching.map(|export| export.crossing).collect();
            assert_eq!(crossings, [import.crossing], "{import:?}");
            let list = if import.crossing == Crossing::Service { &all.publish } else { &all.subscribe };
            assert!(list.contains(&import.subject), "{import:?}");
        }
    }
}
