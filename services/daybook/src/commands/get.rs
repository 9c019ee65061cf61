//! `daybook get`: shows what is defined.

use crate::cli::{ClientArguments, Outcome};
use crate::standing::standings;
use crate::table::{Table, count, duration};
use daybook_contracts::admin::ViewsReply;
use daybook_domain::catalogue::{
    DEFAULT_REMEMBER_DAYS, Kind, LEAST_REMEMBER_DAYS, Mode, NamedBy, Season, Tenant, TenantGroup,
};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to show
    what: What,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Tenants,
    Kinds,
    Views,
    Groups,
    Clocks,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let json = arguments.client.json;
    let table = match arguments.what {
        What::Tenants => {
            let tenants = client.tenants().await?;
            if json {
                super::print_json(&tenants)?;
                return Ok(ExitCode::SUCCESS);
            }
            tenants_table(&tenants)
        }
        What::Kinds => {
            let kinds = client.catalogue().await?.kinds;
            if json {
                super::print_json(&kinds)?;
                return Ok(ExitCode::SUCCESS);
            }
            kinds_table(&kinds)
        }
        What::Views => {
            let reply = client.views().await?;
            if json {
                super::print_json(&reply)?;
                return Ok(ExitCode::SUCCESS);
            }
            views_table(&reply)
        }
        What::Groups => {
            let groups = client.catalogue().await?.groups;
            if json {
                super::print_json(&groups)?;
                return Ok(ExitCode::SUCCESS);
            }
            groups_table(&groups)
        }
        What::Clocks => {
            let clocks = client.catalogue().await?.clocks;
            if json {
                super::print_json(&clocks)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(["CLOCK", "STANDS AT"]);
            for (name, instant) in clocks {
                table.row([name.to_string(), instant.to_string()]);
            }
            table
        }
    };
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

/// Mappings have a column if any kind has one, and `remember` if that of any is not the default.
fn kinds_table(kinds: &[Kind]) -> Table {
    let any_mappings = kinds.iter().any(|kind| !kind.mappings.is_empty());
    let any_remember = kinds.iter().any(|kind| kind.remember != Some(DEFAULT_REMEMBER_DAYS));
    let mut headings = vec!["KIND", "MODE", "DIMENSIONS", "MEASURES"];
    headings.extend(any_mappings.then_some("MAPPINGS"));
    headings.extend(any_remember.then_some("REMEMBER"));
    headings.push("REVISION");
    let mut table = Table::new(headings);
    for kind in kinds {
        let mode = if kind.mode == Mode::Entity { "entity" } else { "fact" };
        let dimensions: Vec<_> = kind.dimensions.iter().map(|d| d.name.as_str()).collect();
        let measures: Vec<_> = kind.measures.iter().map(|m| m.name.as_str()).collect();
        let mappings: Vec<_> = kind.mappings.iter().map(|mapping| mapping.name.as_str()).collect();
        let mut row = vec![kind.name.to_string(), mode.to_owned(), dimensions.join(", "), measures.join(", ")];
        row.extend(any_mappings.then(|| mappings.join(", ")));
        let days = kind.remember.unwrap_or(LEAST_REMEMBER_DAYS);
        row.extend(any_remember.then(|| format!("{days} days")));
        row.push(kind.revision.to_string());
        table.row(row);
    }
    table
}

fn groups_table(groups: &[TenantGroup]) -> Table {
    let mut table = Table::new(["GROUP", "NAME", "TENANTS", "REVISION"]);
    for group in groups {
        table.row([
            group.id.to_string(),
            group.name.clone().unwrap_or_default(),
            count(group.tenants.len() as u64),
            group.revision.to_string(),
        ]);
    }
    table
}

/// Alerts have a column if any view has one.
fn views_table(reply: &ViewsReply) -> Table {
    let any_alerts = reply.views.iter().any(|view| !view.alerts.is_empty());
    let mut headings = vec!["VIEW", "KIND", "GROUPED BY", "GRAIN", "LATE", "METRICS"];
    headings.extend(any_alerts.then_some("ALERTS"));
    headings.extend(["REVISION", "STATE"]);
    let mut table = Table::new(headings);
    for (view, standing) in standings(reply) {
        let by: Vec<_> = view.group_by.iter().map(|name| name.as_str()).collect();
        let metrics: Vec<_> = view.metrics.iter().map(|metric| metric.name.as_str()).collect();
        let alerts: Vec<_> = view.alerts.iter().map(|alert| alert.name.as_str()).collect();
        let mut row = vec![
            view.name.to_string(),
            view.kind.to_string(),
            by.join(", "),
            view.grain.as_str().to_owned(),
            view.late_text(),
            metrics.join(", "),
        ];
        row.extend(any_alerts.then(|| alerts.join(", ")));
        row.extend([view.revision.to_string(), standing.to_string()]);
        table.row(row);
    }
    table
}

/// Seasons, quotas and alerts have a column if any tenant has one.
fn tenants_table(tenants: &[Tenant]) -> Table {
    let mut headings = vec!["TENANT", "NAME", "ZONE", "CUT-OFF", "GRACE", "FIRST DAY", "CLOCK"];
    let any_seasons = tenants.iter().any(|tenant| !tenant.seasons.is_empty());
    if any_seasons {
        headings.push("SEASONS");
    }
    let any_quotas = tenants.iter().any(|tenant| !tenant.quotas.is_none());
    if any_quotas {
        headings.push("QUOTAS");
    }
    let any_alerts = tenants.iter().any(|tenant| !tenant.alerts.is_empty());
    headings.extend(any_alerts.then_some("ALERTS"));
    let mut table = Table::new(headings);
    for tenant in tenants {
        let zones: Vec<_> = tenant.calendar.iter().map(|rule| rule.zone.as_str()).collect();
        let cutoff = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let cutoffs: Vec<_> = tenant.calendar.iter().map(|rule| cutoff(rule.cutoff_minutes)).collect();
        let naming = if tenant.named_by() == NamedBy::Close { ", named by close" } else { "" };
        let season = |season: &Season| format!("{} {}..{}", season.name, season.from, season.to);
        let seasons: Vec<_> = tenant.seasons.iter().map(season).collect();
        let quotas: Vec<_> = tenant.quotas.set().map(|(name, value)| format!("{name} {}", count(value))).collect();
        let mut row = vec![
            tenant.id.to_string(),
            tenant.name.clone().unwrap_or_default(),
            zones.join(" → "),
            cutoffs.join(" → ") + naming,
            duration(Duration::from_millis(tenant.grace_ms)),
            tenant.first_day.to_string(),
            tenant.clock.to_string(),
        ];
        row.extend(any_seasons.then(|| seasons.join(", ")));
        row.extend(any_quotas.then(|| quotas.join(", ")));
        let alerts: Vec<_> = tenant.alerts.iter().map(|alert| alert.as_str()).collect();
        row.extend(any_alerts.then(|| alerts.join(", ")));
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::{Backfilling, ViewProgress};
    use daybook_contracts::report::Coverage;
    use daybook_domain::alerts::{ReportAlert, ViewAlert};
    use daybook_domain::catalogue::{CalendarRule, Grain, LatePolicy, View};
    use daybook_domain::ids::{Name, TenantId};
    use daybook_domain::quotas::Quotas;
    use daybook_domain::time::Date;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn views_are_shown_with_their_state() {
        let view = View { revision: 2, ..View::new(name("sales"), name("order"), vec![name("shop")], Vec::new()) };
        let hourly = View { name: name("hourly"), grain: Grain::Hour, late: LatePolicy::Reject, ..view.clone() };
        let progress = |view: &str, active, pending| ViewProgress {
            view: name(view),
            active,
            pending,
            coverage: Coverage::Complete,
        };
        let pending = Backfilling { revision: 2, percent: 43, ready: false, since: None };
        let answer = vec![progress("sales", 2, None), progress("hourly", 1, Some(pending))];
        let mut reply = ViewsReply { views: vec![hourly, view], partitions: vec![Some(answer)] };
        assert_eq!(
            views_table(&reply).render(None),
            "VIEW    KIND   GROUPED BY  GRAIN  LATE     METRICS  REVISION  STATE\n\
             hourly  order  shop        hour   reject                   2  backfilling 43 %\n\
             sales   order  shop        day    restate                  2  active\n"
        );
        reply.views[1].alerts.push(ViewAlert { name: name("low"), when: "n < 2".into() });
        let shown = views_table(&reply).render(None);
        assert!(shown.contains("METRICS  ALERTS  REVISION") && shown.contains("low"), "{shown}");
    }

    #[test]
    fn mappings_are_shown_where_there_are_any() {
        let kind = |mappings: &[&str]| Kind {
            name: name("sale"),
            mode: Mode::Entity,
            dimensions: Vec::new(),
            measures: Vec::new(),
            revision: 3,
            mappings: mappings.iter().map(|text| daybook_domain::mapping::Mapping::new(name(text))).collect(),
            remember: Some(DEFAULT_REMEMBER_DAYS),
        };
        assert!(!kinds_table(&[kind(&[])]).render(None).contains("MAPPINGS"));
        let shown = kinds_table(&[kind(&["shop", "web"])]).render(None);
        assert!(shown.contains("MAPPINGS") && shown.contains("shop, web"), "{shown}");
        assert!(!shown.contains("REMEMBER"), "{shown}");
        let earlier = kinds_table(&[Kind { remember: None, ..kind(&[]) }]).render(None);
        assert!(earlier.contains("REMEMBER") && earlier.contains("35 days"), "{earlier}");
    }

    #[test]
    fn seasons_and_quotas_are_shown_where_there_are_any() {
        let mut tenant = Tenant {
            generation: 0,
            boundaries: Vec::new(),
            alerts: Default::default(),
            id: TenantId::new("A").unwrap(),
            name: None,
            calendar: vec![CalendarRule {
                from: Date::MIN,
                zone: "Etc/UTC".into(),
                cutoff_minutes: 300,
                named_by: Default::default(),
            }],
            grace_ms: 0,
            first_day: "2026-01-01".parse().unwrap(),
            clock: name("system"),
            revision: 1,
            table: None,
            seasons: Vec::new(),
            quotas: Default::default(),
            restate_after_ms: None,
            max_ahead_ms: None,
        };
        let plain = tenants_table(std::slice::from_ref(&tenant)).render(None);
        assert!(!plain.contains("SEASONS") && !plain.contains("QUOTAS"), "{plain}");
        let quotas = Quotas { entities: Some(5_000), ..Quotas::default() };
        let limited = tenants_table(&[Tenant { quotas, ..tenant.clone() }]).render(None);
        assert!(limited.lines().next().is_some_and(|line| line.ends_with("CLOCK   QUOTAS")), "{limited}");
        assert!(limited.contains("entities 5,000"), "{limited}");
        let told = tenants_table(&[Tenant { alerts: [ReportAlert::DaySealed].into(), ..tenant.clone() }]).render(None);
        assert!(told.contains("ALERTS") && told.contains("day_sealed"), "{told}");
        let (from, to) = ("2026-05-01T18:00:00Z".parse().unwrap(), "2026-05-03T18:00:00Z".parse().unwrap());
        tenant.seasons.push(Season { name: name("hunt"), from, to });
        let shown = tenants_table(&[tenant]).render(None);
        assert!(shown.lines().next().is_some_and(|line| line.ends_with("SEASONS")), "{shown}");
        assert!(shown.contains("hunt 2026-05-01T18:00:00Z..2026-05-03T18:00:00Z"), "{shown}");
    }
}
