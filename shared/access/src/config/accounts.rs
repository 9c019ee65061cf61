//! The accounts of a configuration: written out, or the operator who signs them.

use super::text::{Text, quoted, quoted_list};
use crate::claims;
use crate::keys::AccessSeed;
use crate::limits::TenantLimits;
use crate::permissions::Permissions;
use crate::sharing::{Crossing, REPLY_THRESHOLD, exports, imports};
use crate::tenants::{self, Publishable, TokenScope};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;

/// A user of the services' account.
#[derive(Clone, Debug)]
pub struct FileUser {
    /// What stands beside it as a comment.
    pub name: String,
    /// `U…`.
    pub public_key: String,
    pub permissions: Permissions,
}

/// A tenant with the users of its tokens.
#[derive(Clone, Debug)]
pub struct FileTenant {
    pub id: TenantId,
    /// Public keys, with what each may do.
    pub users: Vec<(String, TokenScope)>,
}

/// All accounts with all users. No secret: users are named by their public keys, and prove with the secret half that they
/// are who they say.
pub fn accounts_in_file(
    subjects: &Subjects,
    system_user: &str,
    services: &[FileUser],
    tenants: &[FileTenant],
    publishable: &Publishable,
    limits: TenantLimits,
) -> String {
    let mut text =
        Text::with_comment(&["The accounts, without secrets: `daybook nats config` and `daybook token` write it."]);
    text.line("system_account", "SYS");
    text.block("accounts", |text| {
        text.block("SYS", |text| text.line("users", format!("[{{ nkey: {} }}]", quoted(system_user))));
        services_account(text, subjects, services);
        for tenant in tenants {
            tenant_account(text, subjects, tenant, publishable, limits);
        }
    });
    text.finish()
}

fn services_account(text: &mut Text, subjects: &Subjects, services: &[FileUser]) {
    text.block(&account_name(subjects), |text| {
        text.line("jetstream", "enabled");
        text.list("users", |text| {
            for user in services {
                text.comment(&user.name);
                let permissions = permissions(&user.permissions);
                text.item(&format!("{{ nkey: {}, permissions: {permissions} }}", quoted(&user.public_key)));
            }
        });
        text.list("exports", |text| {
            for shared in exports(subjects) {
                let subject = quoted(&shared.subject);
                text.item(&match shared.crossing {
                    Crossing::Service => {
                        let seconds = REPLY_THRESHOLD.as_secs();
                        format!("{{ service: {subject}, response_type: singleton, threshold: \"{seconds}s\" }}")
                    }
                    Crossing::Stream => format!("{{ stream: {subject} }}"),
                });
            }
        });
    });
}

fn tenant_account(
    text: &mut Text,
    subjects: &Subjects,
    tenant: &FileTenant,
    publishable: &Publishable,
    limits: TenantLimits,
) {
    // The name begins in lower case, the services' account's in upper case: no tenant is called like that.
    text.block(&quoted(&format!("tenant-{}", tenant.id)), |text| {
        let TenantLimits { connections, subscriptions, payload_bytes } = limits;
        text.line(
            "limits",
            format!(
                "{{ max_connections: {connections}, max_subscriptions: {subscriptions}, max_payload: {payload_bytes}, \
                 max_leafnodes: 0 }}"
            ),
        );
        text.line("default_permissions", permissions(&tenants::permissions(subjects, &tenant.id, publishable)));
        text.list("users", |text| {
            for (user, scope) in &tenant.users {
                text.item(&match scope.is_whole() {
                    true => format!("{{ nkey: {} }}", quoted(user)),
                    false => {
                        let own = permissions(&scope.permissions(subjects, &tenant.id, publishable));
                        format!("{{ nkey: {}, permissions: {own} }}", quoted(user))
                    }
                });
            }
        });
        text.list("imports", |text| {
            let account = account_name(subjects);
            for shared in imports(subjects, &tenant.id) {
                let (crossing, subject) = (shared.crossing.as_str(), quoted(&shared.subject));
                text.item(&format!("{{ {crossing}: {{ account: {account}, subject: {subject} }} }}"));
            }
        });
    });
}

/// The operator, its system account, and the two accounts that servers have from the start; the tenants' come later.
pub fn operator_accounts(seed: &AccessSeed, subjects: &Subjects, issued_at: i64) -> String {
    let mut text = Text::with_comment(&["The operator's word, without secrets: `daybook nats config` writes it."]);
    text.line("operator", quoted(&claims::operator(seed, issued_at)));
    let (system, services) = (seed.system_account().public_key(), seed.services_account().public_key());
    text.line("system_account", quoted(&system));
    text.block("resolver_preload", |text| {
        text.line(&system, quoted(&claims::system_account(seed, issued_at)));
        text.line(&services, quoted(&claims::services_account(seed, subjects, issued_at)));
    });
    text.finish()
}

fn account_name(subjects: &Subjects) -> String {
    quoted(&subjects.prefix().to_ascii_uppercase())
}

/// A list without entries would allow everything, so it refuses everything.
fn permissions(permissions: &Permissions) -> String {
    let list = |subjects: &[String]| match subjects {
        [] => "{ deny: [\">\"] }".to_owned(),
        subjects => format!("{{ allow: {} }}", quoted_list(subjects)),
    };
    let responses = if permissions.may_respond { ", allow_responses: true" } else { "" };
    format!("{{ publish: {}, subscribe: {}{responses} }}", list(&permissions.publish), list(&permissions.subscribe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn two_tenants_with_their_users() {
        let subjects = Subjects::new("daybook").unwrap();
        let kinds: BTreeSet<_> = ["order".parse().unwrap()].into();
        let publisher = TokenScope { publish_only: true, kinds: None };
        let tenants = [
            FileTenant {
                id: TenantId::new("acme").unwrap(),
                users: vec![("UALL".into(), TokenScope::default()), ("UPUB".into(), publisher)],
            },
            FileTenant { id: TenantId::new("7-11").unwrap(), users: Vec::new() },
        ];
        let service = FileUser {
            name: "query".into(),
            public_key: "UQUERY".into(),
            permissions: Permissions::with_inbox().respond(),
        };
        let (publishable, limits) = (Publishable::Kinds(kinds), TenantLimits::with_payload(65_280));
        let config = accounts_in_file(&subjects, "USYS", &[service], &tenants, &publishable, limits);
        assert_eq!(config, include_str!("accounts.golden.conf"));
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        assert_eq!(permissions(&Permissions::default()), r#"{ publish: { deny: [">"] }, subscribe: { deny: [">"] } }"#);
    }
}
