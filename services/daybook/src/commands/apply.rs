//! `daybook apply`: puts definitions from YAML files into force, all of them or none.

use crate::cli::{ClientArguments, Outcome};
use crate::client::Client;
use crate::definitions::{self, Definitions};
use crate::standing::{ViewStanding, standings};
use crate::table::{Table, counted};
use anyhow::{Context as _, ensure};
use daybook_contracts::admin::{Action, Applied, Apply, ApplyReply, Refusal, TenantSpec};
use daybook_domain::catalogue::View;
use daybook_domain::ids::TenantId;
use indicatif::ProgressBar;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Tenants sent in one request, so that it takes moments.
const TENANTS_AT_ONCE: usize = 500;
/// Bytes of tenants sent in one request, well below the broker's payload limit.
const TENANT_BYTES_AT_ONCE: usize = 384 * 1024;
/// Longest request: what the broker takes by default, with room for headers.
const MAX_REQUEST_BYTES: usize = 1_000_000;
/// How long shards get to take notice of a new definition before it is said to be on its way.
const NOTICE: Duration = Duration::from_secs(2);
/// How often day-manager is asked how far views are.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// YAML files with kinds, views, tenants and groups; - for standard input
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only check, and show what would change
    #[arg(long)]
    dry_run: bool,
    /// Wait until the files' views are in force, and show how far they are
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let mut files = Vec::new();
    for path in &arguments.files {
        files.push((path.clone(), read(path)?));
    }
    let client = arguments.client.connect().await?;
    let known = client.catalogue().await?;
    let definitions = match definitions::load(&files, &known.kinds) {
        Ok(definitions) => definitions,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            eprintln!("daybook: nothing was changed: {} to mend", counted(mistakes.len() as u64, "mistake"));
            return Ok(ExitCode::FAILURE);
        }
    };
    match apply(&client, &definitions, arguments.dry_run).await? {
        Ok(applied) => {
            let json = arguments.client.json;
            show(&applied, arguments.dry_run, json)?;
            if arguments.wait {
                return wait(&client, &definitions.apply.views, json).await;
            }
            if !arguments.dry_run && !json {
                hint(&client, &applied).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(refusals) => {
            refusals.iter().for_each(|refusal| eprintln!("{}", definitions.refused(refusal)));
            eprintln!("daybook: nothing was changed: {} refused", counted(refusals.len() as u64, "definition"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Applies definitions in requests that fit the broker; all are checked before the first one is put into force.
///
/// # Errors
/// When day-manager does not answer, or views come with more tenants than fit into a request.
pub async fn apply(
    client: &Client,
    definitions: &Definitions,
    dry_run: bool,
) -> anyhow::Result<Result<Vec<Applied>, Vec<Refusal>>> {
    let requests = requests(&definitions.apply);
    for request in &requests {
        let bytes = serde_json::to_vec(request)?.len();
        ensure!(
            bytes <= MAX_REQUEST_BYTES,
            "kinds, views and groups with the tenants they name take {bytes} bytes, and one request holds {MAX_REQUEST_BYTES}; \
             apply the tenants first, in files of their own"
        );
    }
    let mut refused = Vec::new();
    let mut applied = Vec::new();
    for request in &requests {
        match client.apply(&Apply { dry_run: true, ..request.clone() }).await? {
            ApplyReply::Applied(lines) => applied.extend(lines),
            ApplyReply::Refused(refusals) => refused.extend(refusals),
        }
    }
    if !refused.is_empty() {
        return Ok(Err(refused));
    }
    if dry_run {
        return Ok(Ok(applied));
    }
    let mut applied = Vec::new();
    for request in &requests {
        match client.apply(request).await? {
            ApplyReply::Applied(lines) => applied.extend(lines),
            ApplyReply::Refused(refusals) => return Ok(Err(refusals)),
        }
    }
    Ok(Ok(applied))
}

/// Kinds, views and groups with the tenants that these name, which must exist or come with them; then the other tenants.
fn requests(whole: &Apply) -> Vec<Apply> {
    let of_views = whole.views.iter().flat_map(|view| view.tenants.iter().flatten());
    let of_groups = whole.groups.iter().flat_map(|group| &group.tenants);
    let named: BTreeSet<&TenantId> = of_views.chain(of_groups).collect();
    let (with_views, others): (Vec<TenantSpec>, Vec<TenantSpec>) =
        whole.tenants.iter().cloned().partition(|spec| named.contains(&spec.id));
    let (kinds, views, groups) = (whole.kinds.clone(), whole.views.clone(), whole.groups.clone());
    let mut requests = vec![Apply { kinds, views, tenants: with_views, groups, ..Apply::default() }];
    let mut tenants = Vec::new();
    let mut bytes = 0;
    for spec in others {
        let more = serde_json::to_vec(&spec).expect("a tenant is plain values").len() + 1;
        if tenants.len() == TENANTS_AT_ONCE || (!tenants.is_empty() && bytes + more > TENANT_BYTES_AT_ONCE) {
            requests.push(Apply { tenants: std::mem::take(&mut tenants), ..Apply::default() });
            bytes = 0;
        }
        tenants.push(spec);
        bytes += more;
    }
    if !tenants.is_empty() {
        requests.push(Apply { tenants, ..Apply::default() });
    }
    requests
}

/// Says which of the new and changed views are being backfilled.
async fn hint(client: &Client, applied: &[Applied]) -> anyhow::Result<()> {
    let is_new = |line: &&Applied| line.what == "view" && line.action != Action::Unchanged;
    let new: BTreeSet<&str> = applied.iter().filter(is_new).map(|line| line.name.as_str()).collect();
    if new.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + NOTICE;
    loop {
        let reply = client.views().await?;
        let of_new = standings(&reply).filter(|(view, _)| new.contains(view.name.as_str()));
        let pending: Vec<(&View, ViewStanding)> = of_new.filter(|(_, standing)| !standing.is_active()).collect();
        // Most views are in force as soon as the shards have read them.
        if pending.iter().all(|(_, standing)| standing.unread == 0) || Instant::now() > deadline {
            return describe_pending(&pending).map_or(Ok(()), |line| super::print_line(&line));
        }
        sleep(LOOK).await;
    }
}

fn describe_pending(pending: &[(&View, ViewStanding)]) -> Option<String> {
    let names: Vec<&str> = pending.iter().map(|(view, _)| view.name.as_str()).collect();
    let (first, second) = if names.len() == 1 { ("is", "it is") } else { ("are", "they are") };
    (!names.is_empty()).then(|| {
        format!("{} {first} not in force everywhere yet; `daybook get views` shows how far {second}", names.join(", "))
    })
}

/// Waits until the views are in force in every partition.
async fn wait(client: &Client, views: &[View], json: bool) -> Outcome {
    let names: BTreeSet<&str> = views.iter().map(|view| view.name.as_str()).collect();
    let bar = super::replay::progress(Some(100), json);
    tokio::select! {
        outcome = watch(client, &names, &bar) => outcome?,
        () = daybook_runtime::process::wait_for_signal() => {
            bar.abandon_with_message("no longer watched; the views come into force all the same");
            return Ok(ExitCode::from(130));
        }
    }
    bar.finish_and_clear();
    if !json {
        super::print_line(&format!("{} in force", counted(names.len() as u64, "view")))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn watch(client: &Client, names: &BTreeSet<&str>, bar: &ProgressBar) -> anyhow::Result<()> {
    loop {
        let reply = client.views().await?;
        let wanted = standings(&reply).filter(|(view, _)| names.contains(view.name.as_str()));
        let pending = wanted.filter(|(_, standing)| !standing.is_active());
        let Some((view, standing)) = pending.min_by_key(|(_, standing)| standing.percent()) else {
            return Ok(());
        };
        bar.set_position(standing.percent().into());
        bar.set_message(format!("{}: {standing}", view.name));
        sleep(LOOK).await;
    }
}

fn show(applied: &[Applied], dry_run: bool, json: bool) -> anyhow::Result<()> {
    if json {
        return super::print_json(&applied);
    }
    let mut table = Table::new(["", "NAME", "OUTCOME", "DETAIL"]);
    let (mut unchanged, mut has_rows) = (0, false);
    for line in applied {
        let outcome = match line.action {
            Action::Created => "created",
            Action::Changed => "changed",
            Action::Unchanged => {
                unchanged += 1;
                if line.detail.is_none() {
                    continue;
                }
                "unchanged"
            }
        };
        has_rows = true;
        table.row([line.what.clone(), line.name.clone(), outcome.to_owned(), line.detail.clone().unwrap_or_default()]);
    }
    if has_rows {
        table.print()?;
    }
    let verb = if dry_run { "would be put into force" } else { "put into force" };
    super::print_line(&format!(
        "{} {verb}, {unchanged} unchanged",
        counted((applied.len() - unchanged) as u64, "definition")
    ))
}

/// The text of a file, or of standard input for `-`.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &PathBuf) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::Name;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn tenant(number: usize, name_bytes: usize) -> TenantSpec {
        TenantSpec {
            id: TenantId::new(&format!("t{number}")).unwrap(),
            name: Some("x".repeat(name_bytes)),
            zone: "Etc/UTC".into(),
            cutoff_minutes: 300,
            changes: Vec::new(),
            grace_ms: 0,
            first_day: None,
            clock: None,
            seasons: Vec::new(),
            quotas: Default::default(),
            restate_after_ms: None,
            max_ahead_ms: None,
            day_named_by: Default::default(),
            alerts: Default::default(),
        }
    }

    fn view(tenants: &[usize]) -> View {
        let tenants = tenants.iter().map(|number| tenant(*number, 0).id);
        View { tenants: Some(tenants.collect()), ..View::new(name("v"), name("k"), Vec::new(), Vec::new()) }
    }

    #[test]
    fn views_come_with_their_tenants_and_requests_are_bounded() {
        let tenants: Vec<_> = (0..1_201).map(|number| tenant(number, 1)).collect();
        let whole = Apply { views: vec![view(&[700, 3, 9_999])], tenants: tenants.clone(), ..Apply::default() };
        let split = requests(&whole);
        assert_eq!(split[0].views, whole.views);
        let ids: Vec<_> = split[0].tenants.iter().map(|spec| spec.id.as_str()).collect();
        assert_eq!(ids, ["t3", "t700"]);
        assert_eq!(split[1..].iter().map(|request| request.tenants.len()).collect::<Vec<_>>(), [500, 500, 199]);
        assert!(split[1..].iter().all(|request| request.views.is_empty() && request.kinds.is_empty()));
        let mut all: Vec<_> = split.into_iter().flat_map(|request| request.tenants).collect();
        all.sort_by_key(|spec| spec.id.as_str()[1..].parse::<usize>().unwrap());
        assert_eq!(all, tenants);

        let wide = Apply { tenants: (0..9).map(|number| tenant(number, 100_000)).collect(), ..Apply::default() };
        let split = requests(&wide);
        assert_eq!(split.iter().map(|request| request.tenants.len()).collect::<Vec<_>>(), [0, 3, 3, 3]);
        let size = |request: &Apply| serde_json::to_vec(request).unwrap().len();
        assert!(split.iter().all(|request| size(request) < MAX_REQUEST_BYTES / 2));
    }

    #[test]
    fn the_hint_names_what_is_not_in_force() {
        let view = view(&[]);
        let pending = || (&view, ViewStanding::of(&view, &[None]));
        assert_eq!(describe_pending(&[]), None);
        let line = "v is not in force everywhere yet; `daybook get views` shows how far it is";
        assert_eq!(describe_pending(&[pending()]).as_deref(), Some(line));
        let line = "v, v are not in force everywhere yet; `daybook get views` shows how far they are";
        assert_eq!(describe_pending(&[pending(), pending()]).as_deref(), Some(line));
    }
}
