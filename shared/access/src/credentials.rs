//! The file that a NATS client connects with: a user's token and its secret.

use crate::keys::seed_of;
use nkeys::KeyPair;

const TOKEN: [&str; 2] = ["-----BEGIN NATS USER JWT-----", "------END NATS USER JWT------"];
const SEED: [&str; 2] = ["-----BEGIN USER NKEY SEED-----", "------END USER NKEY SEED------"];

/// The text of a credentials file (`.creds`). Secret.
pub fn credentials(token: &str, user: &KeyPair) -> String {
    let part = |[begin, end]: [&str; 2], text: &str| format!("{begin}\n{text}\n{end}\n");
    let warning = "This file is a secret: whoever has it can do what it allows.\n";
    format!("{}\n{warning}{}", part(TOKEN, token), part(SEED, &seed_of(user)))
}

/// The user's token in a credentials file, if there is one.
pub fn token_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(TOKEN[0])?;
    Some(rest.split_once(TOKEN[1])?.0.trim())
}
