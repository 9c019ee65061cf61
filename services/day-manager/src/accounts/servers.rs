//! What NATS servers ask and are told about accounts, over a connection of the system account.

use async_nats::{Client, Subject};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Where servers ask for an account: the fourth token is its public key.
const LOOKUPS: &str = "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP";
/// Where servers take accounts.
const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";
/// Where servers tell which accounts they keep.
const LIST: &str = "$SYS.REQ.CLAIMS.LIST";
/// How long the first server may take to answer: it checks a signature and writes a file.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// How long after that the others are waited for. How many there are is not known; they do the same work at the same time.
const OTHER_ANSWERS: Duration = Duration::from_millis(300);

/// What became of an account that was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("no NATS server answers on {UPDATE}; may the system user of day-manager send accounts?")]
    Silent,
    #[error("a NATS server refuses the account: {0}")]
    Refused(String),
    #[error("the connection of the system account fails")]
    Connection(#[source] async_nats::Error),
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    data: Option<ReplyData>,
    #[serde(default)]
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ReplyData {
    Accounts(Vec<String>),
    Status {},
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    description: String,
}

/// Listens to servers that ask for accounts.
///
/// # Errors
/// When the connection is gone for good.
pub async fn lookups(system: &Client) -> Result<async_nats::Subscriber, async_nats::Error> {
    Ok(system.subscribe(LOOKUPS).await?)
}

/// The public key that a server asks about.
pub fn asked_key(subject: &Subject) -> Option<&str> {
    subject.as_str().split('.').nth(3)
}

/// Sends an account to all servers. Returns how many have taken it within moments.
///
/// # Errors
/// When none takes it.
pub async fn send(system: &Client, account: String) -> Result<usize, SendError> {
    let mut taken = 0;
    let mut refused = None;
    for reply in ask_all(system, UPDATE, account.into()).await? {
        match reply.error {
            Some(error) => refused = Some(error.description),
            None => taken += 1,
        }
    }
    match (taken, refused) {
        (0, Some(why)) => Err(SendError::Refused(why)),
        (0, None) => Err(SendError::Silent),
        _ => Ok(taken),
    }
}

/// Sends an account; returns when the first server has taken it. All of them are sent it.
///
/// # Errors
/// When that one refuses it, or none answers.
pub async fn send_quickly(system: &Client, account: String) -> Result<(), SendError> {
    let request = async_nats::Request::new().payload(account.into()).timeout(Some(FIRST_ANSWER));
    let reply = system.send_request(UPDATE, request).await.map_err(|_| SendError::Silent)?;
    let reply: Reply = serde_json::from_slice(&reply.payload).map_err(|error| SendError::Connection(error.into()))?;
    reply.error.map_or(Ok(()), |error| Err(SendError::Refused(error.description)))
}

/// The public keys of all accounts that some server keeps.
///
/// # Errors
/// When no server answers.
pub async fn kept(system: &Client) -> Result<BTreeSet<String>, SendError> {
    let mut keys = BTreeSet::new();
    for reply in ask_all(system, LIST, Bytes::new()).await? {
        if let Some(ReplyData::Accounts(accounts)) = reply.data {
            keys.extend(accounts);
        }
    }
    Ok(keys)
}

/// Every server's answer, as far as they come within moments of each other.
async fn ask_all(system: &Client, subject: &'static str, payload: Bytes) -> Result<Vec<Reply>, SendError> {
    let failed = |error: async_nats::Error| SendError::Connection(error);
    let inbox = system.new_inbox();
    let mut answers = system.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
    system.publish_with_reply(subject, inbox, payload).await.map_err(|error| failed(error.into()))?;
    let mut replies = Vec::new();
    let mut patience = FIRST_ANSWER;
    while let Ok(Some(message)) = tokio::time::timeout(patience, answers.next()).await {
        if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            break;
        }
        replies.extend(serde_json::from_slice::<Reply>(&message.payload).ok());
        patience = OTHER_ANSWERS;
    }
    if replies.is_empty() { Err(SendError::Silent) } else { Ok(replies) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_servers_are_understood() {
        let read = |text: &str| serde_json::from_str::<Reply>(text).unwrap();
        let taken = read(r#"{"server":{"name":"n"},"data":{"account":"A","code":200,"message":"jwt updated"}}"#);
        assert!(taken.error.is_none());
        let refused = read(r#"{"server":{},"error":{"code":500,"description":"jwt store is full"}}"#);
        assert_eq!(refused.error.unwrap().description, "jwt store is full");
        let list = read(r#"{"server":{},"data":["A1","A2"]}"#);
        assert!(matches!(list.data, Some(ReplyData::Accounts(keys)) if keys == ["A1", "A2"]));
        assert_eq!(asked_key(&"$SYS.REQ.ACCOUNT.AKEY.CLAIMS.LOOKUP".into()), Some("AKEY"));
    }
}
