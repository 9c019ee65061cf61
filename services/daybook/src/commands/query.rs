//! `daybook query`: the figures of a view, live or sealed.

use crate::cli::{ClientArguments, Outcome};
use crate::commands::report::rows_table;
use crate::table::count;
use anyhow::bail;
use compact_str::CompactString;
use daybook_contracts::ask::{
    Answer, DaySelector, DayState, MAX_ANSWER_ROWS, Numbers, Order, Pieces, Query, RankQuery,
};
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::{RankedBy, Ties};
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  daybook query ATL carriers                                     today, as it stands
  daybook query ATL carriers --days 2013-03-08..2013-03-12 --limit 3
  daybook query ATL arrivals --days last_7_days --grain day --metrics flights,on_time
  daybook query ATL carriers --where \"carrier in ('DL', 'FL')\" --order \"distance desc\"
  daybook query ATL carriers --days 2013-03-10 --member FL --around 1")]
pub struct Arguments {
    tenant: TenantId,
    view: Name,
    /// Business days: today, yesterday, week_to_date, month_to_date, last_7_days, 2013-03-10, 2013-03-08..2013-03-12 or
    /// season:NAME
    #[arg(long, visible_alias = "day", default_value = "today")]
    days: DaySelector,
    /// Only these metrics, in this order
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<Name>,
    /// Only these dimensions; the others are rolled up (`none` for all of them)
    #[arg(long, value_delimiter = ',')]
    dimensions: Vec<Name>,
    /// Only groups for which this holds, a condition on dimensions
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// Divide the time asked for
    #[arg(long, value_enum, default_value_t = GrainArgument::Total)]
    grain: GrainArgument,
    /// Columns to order by, such as "flights desc,carrier"
    #[arg(long, value_delimiter = ',', value_name = "COLUMN [desc]")]
    order: Vec<Order>,
    /// Most rows [1..=10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MAX_ANSWER_ROWS as i64))]
    limit: Option<u32>,
    /// Go on behind this page's end, as the page before told
    #[arg(long)]
    cursor: Option<String>,
    /// Every page, one after the other
    #[arg(long, conflicts_with = "cursor")]
    all: bool,
    /// Rank by these metrics, such as "flights desc,distance desc"
    #[arg(long, value_delimiter = ',', value_name = "METRIC [asc]")]
    rank_by: Vec<String>,
    /// What rank equals get
    #[arg(long, value_enum)]
    ties: Option<TiesArgument>,
    /// Only this member of the ranking: the values of its dimensions, `null` for none
    #[arg(long, value_delimiter = ',', value_name = "VALUE")]
    member: Vec<String>,
    /// And so many neighbours on either side
    #[arg(long, requires = "member", default_value_t = 0)]
    around: u32,
    /// Only an answer that rests on this INBOX sequence (of a PubAck) or a later one
    #[arg(long, value_name = "SEQUENCE")]
    at_least: Option<u64>,
    /// No last known figures when the shard is away
    #[arg(long)]
    no_stale: bool,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum GrainArgument {
    Total,
    Day,
    Hour,
    #[value(name = "quarter_hour")]
    QuarterHour,
    /// Hours as local clocks show them
    #[value(name = "clock_hour")]
    ClockHour,
    /// The same, all days together
    #[value(name = "hour_of_day")]
    HourOfDay,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TiesArgument {
    /// 1, 2, 2, 4
    Competition,
    /// 1, 2, 2, 3
    Dense,
    /// 1, 2, 3, 4
    Ordinal,
}

impl Arguments {
    fn query(&self) -> anyhow::Result<Query> {
        let dimensions = match self.dimensions.as_slice() {
            [] => None,
            [only] if only.as_str() == "none" => Some(Vec::new()),
            some => Some(some.to_vec()),
        };
        let by = self.rank_by.iter().map(|text| ranked_by(text)).collect::<anyhow::Result<Vec<_>>>()?;
        let ties = self.ties.map(|ties| match ties {
            TiesArgument::Competition => Ties::Competition,
            TiesArgument::Dense => Ties::Dense,
            TiesArgument::Ordinal => Ties::Ordinal,
        });
        let member = (!self.member.is_empty()).then(|| self.member.iter().map(|text| member_value(text)).collect());
        let is_ranked = !by.is_empty() || ties.is_some() || member.is_some();
        Ok(Query {
            days: self.days.clone(),
            metrics: (!self.metrics.is_empty()).then(|| self.metrics.clone()),
            dimensions,
            filter: self.filter.clone(),
            grain: match self.grain {
                GrainArgument::Total => Pieces::Total,
                GrainArgument::Day => Pieces::Day,
                GrainArgument::Hour => Pieces::Hour,
                GrainArgument::QuarterHour => Pieces::QuarterHour,
                GrainArgument::ClockHour => Pieces::ClockHour,
                GrainArgument::HourOfDay => Pieces::HourOfDay,
            },
            order: self.order.clone(),
            limit: self.limit,
            cursor: self.cursor.clone(),
            rank: is_ranked.then_some(RankQuery { by, ties, member, around: self.around }),
            at_least: self.at_least.map(InboxSeq),
            numbers: Numbers::default(),
            accept_stale: !self.no_stale,
            watch: false,
        })
    }
}

/// `flights`, `flights desc` or `delay asc`: the greatest come first unless it says otherwise.
fn ranked_by(text: &str) -> anyhow::Result<RankedBy> {
    let direction = text.split_ascii_whitespace().nth(1).map(str::to_owned);
    let Order { by, direction: ordered } = match text.parse() {
        Ok(order) => order,
        Err(why) => bail!("--rank-by {text:?}: {why}"),
    };
    let direction = if direction.is_some() { ordered } else { Default::default() };
    Ok(RankedBy { metric: by, direction })
}

fn member_value(text: &str) -> Option<CompactString> {
    (text != "null").then(|| text.into())
}

pub async fn run(arguments: Arguments) -> Outcome {
    let mut query = arguments.query()?;
    let asker = arguments.client.connect_to_ask().await?;
    let (tenant, view) = (&arguments.tenant, arguments.view.as_str());
    let mut answer = asker.query(tenant, view, &query).await?;
    while arguments.all
        && let Some(cursor) = answer.next.take()
    {
        query.cursor = Some(cursor);
        let page = asker.query(tenant, view, &query).await?;
        answer.rows.extend(page.rows);
        answer.next = page.next;
    }
    if arguments.client.json {
        super::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    super::print_line(&heading(&answer))?;
    rows_table(&answer.rows).print()?;
    if let Some(next) = &answer.next {
        let (shown, total) = (count(answer.rows.len() as u64), count(answer.total));
        super::print_line(&format!("… {shown} of {total} rows; go on with --cursor {next}, or ask with --all"))?;
    }
    super::print_line(&standing(&answer))?;
    Ok(ExitCode::SUCCESS)
}

/// Whose figures, of when.
pub(super) fn heading(answer: &Answer) -> String {
    let state = match (answer.day, answer.report) {
        (DayState::Upcoming, _) => "has not opened yet".to_owned(),
        (DayState::Open, _) => "open".to_owned(),
        (DayState::Closed, Some(version)) => format!("closed, report version {version}"),
        (DayState::Closed, None) => "closed".to_owned(),
    };
    let days =
        if answer.from == answer.to { answer.from.to_string() } else { format!("{}..{}", answer.from, answer.to) };
    format!("{} {}  {days} ({state})", answer.tenant, answer.view)
}

/// How far the figures can be relied on.
fn standing(answer: &Answer) -> String {
    let fresh = match (answer.stale, answer.freshness_ms) {
        (true, ms) => format!("LAST KNOWN FIGURES, {} old: the shard is away", crate::table::duration(millis(ms))),
        (false, 0) => "up to date".to_owned(),
        (false, ms) if ms < 10_000 => format!("{ms} ms behind"),
        (false, _) => "catching up with the log".to_owned(),
    };
    let coverage = match &answer.coverage {
        Coverage::Complete => String::new(),
        Coverage::Partial { from, reason } => format!(", only from log position {from} on: {reason}"),
        Coverage::Capped { from, reason } => {
            format!(", without groups that were new after log position {from}: {reason}")
        }
        Coverage::Missing { tenants } => {
            let tenants = tenants.iter().map(|(tenant, why)| format!("{tenant} ({why})"));
            format!(", WITHOUT {}", tenants.collect::<Vec<_>>().join(", "))
        }
    };
    format!("{fresh}, INBOX {}, log {}{coverage}", answer.as_of.inbox, answer.as_of.log)
}

fn millis(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}
