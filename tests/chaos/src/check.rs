//! What must hold at the end: everything is worked out again from what was acknowledged.

use crate::load::Board;
use crate::model::{Model, POSTED, VIEWS};
use crate::reading::{Told, cell, rows_of};
use crate::tenants::CLOCK;
use anyhow::Context as _;
use daybook::client::Client;
use daybook_contracts::ask::{AskError, AskErrorCode, DayAccount, DaySelector, DayState, Query};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::report::Report;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use daybook_runtime::reader::read_all;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a question may be refused when nothing is wrong any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that does not hold, in words; empty when all is well.
#[derive(Default)]
pub struct Problems(pub Vec<String>);

impl Problems {
    /// Notes `what` unless `holds`.
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
}

/// How much was looked at.
#[derive(Default, Debug)]
pub struct Checked {
    pub days: u64,
    pub reports: u64,
    pub figures: u64,
    /// Events that the broker holds twice: their first acknowledgement was lost, and their message id forgotten.
    pub stored_twice: u64,
    pub answers: u64,
}

/// Checks days, accounts, figures, reports and markers of every tenant.
///
/// # Errors
/// When something cannot be asked or read at all.
pub async fn check(client: &Client, board: &Board, problems: &mut Problems) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    let markers = markers(client, problems).await?;
    let now = daybook_runtime::clock::now().as_millis();
    for (index, tenant) in board.tenants.iter().enumerate() {
        let messages = board.ledger()[index].clone();
        let mut model = Model::new(tenant);
        messages.iter().flat_map(|message| &message.events).for_each(|event| model.apply(event));
        // Days close when their clock has passed their end; the system's has gone on since it was looked at.
        let clock = if tenant.is_driven { board.now_ms(index) } else { now };
        let open = tenant.day_of(clock);
        let closed = markers.get(&tenant.id).copied();
        let due = (open > tenant.first_day).then(|| open.plus(-1));
        let is_in_time = if tenant.is_driven { closed == due } else { closed >= due };
        problems.expect(is_in_time, || format!("{}: closed through {closed:?}, due {due:?}", tenant.id));
        let days = eventually(|| kept_days(client, &tenant.id)).await.context("the days")?;
        client.settle().await.context("settling after restatements")?;
        contiguous(&tenant.id, &days, problems);
        checked.days += days.len() as u64;
        for day in &days {
            check_account(&tenant.id, day, &model, &messages, |at| tenant.day_of(at), &mut checked, problems);
        }
        check_reports(client, &tenant.id, tenant.first_day, closed, &model, &mut checked, problems).await?;
        check_figures(client, &tenant.id, &days, &model, &mut checked, problems).await?;
    }
    Ok(checked)
}

/// The days of a tenant, of which its shard tells those that it keeps: from reports alone some duplicates might be missing. None of
/// them waits for a restatement.
async fn kept_days(client: &Client, id: &TenantId) -> Result<Vec<DayAccount>, AskError> {
    let days = client.days(id).await?.days;
    let missing = |what: &str| Err(AskError::new(AskErrorCode::Unavailable, what));
    match () {
        () if days.last().is_some_and(|newest| newest.as_reported) => missing("the shard did not tell of its days"),
        () if days.iter().any(|day| day.restating) => missing("days wait for their restatement"),
        () => Ok(days),
    }
}

fn contiguous(id: &TenantId, days: &[DayAccount], problems: &mut Problems) {
    for pair in days.windows(2) {
        let follows = pair[1].date == pair[0].date.next() && pair[1].opens_at == pair[0].closes_at;
        // A day that only early events know of has no interval yet.
        let is_known = pair[1].opens_at.is_some();
        problems.expect(follows || !is_known, || format!("{id}: {:?} is followed by {:?}", pair[0], pair[1]));
    }
    for day in days {
        let is_sealed = day.report.is_some() == (day.day == DayState::Closed);
        problems.expect(is_sealed, || format!("{id} {}: {:?} with report {:?}", day.date, day.day, day.report));
    }
}

/// Every acknowledged event has its disposition, once. What the broker may hold twice is a duplicate or stale.
fn check_account(
    id: &TenantId,
    day: &DayAccount,
    model: &Model,
    messages: &[crate::event::Message],
    day_of: impl Fn(i64) -> Date,
    checked: &mut Checked,
    problems: &mut Problems,
) {
    let (expected, found) = (model.accounts.get(&day.date).copied().unwrap_or_default(), day.account);
    let twice = found.published.checked_sub(expected.published());
    let repeated = messages.iter().filter(|message| message.attempts > 1).map(|message| {
        let of_day = message.events.iter().filter(|event| day_of(event.at_ms) == day.date).count() as u64;
        of_day * (message.attempts - 1)
    });
    let most: u64 = repeated.sum();
    let is_sound = found.balances()
        && (found.counted, found.pending, found.drafts) == (expected.counted, expected.pending, expected.drafts)
        && (found.carried, found.rejected) == (0, 0)
        && found.duplicate >= expected.duplicate
        && found.stale >= expected.stale
        && twice.is_some_and(|twice| twice <= most);
    checked.stored_twice += twice.unwrap_or(0);
    problems.expect(is_sound, || {
        format!("{id} {}: {found:?}, by the model {expected:?}; at most {most} may be there twice", day.date)
    });
}

