//! Finds out whose message a sequence of INBOX is. The figures of a partition never reach a message of another one, so an asker who
//! waits for such a message with `at_least` would wait for ever.

use crate::answers::Answers;
use daybook_contracts::ask::{AskError, AskErrorCode};
use daybook_domain::ids::{InboxSeq, Partition, TenantId};
use daybook_runtime::append::{next_message, stream_handle};
use daybook_runtime::connection::Connection;
use daybook_runtime::log;
use std::time::Duration;

/// Time for looking at INBOX and the log. After that the asker is told to ask again, as without the look.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// What the broker says of a sequence, in the order in which it was asked: a message that leaves INBOX is in the log by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// The partition of the message that stands at that sequence in INBOX, if one does.
    stands_in: Option<Partition>,
    /// How far the asker's partition has recorded INBOX.
    recorded: InboxSeq,
    /// The last sequence that INBOX has given.
    last: InboxSeq,
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The figures of the asker's partition will reach it.
    Own,
    /// The figures of the asker's partition never reach it.
    Foreign,
    /// INBOX has not given the sequence yet.
    Nobody,
}

fn judge(seen: Seen, wanted: InboxSeq, own: Partition) -> Whose {
    match seen.stands_in {
        Some(partition) if partition == own => Whose::Own,
        Some(_) => Whose::Foreign,
        None if wanted <= seen.recorded => Whose::Own,
        None if wanted > seen.last => Whose::Nobody,
        // It left INBOX, so its partition has recorded it; this one has not.
        None => Whose::Foreign,
    }
}

/// The error for an asker whose figures do not reach `wanted`: `not_yet` itself where asking again helps. One look of a tenant
/// runs at a time, in turn with its lists: each takes three requests to the broker, which all tenants share.
pub(crate) async fn explain(answers: &Answers, tenant: &TenantId, wanted: InboxSeq, not_yet: AskError) -> AskError {
    let connection = &answers.connection;
    let own = Partition::of(tenant.as_str(), connection.partitions);
    let looking = answers.lists.in_turn(tenant, async { Ok(look(connection, own, wanted).await) });
    let Ok(Ok(Some(seen))) = tokio::time::timeout(LOOK_LIMIT, looking).await else { return not_yet };
    let message = match judge(seen, wanted, own) {
        Whose::Own => return not_yet,
        Whose::Foreign => format!("INBOX sequence {wanted} is no message of {tenant}, so its figures never reach it"),
        Whose::Nobody => format!("INBOX has no sequence {wanted} yet; the last one is {}", seen.last),
    };
    AskError::new(AskErrorCode::BadRequest, message)
        .field("at_least")
        .hint("use the sequence of the PubAck for an event of this tenant")
}

/// `None` when the broker does not say.
async fn look(connection: &Connection, own: Partition, wanted: InboxSeq) -> Option<Seen> {
    let subjects = &connection.subjects;
    let stream = subjects.inbox_stream();
    let last = stream_handle(connection, &stream).await.ok()?.get_info().await.ok()?.state.last_sequence;
    let next = next_message(connection, &stream, ">", wanted.0).await.filter(|next| next.sequence == wanted.0);
    let stands_in = next.map(|message| subjects.inbox_partition(&message.subject));
    let recorded = log::end(connection, own).await.ok()?.marks().through.inbox;
    Some(Seen { stands_in, recorded, last: InboxSeq(last.max(stands_in.map_or(0, |_| wanted.0))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_of_the_partition_is_waited_for() {
        let (own, other) = (Partition(1), Partition(2));
        let seen = |stands_in, recorded, last| Seen { stands_in, recorded: InboxSeq(recorded), last: InboxSeq(last) };
        for (seen, whose) in [
            (seen(Some(own), 5, 9), Whose::Own),
            (seen(Some(other), 5, 9), Whose::Foreign),
            // Another partition's message does not become this one's when later ones are recorded.
            (seen(Some(other), 9, 9), Whose::Foreign),
            (seen(None, 7, 9), Whose::Own),
            (seen(None, 6, 9), Whose::Foreign),
            (seen(None, 6, 6), Whose::Nobody),
        ] {
            assert_eq!(judge(seen, InboxSeq(7), own), whose, "{seen:?}");
        }
    }
}
