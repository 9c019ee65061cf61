//! `daybook remove`: takes a tenant, a view, a kind or a group away. Only an operator may.

use crate::cli::{ClientArguments, Outcome};
use crate::table::counted;
use clap::Subcommand;
use daybook_contracts::admin::{OutputsHeld, Remove, RemoveReply, StateHeld, Target};
use daybook_domain::ids::{Name, TenantId};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove a tenant with its days and figures; its id can be used again, for a tenant that begins afresh
    Tenant(TenantArguments),
    /// Remove a view with its figures; sealed reports stay as they are
    View(NamedArguments),
    /// Remove a kind that no view uses, with its entities
    Kind(NamedArguments),
    /// Remove a group of tenants; its tenants stay as they are
    Group(GroupArguments),
}

#[derive(Debug, clap::Args)]
struct TenantArguments {
    tenant: TenantId,
    /// Delete its sealed reports, figures, rejects and alerts, too, instead of keeping them for their retention
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    shared: SharedArguments,
}

#[derive(Debug, clap::Args)]
struct GroupArguments {
    group: TenantId,
    #[command(flatten)]
    shared: SharedArguments,
}

#[derive(Debug, clap::Args)]
struct NamedArguments {
    name: Name,
    #[command(flatten)]
    shared: SharedArguments,
}

