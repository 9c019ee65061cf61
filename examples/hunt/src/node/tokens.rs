//! Who is who. Codes and tokens follow from one secret of the hunt, so that no process keeps a list of them.

use crate::game::{Ask, Refusal};
use anyhow::Context as _;
use async_nats::jetstream::kv;
use blake3::Hash;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use ring::rand::{SecureRandom as _, SystemRandom};

const SECRET: &str = "secret";
/// Characters of a team's code behind its id: 50 bits.
const CODE_CHARACTERS: usize = 10;

/// The secret of a hunt.
#[derive(Clone)]
pub struct Secret([u8; 32]);

/// Whom a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    Player { team: String, player: String },
    Organiser,
}

/// Text of so many random bytes.
///
/// # Errors
/// When the system has no randomness.
pub fn random_text(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
    Ok(HEXLOWER.encode(&random))
}

/// Gives another salt each time.
///
/// # Errors
/// When the system has no randomness.
pub fn salts() -> anyhow::Result<impl FnMut() -> String> {
    let base = random_text(8)?;
    let mut count = 0_u32;
    Ok(move || {
        count += 1;
        format!("{base}{count}")
    })
}

impl Secret {
    /// The secret of a hunt; makes it the first time.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn get(bucket: &kv::Store) -> anyhow::Result<Self> {
        let mut stored = bucket.get(SECRET).await?;
        if stored.is_none() {
            // Another process may be making it too: the first one counts.
            let _ = bucket.create(SECRET, random_text(32)?.into()).await;
            stored = bucket.get(SECRET).await?;
        }
        let text = stored.context("the hunt has no secret")?;
        let bytes = HEXLOWER.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self(bytes.context("the secret of the hunt is damaged")?))
    }

    /// The token of a player.
    pub fn player(&self, team: &str, player: &str) -> String {
        self.signed(&format!("p.{team}.{player}"))
    }

    /// The token of whoever organises the hunt.
    pub fn organiser(&self) -> String {
        self.signed("o")
    }

    /// The code with which players join a team.
    pub fn code(&self, team: &str) -> String {
        let hash = self.mac(&format!("code.{team}"));
        format!("{team}.{}", &BASE32_NOPAD.encode(hash.as_bytes())[..CODE_CHARACTERS])
    }

    /// The team of a code.
    pub fn team_of<'c>(&self, code: &'c str) -> Option<&'c str> {
        let (team, _) = code.trim().rsplit_once('.')?;
        // Compared as hashes, which takes the same time whatever differs.
        let is_right = self.mac(&code.trim().to_uppercase()) == self.mac(&self.code(team).to_uppercase());
        is_right.then_some(team)
    }

    /// The id of a player who joins with this request: the same request again is the same player.
    pub fn player_id(&self, team: &str, request: &str) -> String {
        HEXLOWER.encode(&self.mac(&format!("player.{team}.{request}")).as_bytes()[..8])
    }

    /// Whom a token names.
    pub fn bearer(&self, token: &str) -> Option<Bearer> {
        let (body, mac) = token.rsplit_once('.')?;
        if Hash::from_hex(mac).ok()? != self.mac(body) {
            return None;
        }
        match body.split('.').collect::<Vec<_>>()[..] {
            ["p", team, player] => Some(Bearer::Player { team: team.to_owned(), player: player.to_owned() }),
            ["o"] => Some(Bearer::Organiser),
            _ => None,
        }
    }

    /// Checks that the bearer of a token, or of a code, may ask this of a team.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn allow(&self, token: &str, team: &str, ask: &Ask) -> Result<(), Refusal> {
        let is_allowed = match (self.bearer(token), ask) {
            (Some(Bearer::Organiser), _) => true,
            (
                Some(Bearer::Player { team: own, player }),
                Ask::Submit { player: asked, .. } | Ask::Hint { player: asked, .. },
            ) => own == team && player == *asked,
            (None, Ask::Join { .. }) => self.team_of(token) == Some(team),
            _ => false,
        };
        if is_allowed { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// Proves to the other processes of the hunt that one of them wrote a text.
    pub fn proof(&self, text: &str) -> String {
        self.mac(&format!("proof.{text}")).to_hex().to_string()
    }

    /// Whether one of them did.
    pub fn is_proof(&self, proof: &str, text: &str) -> bool {
        Hash::from_hex(proof).is_ok_and(|proof| proof == self.mac(&format!("proof.{text}")))
    }

    fn signed(&self, body: &str) -> String {
        format!("{body}.{}", self.mac(body).to_hex())
    }

    fn mac(&self, text: &str) -> Hash {
        blake3::keyed_hash(&self.0, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_who_is_who_and_no_other_text_does() {
        let secret = Secret([7; 32]);
        let token = secret.player("red", "p1");
        assert_eq!(secret.bearer(&token), Some(Bearer::Player { team: "red".into(), player: "p1".into() }));
        assert_eq!(secret.bearer(&secret.organiser()), Some(Bearer::Organiser));
        assert!(secret.is_proof(&secret.proof("x"), "x") && !secret.is_proof(&secret.proof("x"), "y"));
        assert_eq!(Secret([8; 32]).bearer(&token), None);
        for bad in ["", "o", "o.", "p.red.p1.00", &token.replace("red", "blue"), &secret.code("red")] {
            assert_eq!(secret.bearer(bad), None, "{bad}");
        }
    }

    #[test]
    fn codes_let_into_one_team_only() {
        let secret = Secret([7; 32]);
        let code = secret.code("red");
        assert_eq!(secret.team_of(&format!(" {} ", code.to_lowercase())), Some("red"));
        assert_eq!(secret.team_of(&code.replace("red", "blue")), None);
        let join = Ask::Join { player: "p".into(), name: "P".into() };
        assert_eq!(secret.allow(&code, "red", &join), Ok(()));
        assert_eq!(secret.allow(&code, "blue", &join), Err(Refusal::Forbidden));
        let hint = |player: &str| Ask::Hint { player: player.into(), challenge: "a".into(), number: 0 };
        let token = secret.player("red", "p1");
        assert_eq!(secret.allow(&token, "red", &hint("p1")), Ok(()));
        for (team, ask) in [("red", hint("p2")), ("blue", hint("p1")), ("red", Ask::Reinstate)] {
            assert_eq!(secret.allow(&token, team, &ask), Err(Refusal::Forbidden));
        }
    }
}
