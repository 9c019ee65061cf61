//! `daybook day`: what is done to a tenant's days by hand.

use crate::cli::{ClientArguments, Outcome};
use anyhow::bail;
use clap::Subcommand;
use daybook_contracts::admin::{CloseDay, CloseReply};
use daybook_contracts::ask::{DayState, Days};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Close the open day now rather than at its cut-off, and seal its report; the next day opens first
    Close(CloseArguments),
}

#[derive(Debug, clap::Args)]
struct CloseArguments {
    tenant: TenantId,
    /// The day to close, with those before it that are open for their grace; by default the open day
    #[arg(long)]
    date: Option<Date>,
    /// End the day now: events from now on, by their time, belong to the next day
    #[arg(long)]
    boundary: bool,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Close(arguments) => close(arguments).await,
    }
}

async fn close(arguments: CloseArguments) -> Outcome {
    let client = arguments.client.connect().await?;
    let tenant = arguments.tenant;
    let date = match arguments.date {
        Some(date) => date,
        None => open_day(&client.days(&tenant).await?)?,
    };
    let reply = client.close(&CloseDay { tenant, date, boundary: arguments.boundary }).await?;
    if arguments.client.json {
        super::print_json(&reply)?;
    } else {
        super::print_line(&describe(&reply))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The one day that is open.
fn open_day(days: &Days) -> anyhow::Result<Date> {
    let open: Vec<Date> = days.days.iter().filter(|day| day.day == DayState::Open).map(|day| day.date).collect();
    match open[..] {
        [date] => Ok(date),
        [] => bail!("no day of {} is open", days.tenant),
        [_, ..] => {
            let dates: Vec<String> = open.iter().map(Date::to_string).collect();
            // Whoever is a minute late means the day in its grace, and whoever is early the one that has just begun.
            bail!("{} of {} are open; say which with --date", dates.join(" and "), days.tenant)
        }
    }
}

fn describe(reply: &CloseReply) -> String {
    let closed = &reply.closed;
    let closed = format!("closed {} of {} at {}", closed.day.date, closed.tenant, closed.due_at);
    let opened = match &reply.opened {
        Some(opened) => format!("opened {}, until {}", opened.day.date, opened.day.closes_at),
        None => "the next day was open already".to_owned(),
    };
    match &reply.boundary {
        Some(boundary) => format!("{closed}; events from {boundary} on belong to the next day; {opened}"),
        None => format!("{closed}; {opened}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::{AsOf, DayAccount};
    use daybook_contracts::day::{DayMarker, Edge};
    use daybook_contracts::report::Account;
    use daybook_domain::calendar::BusinessDay;
    use daybook_domain::ids::{InboxSeq, LogSeq, Name};

    fn tenant() -> TenantId {
        TenantId::new("ABQ").unwrap()
    }

    fn days(states: &[DayState]) -> Days {
        let day = |(index, state): (usize, &DayState)| DayAccount {
            date: "2013-03-08".parse::<Date>().unwrap().plus(index as i32),
            day: *state,
            opens_at: None,
            closes_at: None,
            report: None,
            account: Account::default(),
            as_reported: false,
            restating: false,
        };
        let days = states.iter().enumerate().map(day).collect();
        Days { tenant: tenant(), days, as_of: AsOf { log: LogSeq(0), inbox: InboxSeq(0) }, next: None }
    }

    #[test]
    fn the_open_day_is_the_only_one() {
        use DayState::{Closed, Open, Upcoming};
        assert_eq!(open_day(&days(&[Closed, Open, Upcoming])).unwrap().to_string(), "2013-03-09");
        let error = |states: &[DayState]| open_day(&days(states)).unwrap_err().to_string();
        assert_eq!(error(&[Closed, Upcoming]), "no day of ABQ is open");
        assert_eq!(error(&[Open, Open]), "2013-03-08 and 2013-03-09 of ABQ are open; say which with --date");
    }

    #[test]
    fn what_was_closed_and_opened_is_told() {
        let marker = |edge, date: &str, closes_at: &str| DayMarker {
            generation: 0,
            tenant: tenant(),
            edge,
            day: BusinessDay {
                date: date.parse().unwrap(),
                opens_at: "2013-03-08T12:00:00Z".parse().unwrap(),
                closes_at: closes_at.parse().unwrap(),
            },
            due_at: "2013-03-08T20:00:00Z".parse().unwrap(),
            calendar: Name::new("c").unwrap(),
            calendar_revision: 1,
            tzdb: "2026a".into(),
        };
        let closed = marker(Edge::Closed, "2013-03-08", "2013-03-09T12:00:00Z");
        let opened = Some(marker(Edge::Opened, "2013-03-09", "2013-03-10T11:00:00Z"));
        assert_eq!(
            describe(&CloseReply { closed: closed.clone(), opened, boundary: None }),
            "closed 2013-03-08 of ABQ at 2013-03-08T20:00:00Z; opened 2013-03-09, until 2013-03-10T11:00:00Z"
        );
        assert_eq!(
            describe(&CloseReply { closed: closed.clone(), opened: None, boundary: None }),
            "closed 2013-03-08 of ABQ at 2013-03-08T20:00:00Z; the next day was open already"
        );
        let boundary = Some(closed.due_at);
        assert_eq!(
            describe(&CloseReply { closed, opened: None, boundary }),
            "closed 2013-03-08 of ABQ at 2013-03-08T20:00:00Z; events from 2013-03-08T20:00:00Z on belong to the next day; the next day was \
             open already"
        );
    }
}