async fn check_reports(
    client: &Client,
    id: &TenantId,
    first: Date,
    closed: Option<Date>,
    model: &Model,
    checked: &mut Checked,
    problems: &mut Problems,
) -> anyhow::Result<()> {
    let Some(closed) = closed else { return Ok(()) };
    let reports = client.reports(id, first, closed).await?;
    let dates: Vec<Date> = reports.iter().map(|sealed| sealed.report.date).collect();
    let expected: Vec<Date> = (0..=closed.days_since(first)).map(|days| first.plus(days)).collect();
    problems.expect(dates == expected, || format!("{id}: reports of {dates:?}, closed were {first} to {closed}"));
    for sealed in &reports {
        let report: &Report = &sealed.report;
        for (view, group, metrics) in VIEWS {
            let rows = &report.views.get(view).with_context(|| format!("{id} {}: no {view}", report.date))?.rows;
            let (found, expected) = (rows_of(rows, group, metrics)?, model.rows(view, report.date));
            checked.figures += 1;
            problems.expect(found == expected, || {
                format!("{id} {} version {} {view}: {found:?}, by the model {expected:?}", report.date, report.version)
            });
        }
        checked.reports += 1;
    }
    Ok(())
}

/// The figures of every view and day that the shard answers for, and the clicks of all days together.
async fn check_figures(
    client: &Client,
    id: &TenantId,
    days: &[DayAccount],
    model: &Model,
    checked: &mut Checked,
    problems: &mut Problems,
) -> anyhow::Result<()> {
    for day in days {
        for (view, group, metrics) in VIEWS {
            let query = Query { accept_stale: false, ..Query::days(DaySelector::Date(day.date)) };
            let answer = eventually(|| client.query(id, view, &query)).await.context("a figure")?;
            let (found, expected) = (rows_of(&answer.rows, group, metrics)?, model.rows(view, day.date));
            checked.figures += 1;
            problems.expect(found == expected, || {
                format!("{id} {} {view}: {found:?}, by the model {expected:?}", day.date)
            });
        }
    }
    let (Some(first), Some(last)) = (model.accounts.keys().next(), model.accounts.keys().last()) else {
        return Ok(());
    };
    let last = days.last().map_or(*last, |day| day.date.max(*last));
    let query = Query { accept_stale: false, ..Query::days(DaySelector::Range(*first, last)) };
    let answer = eventually(|| client.query(id, POSTED.0, &query)).await.context("what was posted")?;
    let posted: i64 = answer.rows.iter().filter_map(|row| cell(row, POSTED.1).ok().flatten()).sum();
    problems.expect(posted == model.clicks() * 100, || {
        format!("{id}: {} hundredths of clicks are posted, by the model {} clicks", posted, model.clicks())
    });
    Ok(())
}

/// The newest closed day of each tenant; every day must have been opened and closed once, in order.
async fn markers(client: &Client, problems: &mut Problems) -> anyhow::Result<BTreeMap<TenantId, Date>> {
    let subjects = &client.connection.subjects;
    let (mut opened, mut closed) = (BTreeMap::new(), BTreeMap::new());
    for message in read_all(&client.connection, subjects.days_stream(), subjects.every_day(), 1).await {
        let marker: DayMarker = serde_json::from_slice(&message.payload)?;
        let edges = if marker.edge == Edge::Closed { &mut closed } else { &mut opened };
        let before: Option<Date> = edges.insert(marker.tenant.clone(), marker.day.date);
        problems.expect(before.is_none_or(|before| before.next() == marker.day.date), || {
            format!("{}: {} of {} follows {before:?}", marker.tenant, marker.edge.as_str(), marker.day.date)
        });
    }
    for (tenant, date) in &closed {
        let open = opened.get(tenant).copied();
        problems.expect(open == Some(date.next()), || format!("{tenant}: closed {date}, opened {open:?} ({CLOCK})"));
    }
    Ok(closed)
}

