//! Credentials: a file for each service, and one for each token of a tenant.

use super::folder::{AccessFolder, SERVICES, TOKENS, write_private};
use super::settings::AccessSettings;
use anyhow::{Context as _, anyhow, ensure};
use daybook_access::claims::{self, MAX_TOKEN_BYTES, User};
use daybook_access::config::AccountsMode;
use daybook_access::credentials::{credentials, seed_in, token_in};
use daybook_access::jwt;
use daybook_access::keys::{AccessSeed, new_user, seed_of, user_from_seed};
use daybook_access::services::Role;
use daybook_access::tenants::TokenScope;
use daybook_access::tokens::{TokenLedger, TokenRecord};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Characters of a public key in a file's name: enough that no two of an installation are alike.
const SHORT_KEY: usize = 12;

/// Users beside those of [`Role`]: of the system account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemUser {
    /// Whoever runs the servers: may do everything in the system account.
    Administrator,
    /// Day-manager, where it sends accounts.
    AccountKeeper,
}

impl SystemUser {
    pub fn name(self) -> &'static str {
        match self {
            Self::Administrator => "system",
            Self::AccountKeeper => "accounts",
        }
    }
}

/// The ending of credentials files.
fn ending(mode: AccountsMode) -> &'static str {
    if mode.has_operator() { "creds" } else { "nk" }
}

/// The file of a service's credentials, within the folder.
pub fn service_file(mode: AccountsMode, name: &str) -> PathBuf {
    Path::new(SERVICES).join(format!("{name}.{}", ending(mode)))
}

/// Makes a service's key where there is none. Returns its public key.
///
/// # Errors
/// When the file cannot be read or written.
pub fn service_nkey(folder: &AccessFolder, name: &str) -> anyhow::Result<String> {
    let file = service_file(AccountsMode::File, name);
    if let Some(text) = folder.read(&file)? {
        return Ok(user_from_seed(&text).with_context(|| folder.file(&file).display().to_string())?.public_key());
    }
    let user = new_user();
    folder.write(&file, &format!("{}\n", seed_of(&user)))?;
    Ok(user.public_key())
}

/// Makes the credentials of all services, keeping their keys. Those that would say the same stay as they are.
///
/// # Errors
/// When a file cannot be read or written.
pub fn service_credentials(folder: &AccessFolder, seed: &AccessSeed) -> anyhow::Result<()> {
    let issued_at = seconds(clock::now());
    for role in Role::ALL {
        issue(folder, role.name(), |key| claims::role_user(seed, role, key, issued_at))?;
    }
    let (system, keeper) = (seed.system_account(), claims::account_keeper());
    for (user, permissions) in [(SystemUser::Administrator, None), (SystemUser::AccountKeeper, Some(&keeper))] {
        let name = user.name();
        issue(folder, name, |public_key| {
            claims::user(&system, &User { name, public_key, permissions, issued_at, expires_at: None })
        })?;
    }
    Ok(())
}

fn issue(folder: &AccessFolder, name: &str, sign: impl FnOnce(&str) -> String) -> anyhow::Result<()> {
    let file = service_file(AccountsMode::Full, name);
    let before = folder.read(&file)?;
    let key = before.as_deref().and_then(seed_in).map(user_from_seed).transpose();
    let key = key.with_context(|| folder.file(&file).display().to_string())?.unwrap_or_else(new_user);
    let token = sign(&key.public_key());
    let what = |token: &str| jwt::read(token).ok().map(|claims| (claims["iss"].clone(), claims["nats"].clone()));
    if before.as_deref().and_then(token_in).and_then(what) == what(&token) {
        return Ok(());
    }
    folder.write(&file, &credentials(&token, &key))
}

/// What a token is to be.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    pub scope: TokenScope,
    pub valid_for: Option<Duration>,
    pub out: Option<&'a Path>,
}

/// A token that was made.
pub struct Issued {
    pub record: TokenRecord,
    pub file: PathBuf,
}

/// Makes a token of a tenant, and notes it in `ledger`, which is to be stored before the token is given away. `out` is `None`
/// for a file in the folder.
///
/// # Errors
/// When the file cannot be written, or the folder has no seed.
pub fn issue_token(
    folder: &AccessFolder,
    settings: &AccessSettings,
    ledger: &mut TokenLedger,
    tenant: &TenantId,
    wanted: Wanted<'_>,
) -> anyhow::Result<Issued> {
    let Wanted { scope, valid_for, out } = wanted;
    let (user, now) = (new_user(), clock::now());
    let public_key = user.public_key();
    // Claims count seconds, and so does the ledger.
    let now = Instant::from_millis(seconds(now) * 1_000);
    let expires_at = valid_for.map(|duration| now.after(duration));
    let text = if settings.mode.has_operator() {
        let seed = folder.seed()?.ok_or_else(|| anyhow!("the folder has lost its operator.seed; put it back"))?;
        let subjects = Subjects::new(&settings.prefix)?;
        let own = scope.permissions(&subjects, tenant, &settings.publishable());
        let token = User {
            name: tenant.as_str(),
            public_key: &public_key,
            permissions: (!scope.is_whole()).then_some(&own),
            issued_at: seconds(now),
            expires_at: expires_at.map(seconds),
        };
        let token = claims::user(&seed.tenant_account(tenant), &token);
        ensure!(
            token.len() <= MAX_TOKEN_BYTES,
            "the token would have {} bytes, and NATS servers take {MAX_TOKEN_BYTES}: name fewer kinds, or leave --kinds out",
            token.len()
        );
        credentials(&token, &user)
    } else {
        format!("{}\n", seed_of(&user))
    };
    let record =
        TokenRecord { user: public_key, tenant: tenant.clone(), made_at: now, expires_at, scope, revoked_at: None };
    ledger.tokens.push(record.clone());
    let file = match out {
        Some(file) => {
            write_private(file, &text)?;
            file.to_owned()
        }
        None => {
            let short = &record.user[..SHORT_KEY];
            let name = Path::new(TOKENS).join(format!("{tenant}-{short}.{}", ending(settings.mode)));
            folder.write(&name, &text)?;
            folder.file(name)
        }
    };
    Ok(Issued { record, file })
}

fn seconds(instant: Instant) -> i64 {
    instant.as_millis().div_euclid(1_000)
}