#[derive(Debug, clap::Args)]
struct SharedArguments {
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let (target, SharedArguments { dry_run, client }) = match arguments.command {
        Command::Tenant(TenantArguments { tenant, purge, shared }) => (Target::Tenant { id: tenant, purge }, shared),
        Command::View(NamedArguments { name, shared }) => (Target::View { name }, shared),
        Command::Kind(NamedArguments { name, shared }) => (Target::Kind { name }, shared),
        Command::Group(GroupArguments { group, shared }) => (Target::Group { id: group }, shared),
    };
    let request = Remove { target, dry_run, catalog_seen: None };
    let reply = client.connect().await?.remove(&request).await?;
    if client.json {
        super::print_json(&reply)?;
    } else {
        for line in describe(&request, &reply) {
            super::print_line(&line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was removed, or would be, line by line.
fn describe(request: &Remove, reply: &RemoveReply) -> Vec<String> {
    let Remove { target, dry_run, .. } = request;
    let (what, name) = (target.what(), target.name());
    let first = match (reply.is_repeated, dry_run) {
        (true, _) => format!("{what} {name} was removed before"),
        (false, true) => format!("would remove {what} {name}"),
        (false, false) => format!("removed {what} {name}"),
    };
    let mut lines = vec![first];
    lines.extend(match target {
        Target::Tenant { purge, .. } => of_tenant(reply, *purge),
        Target::View { .. } if !reply.is_repeated => vec![
            "  goes: its figures of the days that the shards keep, and its live feeds".to_owned(),
            "  stays: sealed reports, with the view in them".to_owned(),
        ],
        Target::Kind { .. } if !reply.is_repeated => vec![
            "  goes: its entities and mappings; events of it are rejects from now on (unknown_kind)".to_owned(),
            "  stays: sealed reports, and the days' counts of its events".to_owned(),
        ],
        Target::Group { .. } if !reply.is_repeated => {
            vec!["  stays: its tenants with their figures".to_owned(), OPEN_DOORS.replace("new tenant", "new group")]
        }
        Target::View { .. } | Target::Kind { .. } | Target::Group { .. } => Vec::new(),
    });
    if *dry_run {
        lines.push("nothing was changed (dry run)".to_owned());
    }
    lines
}

/// Daybook does not know who holds the gateway's tokens, so the operator has to revoke them.
const OPEN_DOORS: &str = "  stays: API keys and JWTs of the gateway that name it; revoke them (`daybook key revoke`), as a new tenant of this \
                          id would be open to them";

fn of_tenant(reply: &RemoveReply, purge: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !reply.is_repeated {
        lines.push(match reply.state {
            Some(StateHeld { days, open_days, events }) => format!(
                "  goes: {}, {open_days} of them open and never sealed, with {}",
                counted(days, "day"),
                counted(events, "event")
            ),
            None => "  goes: its days and figures (its shard does not say how many)".to_owned(),
        });
        lines.push(
            "  goes: its calendar and live feeds; events for it are rejects from now on (unknown_tenant)".to_owned(),
        );
        let views: Vec<&str> = reply.views.iter().map(Name::as_str).collect();
        let changed: Vec<&str> = views.into_iter().chain(reply.groups.iter().map(TenantId::as_str)).collect();
        if !changed.is_empty() {
            lines.push(format!("  changes: {}, which name it under `tenants`", changed.join(", ")));
        }
    }
    let stored = reply.stored.map(|OutputsHeld { reports, figures, rejects, alerts, .. }| {
        let (figures, rejects) = (counted(figures, "figures message"), counted(rejects, "rejects message"));
        format!("{}, {figures}, {rejects} and {}", counted(reports, "report version"), counted(alerts, "alert"))
    });
    let unknown = || "reports, figures, rejects and alerts (the broker does not say how many)".to_owned();
    let stored = stored.unwrap_or_else(unknown);
    match purge {
        true => lines.push(format!("  goes: {stored}")),
        false => lines.push(format!("  stays until its retention, or goes with --purge: {stored}")),
    }
    if purge && reply.stored.is_some_and(|stored| stored.reports_stay) {
        lines.push(
            "  but the reports stay until their retention: an earlier build made REPORTS such that nothing is purged from it"
                .to_owned(),
        );
    }
    lines.extend(reply.tokens_revoked.map(|are_void| match are_void {
        true => "  its NATS tokens are void".to_owned(),
        false => {
            "  no server has confirmed yet that its NATS tokens are void; repeat this command to be sure".to_owned()
        }
    }));
    lines.push(OPEN_DOORS.to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(purge: bool, dry_run: bool) -> Remove {
        Remove { target: Target::Tenant { id: TenantId::new("ABQ").unwrap(), purge }, dry_run, catalog_seen: None }
    }

    #[test]
    fn what_goes_and_what_stays_is_told() {
        let reply = RemoveReply {
            views: vec![Name::new("busiest").unwrap()],
            state: Some(StateHeld { days: 3, open_days: 1, events: 1_200 }),
            stored: Some(OutputsHeld { reports: 2, figures: 1, rejects: 0, alerts: 3, reports_stay: false }),
            ..RemoveReply::default()
        };
        assert_eq!(
            describe(&tenant(false, true), &reply),
            [
                "would remove tenant ABQ",
                "  goes: 3 days, 1 of them open and never sealed, with 1,200 events",
                "  goes: its calendar and live feeds; events for it are rejects from now on (unknown_tenant)",
                "  changes: busiest, which name it under `tenants`",
                "  stays until its retention, or goes with --purge: 2 report versions, 1 figures message, 0 rejects messages and 3 alerts",
                OPEN_DOORS,
                "nothing was changed (dry run)",
            ]
        );
        let purged = describe(&tenant(true, false), &reply);
        assert_eq!((purged[0].as_str(), purged.len()), ("removed tenant ABQ", 6));
        assert_eq!(purged[4], "  goes: 2 report versions, 1 figures message, 0 rejects messages and 3 alerts");
    }

    #[test]
    fn a_repeated_removal_says_so() {
        let again = RemoveReply { is_repeated: true, tokens_revoked: Some(true), ..RemoveReply::default() };
        let lines = describe(&tenant(true, false), &again);
        assert_eq!(lines[0], "tenant ABQ was removed before");
        assert_eq!(lines[lines.len() - 2..], ["  its NATS tokens are void", OPEN_DOORS]);
        let view =
            Remove { target: Target::View { name: Name::new("v").unwrap() }, dry_run: false, catalog_seen: None };
        assert_eq!(describe(&view, &again), ["view v was removed before"]);
    }
}
