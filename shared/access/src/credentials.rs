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
    between(text, TOKEN)
}

/// The user's secret in a credentials file, if there is one.
pub fn seed_in(text: &str) -> Option<&str> {
    between(text, SEED)
}

fn between<'t>(text: &'t str, [begin, end]: [&str; 2]) -> Option<&'t str> {
    let (_, rest) = text.split_once(begin)?;
    Some(rest.split_once(end)?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{new_user, user_from_seed};

    #[test]
    fn both_parts_are_read_back() {
        let user = new_user();
        let text = credentials("a.b.c", &user);
        assert_eq!(token_in(&text), Some("a.b.c"));
        assert_eq!(user_from_seed(seed_in(&text).unwrap()).unwrap().public_key(), user.public_key());
        assert_eq!((token_in("x"), seed_in(TOKEN[0])), (None, None));
    }
}
