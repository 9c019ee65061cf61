//! Everything that goes to the machines of the NATS servers.

use super::folder::{AccessFolder, SEED, SERVERS};
use super::issuing::{self, SystemUser};
use super::settings::AccessSettings;
use anyhow::Context as _;
use daybook_access::config::{self, ACCOUNTS_FILE, AccountsMode, Cluster, FileTenant, FileUser, Server};
use daybook_access::keys::{AccessSeed, random_seed, random_text};
use daybook_access::limits::TenantLimits;
use daybook_access::services::Role;
use daybook_access::tenants::TokenScope;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use daybook_runtime::clock;
use std::collections::BTreeMap;
use std::path::Path;

const ROUTE_PASSWORD: &str = "route.password";

/// Writes the accounts and every server's file, and makes what secrets are missing.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_all(folder: &AccessFolder, settings: &AccessSettings) -> anyhow::Result<()> {
    write_accounts(folder, settings)?;
    let is_cluster = settings.servers.len() > 1;
    let password = if is_cluster { route_password(folder)? } else { String::new() };
    let routes: Vec<String> =
        settings.servers.iter().map(|server| format!("{}:{}", server.host, server.cluster_port)).collect();
    for server in &settings.servers {
        let store_dir = Path::new(&settings.store_dir).join(&server.name);
        let store_dir = store_dir.to_str().context("the store's folder has a name that is no text")?;
        let cluster =
            Cluster { name: &settings.prefix, port: server.cluster_port, routes: &routes, password: &password };
        let text = config::server(&Server {
            name: &server.name,
            listen: &settings.listen,
            port: server.port,
            monitor: settings.monitor.as_deref(),
            tls: settings.tls.as_ref(),
            store_dir,
            sync_interval: &settings.sync_interval,
            cluster: is_cluster.then_some(cluster),
            mode: settings.mode,
        });
        folder.write(Path::new(SERVERS).join(format!("{}.conf", server.name)), &text)?;
    }
    Ok(())
}

/// Writes the accounts alone, as they follow from settings and ledger.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_accounts(folder: &AccessFolder, settings: &AccessSettings) -> anyhow::Result<()> {
    let subjects = Subjects::new(&settings.prefix)?;
    let text = if settings.mode == AccountsMode::File {
        accounts_in_file(folder, settings, &subjects)?
    } else {
        let seed = seed(folder)?;
        issuing::service_credentials(folder, &seed)?;
        config::operator_accounts(&seed, &subjects, clock::now().as_millis().div_euclid(1_000))
    };
    folder.write(Path::new(SERVERS).join(ACCOUNTS_FILE), &text)
}

fn accounts_in_file(folder: &AccessFolder, settings: &AccessSettings, subjects: &Subjects) -> anyhow::Result<String> {
    let system = issuing::service_nkey(folder, SystemUser::Administrator.name())?;
    let mut services = Vec::new();
    for role in Role::ALL {
        let public_key = issuing::service_nkey(folder, role.name())?;
        services.push(FileUser { name: role.name().to_owned(), public_key, permissions: role.permissions(subjects) });
    }
    let (ledger, now) = (folder.ledger()?, clock::now());
    let mut users: BTreeMap<&TenantId, Vec<(String, TokenScope)>> = BTreeMap::new();
    for token in ledger.valid(now) {
        users.entry(&token.tenant).or_default().push((token.user.clone(), token.scope.clone()));
    }
    let tenant = |id: &TenantId| FileTenant { id: id.clone(), users: users.remove(id).unwrap_or_default() };
    let tenants: Vec<FileTenant> = settings.tenants.iter().map(tenant).collect();
    let limits = TenantLimits::with_payload(settings.share().payload_bytes);
    Ok(config::accounts_in_file(subjects, &system, &services, &tenants, &settings.publishable(), limits))
}

/// The seed, made when it is not there.
fn seed(folder: &AccessFolder) -> anyhow::Result<AccessSeed> {
    if let Some(seed) = folder.seed()? {
        return Ok(seed);
    }
    let seed = random_seed();
    folder.write(SEED, &format!("{}\n", seed.text()))?;
    Ok(seed)
}

fn route_password(folder: &AccessFolder) -> anyhow::Result<String> {
    if let Some(password) = folder.read(ROUTE_PASSWORD)? {
        return Ok(password.trim().to_owned());
    }
    let password = random_text();
    folder.write(ROUTE_PASSWORD, &format!("{password}\n"))?;
    Ok(password)
}