/// Judges every answer by the figures of the position that it says to rest on.
pub fn judge(board: &Board, mut told: Vec<Told>, checked: &mut Checked, problems: &mut Problems) {
    told.sort_by_key(|told| (told.tenant, told.sequence));
    let ledger = board.ledger();
    let mut told = told.into_iter().peekable();
    for (index, tenant) in board.tenants.iter().enumerate() {
        let mut model = Model::new(tenant);
        let mut messages = ledger[index].iter().peekable();
        while let Some(answer) = told.next_if(|told| told.tenant == index) {
            while let Some(message) = messages.next_if(|message| message.sequence <= answer.sequence) {
                message.events.iter().for_each(|event| model.apply(event));
            }
            checked.answers += 1;
            let expected = model.rows(answer.view, answer.date);
            if answer.rows == expected {
                continue;
            }
            // The next message may have been stored before the acknowledgement that its producer got.
            if let Some(next) = messages.peek().filter(|next| next.attempts > 1 && next.began < answer.at) {
                let mut earlier = model.clone();
                next.events.iter().for_each(|event| earlier.apply(event));
                if answer.rows == earlier.rows(answer.view, answer.date) {
                    continue;
                }
            }
            problems.0.push(format!(
                "an answer for {} {} {} at {} (stale: {}) says {:?}, by the model {expected:?}",
                tenant.id, answer.view, answer.date, answer.sequence, answer.is_stale, answer.rows
            ));
        }
    }
}

/// Asks again and again while it is refused.
async fn eventually<T, F>(mut ask: impl FnMut() -> F) -> Result<T, AskError>
where
    F: Future<Output = Result<T, AskError>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Err(_) if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(100)).await,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::{Event, Message, What};
    use crate::tenants::{CLOCK_START, Tenant};
    use daybook_contracts::report::Account;

    /// A board on which two clicks are acknowledged, at 10 and, the second time it was sent, at 20.
    fn board() -> (Board, Date) {
        let start: daybook_domain::time::Instant = CLOCK_START.parse().unwrap();
        let board = Board::new(Tenant::all(start), start.as_millis());
        for (sequence, attempts) in [(10, 1), (20, 2)] {
            let what = What::Click { page: "home", ms: 1 };
            let events = vec![Event { id: sequence.to_string(), at_ms: start.as_millis(), what }];
            board.ledger()[0].push(Message { events, sequence, attempts, began: Instant::now() });
        }
        let date = board.tenants[0].day_of(start.as_millis());
        (board, date)
    }

    fn problems_with_an_answer(sequence: u64, clicks: i64) -> usize {
        let (board, date) = board();
        let rows = [("home".to_owned(), vec![Some(clicks * 100); 2])].into();
        let told = Told { tenant: 0, view: "clicks", date, sequence, rows, at: Instant::now(), is_stale: false };
        let (mut checked, mut problems) = (Checked::default(), Problems::default());
        judge(&board, vec![told], &mut checked, &mut problems);
        assert_eq!(checked.answers, 1);
        problems.0.len()
    }

    #[test]
    fn an_answer_must_be_what_its_position_makes() {
        assert_eq!(problems_with_an_answer(20, 2), 0);
        assert_eq!(problems_with_an_answer(20, 1), 1, "an event is missing");
        assert_eq!(problems_with_an_answer(20, 3), 1, "an event counts twice");
        assert_eq!(problems_with_an_answer(15, 1), 0);
        assert_eq!(problems_with_an_answer(15, 2), 0, "it may have been stored when it was sent first");
        assert_eq!(problems_with_an_answer(9, 2), 1, "the first one was sent once");
    }

    #[test]
    fn an_account_may_hold_twice_what_was_sent_twice_and_as_a_duplicate_only() {
        let (board, date) = board();
        let problems = |counted, duplicate| {
            let mut model = Model::new(&board.tenants[0]);
            let messages = board.ledger()[0].clone();
            messages.iter().flat_map(|message| &message.events).for_each(|event| model.apply(event));
            let account = Account { published: counted + duplicate, counted, duplicate, ..Account::default() };
            let (opens_at, closes_at, report) = (None, None, None);
            let (day, as_reported) = (DayState::Open, false);
            let day = DayAccount { date, day, opens_at, closes_at, report, account, as_reported, restating: false };
            let (mut checked, mut problems) = (Checked::default(), Problems::default());
            let tenant = &board.tenants[0];
            check_account(&tenant.id, &day, &model, &messages, |at| tenant.day_of(at), &mut checked, &mut problems);
            problems.0.len()
        };
        assert_eq!((problems(2, 0), problems(2, 1)), (0, 0));
        assert_eq!((problems(1, 0), problems(3, 0), problems(2, 2), problems(1, 1)), (1, 1, 1, 1));
    }
}
