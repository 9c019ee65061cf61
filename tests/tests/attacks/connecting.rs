//! Ways to connect that nobody has given to the attacker.

use crate::attack::{EVIL, VICTIM};
use crate::documented::{Documented, user};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_access::credentials::{seed_in, token_in};
use daybook_access::jwt::{read, sign};
use daybook_access::keys::{KeyPair, random_seed};
use daybook_contracts::admin::RevokeTokens;
use daybook_domain::ids::TenantId;
use daybook_tests::wire::{Login, RawClient};
use daybook_tests::{PrivateBroker, eventually};
use serde_json::{Value, json};
use std::time::Duration;

/// Connections of one tenant, and subscriptions of one connection.
const CONNECTIONS: usize = 50;
const SUBSCRIPTIONS: usize = 500;

fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

fn token_of(login: &Login) -> (String, String) {
    match login {
        Login::Token { token, seed } => (token.clone(), seed.clone()),
        _ => unreachable!("tenants connect with tokens"),
    }
}

/// A token with other claims and the signature that it had.
fn tampered(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = read(token).unwrap();
    change(&mut claims);
    let parts: Vec<&str> = token.split('.').collect();
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
}

/// Every way in, by what it is.
fn logins(daybook: &Documented) -> Vec<(&'static str, Login)> {
    let (own_token, own_seed) = token_of(&daybook.attacker);
    let (victims_token, _) = token_of(&daybook.victim);
    let now = daybook_runtime::clock::now().as_millis() / 1_000;
    let own_account = daybook.seed.tenant_account(&tenant(EVIL));
    let victims_account = daybook.seed.tenant_account(&tenant(VICTIM)).public_key();
    let services = daybook.seed.services_account().public_key();
    let me = KeyPair::from_seed(&own_seed).unwrap();
    let signed = |token: String| Login::Token { token, seed: own_seed.clone() };
    let self_made = |issuer: &KeyPair, account: Option<&str>| {
        let mut nats =
            json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} });
        if let Some(account) = account {
            nats["issuer_account"] = json!(account);
        }
        signed(sign(json!({ "iat": now, "name": "me", "sub": me.public_key(), "nats": nats }), issuer))
    };
    let stranger = random_seed();
    vec![
        ("without a word", Login::Nobody),
        ("as the operator, with a guess", Login::Password("operator".to_owned(), "operator".to_owned())),
        ("as the system, with a guess", Login::Password("system".to_owned(), "system".to_owned())),
        ("with another's token and no signature", Login::Unsigned { token: victims_token.clone() }),
        ("with its own token and no signature", Login::Unsigned { token: own_token.clone() }),
        ("with another's token and its own signature", signed(victims_token)),
        ("with its own public key alone", Login::Nkey { public_key: me.public_key(), seed: own_seed.clone() }),
        (
            "with a token of an operator of its own making",
            Login::credentials(&user(&stranger.services_account(), None)),
        ),
        ("with a token that it signed itself", self_made(&me, None)),
        ("with a token that it signed for the other's account", self_made(&me, Some(&victims_account))),
        ("with a token of a stranger's account for the services'", self_made(&KeyPair::new_account(), Some(&services))),
        ("with a token of its account for the services'", self_made(&own_account, Some(&services))),
        (
            "with its token, issued by another account",
            signed(tampered(&own_token, |claims| claims["iss"] = json!(victims_account))),
        ),
        (
            "with its token and more permissions",
            signed(tampered(&own_token, |claims| claims["nats"]["pub"] = json!({ "allow": [">"] }))),
        ),
        ("with a token that has ended", Login::credentials(&user(&own_account, Some(now - 1)))),
        (
            "with a token of a tenant that is not defined",
            Login::credentials(&user(&daybook.seed.tenant_account(&tenant("ghost")), None)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_operator_signed_opens_the_door() {
    let daybook = Documented::start().await;
    let url = daybook.daybook.server.url.clone();
    let open = PrivateBroker::start().await;
    let mut logins = logins(&daybook);

    // A token that was good, until it was revoked.
    let revoked = user(&daybook.seed.tenant_account(&tenant(EVIL)), None);
    let login = Login::credentials(&revoked);
    let mut connected = RawClient::connect(&url, &login).await.unwrap();
    let user = KeyPair::from_seed(seed_in(&revoked).unwrap()).unwrap().public_key();
    assert_eq!(read(token_in(&revoked).unwrap()).unwrap()["sub"], json!(user));
    let revoke = RevokeTokens { tenant: tenant(EVIL), user: Some(user), expires_at: None };
    daybook.daybook.client.revoke(&revoke).await.unwrap();
    let began = std::time::Instant::now();
    while !connected.is_closed {
        connected.flush().await;
        assert!(began.elapsed() < daybook_tests::PATIENCE, "a revoked token stays connected");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    logins.push(("with a token that is revoked", login));
    assert!(logins.len() >= 17);

    for (what, login) in &logins {
        let error = RawClient::connect(&url, login).await.err();
        let error = error.unwrap_or_else(|| panic!("{what}: it is let in"));
        assert!(error.contains("Authorization Violation") || error.contains("Expired"), "{what}: {error}");
        RawClient::connect(open.broker.client_url(), login).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    RawClient::connect(&url, &daybook.attacker).await.expect("its own token");

    // Numbers of connections and subscriptions.

    let mut crowds = Vec::new();
    for (url, login) in [(url.as_str(), &daybook.attacker), (open.broker.client_url(), &Login::Nobody)] {
        let mut crowd = Vec::new();
        while crowd.len() < CONNECTIONS + 10 {
            let next = RawClient::connect(url, login).await;
            if next.is_err() {
                break;
            }
            crowd.push(next.unwrap());
        }
        let mut listener = crowd.pop().unwrap();
        for number in 0..SUBSCRIPTIONS + 10 {
            listener.subscribe(&format!("_INBOX.many.{number}"), None).await;
        }
        listener.flush().await;
        let is_told = listener.errors.iter().any(|error| error.to_lowercase().contains("subscriptions"));
        crowds.push((crowd.len() + 1, is_told));
    }
    assert_eq!(crowds, [(CONNECTIONS, true), (CONNECTIONS + 10, false)]);
    // The victim's share is its own.
    RawClient::connect(&url, &daybook.victim).await.expect("the victim has its own connections");
    eventually("the crowd has gone", || async { RawClient::connect(&url, &daybook.attacker).await.ok() }).await;
}
