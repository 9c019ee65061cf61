//! Figures of a group of tenants, each by its own business day: accumulators are merged, not figures, so that distinct values and
//! quantiles are right. `gather` gets them from the shards, `unite` makes the answer.

mod gather;
mod unite;

use crate::asking::Asking;
use crate::catalogue;
use crate::found::{AnswerSource, FoundAnswer};
use crate::gate::Gate;
use crate::shard::Shards;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, ShardQuestion};
use daybook_domain::catalogue::{Definition, TenantGroup};
use daybook_domain::ids::{Partition, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::connection::Connection;
use daybook_runtime::fair::Bounds;
use futures::FutureExt as _;
use std::time::Duration;
use tokio::time::timeout;

/// The bounds of what is asked and merged at once.
pub const OF_TOTALS: Bounds = Bounds {
    // Each may take some hundred megabytes for a moment. One is left for another group.
    running: 4,
    running_of_a_tenant: 3,
    // More would wait for longer than they may.
    waiting_of_a_tenant: 64,
    // The groups that ask at the same time are few.
    waiting: 1_024,
    quantum: 1,
};
/// How long a question waits for others to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long CATALOG may take to say which revision of a view is the newest.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);

/// The answer for a group to a question that [`check`] has found sound, when it is the group's turn.
///
/// # Errors
/// Those of the question; [`AskErrorCode::Busy`] when its turn does not come in time, or too many of the group wait; the one of all
/// tenants when none has figures.
pub async fn totals(
    (gate, shards): (&Gate, &Shards),
    connection: &Connection,
    asking: Asking,
    group: &TenantGroup,
) -> Asked<FoundAnswer> {
    let _pass = timeout(PATIENCE, gate.pass(&group.id)).await.unwrap_or_else(|_| Err(too_long()))?;
    let ask = |partition: Partition, tenants: Vec<TenantId>| {
        let question = ShardQuestion::Totals {
            group: group.id.clone(),
            tenants,
            view: asking.view.clone(),
            days: asking.query.days.clone(),
        };
        async move { shards.totals(partition, &group.id, &question).await }.boxed()
    };
    let newest = || newest_revision(connection, &asking).boxed();
    let parts = gather::gather(&asking.query, &group.tenants, connection.partitions, ask, newest).await?;
    // Many groups take a while: not on a thread that answers others.
    let merging = tokio::task::spawn_blocking(move || unite::unite(&asking, parts)).await;
    let answer = merging
        .map_err(|error| AskError::new(AskErrorCode::Internal, format!("tenants could not be merged: {error}")))?;
    Ok(FoundAnswer::made(answer?, AnswerSource::Figures))
}

/// The newest revision of the view; `None` when there is no such view, or the broker does not say in time.
async fn newest_revision(connection: &Connection, asking: &Asking) -> Option<u64> {
    let subject = connection.subjects.catalog_of_all(connection.partitions, "view", asking.view.as_str());
    match timeout(LOOK_DEADLINE, catalogue::newest(connection, &subject)).await {
        Ok(Ok(Some(Definition::View(view)))) => Some(view.revision),
        _ => None,
    }
}

fn too_long() -> AskError {
    let message =
        format!("{} questions about groups of tenants are under way, and none ended in time", OF_TOTALS.running);
    AskError::new(AskErrorCode::Busy, message).hint("ask again in a moment")
}

/// Refuses what a group has not.
///
/// # Errors
/// [`AskErrorCode::BadRequest`], with the field.
pub fn check(asking: &Asking) -> Asked<()> {
    let refused = |what: &str, field: &str, hint: &str| {
        Err(AskError::new(AskErrorCode::BadRequest, what).field(field).hint(hint))
    };
    let query = &asking.query;
    if query.watch {
        return refused("a group of tenants has no feed", "watch", "ask again, or watch its tenants");
    }
    if query.at_least.is_some() {
        let hint = "ask one tenant with `at_least`; figures of a group are as current as `as_of` says";
        return refused("the tenants of a group have no position in common", "at_least", hint);
    }
    if query.days.range(Date::MIN).is_none() {
        return refused(
            "a season is of one tenant",
            "days",
            "ask for days of the group, or its tenants for the season",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::tests::asking;
    use daybook_contracts::ask::{DaySelector, Query};
    use daybook_domain::ids::InboxSeq;
    use futures::FutureExt;

    #[test]
    fn what_a_group_has_not_is_refused_with_its_field() {
        let field = |query: Query| check(&asking(query)).unwrap_err().field.unwrap();
        assert_eq!(field(Query { watch: true, ..Query::default() }), "watch");
        assert_eq!(field(Query { at_least: Some(InboxSeq(1)), ..Query::default() }), "at_least");
        assert_eq!(field(Query::days(DaySelector::Season("hunt".parse().unwrap()))), "days");
        assert!(check(&asking(Query::days(DaySelector::Last(400)))).is_ok());
    }

    #[tokio::test]
    async fn a_group_that_floods_leaves_room_for_another() {
        let (gate, greedy, modest) = (Gate::new(OF_TOTALS), id("greedy"), id("modest"));
        let mut flood: Vec<_> = (0..40).map(|_| Box::pin(gate.pass(&greedy))).collect();
        let passes: Vec<_> = flood.iter_mut().filter_map(|asking| asking.now_or_never()).collect();
        assert_eq!(passes.len(), OF_TOTALS.running_of_a_tenant);
        let pass = gate.pass(&modest).now_or_never().expect("it does not wait for the flood");
        drop((pass, passes));
    }

    #[tokio::test]
    async fn what_could_not_be_answered_in_time_is_refused_at_once() {
        let (gate, greedy) = (Gate::new(OF_TOTALS), id("greedy"));
        let most = OF_TOTALS.running_of_a_tenant + OF_TOTALS.waiting_of_a_tenant;
        let mut flood: Vec<_> = (0..=most).map(|_| Box::pin(gate.pass(&greedy))).collect();
        let passes: Vec<_> = flood[..most].iter_mut().filter_map(|asking| asking.now_or_never()).collect();
        assert_eq!(passes.len(), OF_TOTALS.running_of_a_tenant);
        let refused = (&mut flood[most]).now_or_never().expect("it does not wait").unwrap_err();
        assert_eq!(refused.code, AskErrorCode::Busy);
    }

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }
}
