//! Dispatch of requests by the view in their subject.

use crate::answers::Answers;
use crate::asking::Asking;
use crate::awaited;
use crate::encoding::Encoding;
use crate::lists::{days::days, rejects::alerts, rejects::rejects, report::report_and_prospect};
use crate::reply::Reply;
use crate::request::{Target, query, read, target};
use async_nats::Message;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, Position, ShardQuestion};
use daybook_contracts::lists::ViewList;
use daybook_domain::catalogue::TenantGroup;
use daybook_domain::ids::{Name, Partition, TenantId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Tenants of a group that are asked for its views, until one has an answer.
const MAX_ASKED: usize = 4;
/// How long a reserved view waits to hear whether a group asks: with the time that lists have, less than clients wait for a reply.
const GROUP_PATIENCE: Duration = Duration::from_secs(1);

/// Tenant and view of `<prefix>.query.<tenant>.<view>`.
pub fn tokens(message: &Message) -> (&str, &str) {
    let mut tokens = message.subject.as_str().split('.').skip(2);
    (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default())
}

/// The reply to a request.
///
/// # Errors
/// The error of the answerer; [`AskErrorCode::TooLarge`](daybook_contracts::ask::AskErrorCode::TooLarge) when the reply is
/// longer than the broker takes.
pub async fn answer(answers: &Arc<Answers>, message: &Message, encoding: Encoding) -> Asked<Reply> {
    let (tenant, view) = tokens(message);
    let reply = match target(tenant, view)? {
        (tenant, Target::View(view)) => figures(answers, tenant, view, &message.payload, encoding).await?,
        (tenant, target) => reserved(answers, &tenant, target, &message.payload, encoding).await?,
    };
    reply.fit(answers.lists.max_payload())
}

/// What a view says. Questions about views count once for all who ask the same, so the answerer counts them.
async fn figures(
    answers: &Arc<Answers>,
    tenant: TenantId,
    view: Name,
    body: &[u8],
    encoding: Encoding,
) -> Asked<Reply> {
    let query = query(body, encoding)?;
    let at_least = query.at_least;
    let found = match answers.figures(Asking { tenant: tenant.clone(), view, query }).await {
        Err(error) => {
            let wanted = at_least.filter(|_| error.code == AskErrorCode::NotYet);
            let Some(wanted) = wanted else { return Err(error) };
            return Err(awaited::explain(answers, &tenant, wanted, error).await);
        }
        Ok(found) => found,
    };
    metrics::counter!("daybook_query_source_total", "source" => found.source.as_str()).increment(1);
    Ok(Reply::written(encoding, found.encode(encoding)?))
}

/// What a reserved view says.
async fn reserved(
    answers: &Arc<Answers>,
    id: &TenantId,
    target: Target,
    body: &[u8],
    encoding: Encoding,
) -> Asked<Reply> {
    let asked_at = Instant::now();
    let _turn = answers.turns.begin(id.as_str())?;
    // Before anything else, for lists and positions say nothing of whether there is such a tenant. While the broker does not tell,
    // whoever asks is taken for a tenant: a group has no lists that could be shown to it.
    match timeout(GROUP_PATIENCE, answers.groups.find(id)).await {
        Ok(Ok(Some(group))) => of_group(answers, &group, &target, encoding).await,
        Ok(Ok(None) | Err(_)) | Err(_) => of_tenant(answers, id, target, body, encoding, asked_at).await,
    }
}

async fn of_tenant(
    answers: &Arc<Answers>,
    tenant: &TenantId,
    target: Target,
    body: &[u8],
    encoding: Encoding,
    asked_at: Instant,
) -> Asked<Reply> {
    let lists = &answers.lists;
    Ok(match target {
        Target::View(view) => figures(answers, tenant.clone(), view, body, encoding).await?,
        Target::Position => {
            let position: Position = answers.shards.ask(tenant, &ShardQuestion::Position).await?;
            Reply::answer(encoding, &position)?
        }
        Target::Views => {
            let question = ShardQuestion::ViewsOf { tenant: tenant.clone(), group: None };
            let views: ViewList = answers.shards.ask(tenant, &question).await?;
            Reply::answer(encoding, &views)?
        }
        Target::Days => {
            let query = read(body, encoding)?;
            Reply::answer(encoding, &days(answers, tenant, &query, asked_at).await?)?
        }
        Target::Reports => {
            let query = read(body, encoding)?;
            let reading = async {
                let owner = answers.archive.owners.now(tenant).await?;
                lists.sealed.list((tenant, owner), &query, asked_at).await
            };
            let reports = lists.in_turn(tenant, reading).await?;
            Reply::answer(encoding, &reports)?
        }
        Target::Report => {
            let query = read(body, encoding)?;
            let reading = report_and_prospect(answers, tenant, &query);
            let (document, is_restating) = lists.in_turn(tenant, reading).await?;
            Reply::report(encoding, document, is_restating)
        }
        Target::Rejects => {
            let query = read(body, encoding)?;
            let rejects = lists.in_turn(tenant, rejects(answers, tenant, &query)).await?;
            Reply::answer(encoding, &rejects)?
        }
        Target::Alerts => {
            let query = read(body, encoding)?;
            let alerts = lists.in_turn(tenant, alerts(answers, tenant, &query)).await?;
            Reply::answer(encoding, &alerts)?
        }
    })
}

/// What is asked of a group of tenants besides figures: its views, which are those of one of its tenants.
async fn of_group(answers: &Arc<Answers>, group: &TenantGroup, target: &Target, encoding: Encoding) -> Asked<Reply> {
    if *target != Target::Views {
        let message = format!(
            "{} is a group of tenants: it has figures and ~views, and no days, reports, rejects, alerts and position of its own",
            group.id
        );
        return Err(AskError::new(AskErrorCode::BadRequest, message).hint("ask its tenants"));
    }
    let mut failure = AskError::new(AskErrorCode::Internal, format!("the group {} has no tenants", group.id));
    for tenant in spread(&group.tenants, answers.connection.partitions).into_iter().take(MAX_ASKED) {
        match answers.shards.views_for_group(&group.id, tenant).await {
            Ok(views) => return Reply::answer(encoding, &ViewList { tenant: group.id.clone(), ..views }),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The tenants, first one of each partition: the shard of one may be away.
fn spread(tenants: &BTreeSet<TenantId>, partitions: u16) -> Vec<&TenantId> {
    let mut seen = BTreeSet::new();
    let is_first = |tenant: &&TenantId| seen.insert(Partition::of(tenant.as_str(), partitions));
    let (first, others): (Vec<_>, Vec<_>) = tenants.iter().partition(is_first);
    first.into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_of_other_partitions_are_asked_before_a_second_one_of_the_same() {
        const PARTITIONS: u16 = 3;
        let tenants: BTreeSet<TenantId> = (0..20).map(|number| TenantId::new(&format!("t{number}")).unwrap()).collect();
        let spread = spread(&tenants, PARTITIONS);
        let first: BTreeSet<Partition> =
            spread.iter().take(3).map(|tenant| Partition::of(tenant.as_str(), PARTITIONS)).collect();
        assert_eq!((first.len(), spread.len()), (3, 20));
        assert_eq!(spread.into_iter().collect::<BTreeSet<_>>(), tenants.iter().collect::<BTreeSet<_>>());
    }
}
