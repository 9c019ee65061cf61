//! Dispatch of requests by the view in their subject.

use crate::acknowledged;
use crate::answers::Answers;
use crate::asking::Asking;
use crate::encoding::Encoding;
use crate::lists::{days::days, rejects::rejects, report::report_and_prospect};
use crate::reply::Reply;
use crate::request::{Target, query, read, target};
use async_nats::Message;
use daybook_contracts::ask::{AskErrorCode, Asked, Position, ShardQuestion};
use daybook_contracts::lists::ViewList;
use std::sync::Arc;
use tokio::time::Instant;

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
    let asked_at = Instant::now();
    let (tenant, view) = tokens(message);
    let (tenant, target) = target(tenant, view)?;
    let (body, lists) = (&message.payload, &answers.lists);
    // Questions about views count once for all who ask the same.
    let _turn = match target {
        Target::View(_) => None,
        _ => Some(answers.turns.begin(tenant.as_str())?),
    };
    let reply = match target {
        Target::View(view) => {
            let query = query(body, encoding)?;
            let at_least = query.at_least;
            let found = match answers.answer(Asking { tenant: tenant.clone(), view, query }).await {
                Err(error) => {
                    let wanted = at_least.filter(|_| error.code == AskErrorCode::NotYet);
                    let Some(wanted) = wanted else { return Err(error) };
                    return Err(acknowledged::explain(&answers.connection, &tenant, wanted, error).await);
                }
                Ok(found) => found,
            };
            metrics::counter!("daybook_query_source_total", "source" => found.source.as_str()).increment(1);
            Reply::written(encoding, found.encode(encoding)?)
        }
        Target::Position => {
            let position: Position = answers.shards.ask(&tenant, &ShardQuestion::Position).await?;
            Reply::answer(encoding, &position)?
        }
        Target::Views => {
            let question = ShardQuestion::ViewsOf { tenant: tenant.clone() };
            let views: ViewList = answers.shards.ask(&tenant, &question).await?;
            Reply::answer(encoding, &views)?
        }
        Target::Days => {
            let query = read(body, encoding)?;
            Reply::answer(encoding, &days(answers, &tenant, &query, asked_at).await?)?
        }
        Target::Reports => {
            let query = read(body, encoding)?;
            let reports = lists.in_turn(&tenant, lists.sealed.list(&tenant, &query, asked_at)).await?;
            Reply::answer(encoding, &reports)?
        }
        Target::Report => {
            let query = read(body, encoding)?;
            let reading = report_and_prospect(answers, &tenant, &query);
            let (document, is_restating) = lists.in_turn(&tenant, reading).await?;
            Reply::report(encoding, document, is_restating)
        }
        Target::Rejects => {
            let query = read(body, encoding)?;
            let rejects = lists.in_turn(&tenant, rejects(answers, &tenant, &query)).await?;
            Reply::answer(encoding, &rejects)?
        }
    };
    reply.fit(lists.max_payload())
}
