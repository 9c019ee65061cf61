//! The subjects to which services send answers.
//!
//! NATS does not check the reply subject of a message against the permissions of its sender, and a service publishes its
//! answer with rights of its own. So each service checks the reply subject before it answers.

use crate::subjects::Subjects;

/// Longest reply subject that is answered, in bytes. Inboxes of clients take some 50.
pub const MAX_REPLY_BYTES: usize = 512;

/// Why nothing is sent to a reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReply {
    #[error("its reply subject is one of Daybook's own")]
    Own,
    #[error("its reply subject is one of the broker's own")]
    Broker,
    #[error("its reply subject is no plain subject of at most {MAX_REPLY_BYTES} bytes")]
    Form,
}

impl Subjects {
    /// Decides whether a service may answer on `reply`: on any plain subject but those under this prefix and under `$`.
    ///
    /// ```
    /// use daybook_contracts::subjects::Subjects;
    /// let subjects = Subjects::new("daybook").unwrap();
    /// assert!(subjects.check_reply("_INBOX.a8Xq.1").is_ok());
    /// assert!(subjects.check_reply("daybook.events.7").is_err());
    /// ```
    ///
    /// # Errors
    /// The reason, when the asker may not have its answer there.
    pub fn check_reply(&self, reply: &str) -> Result<(), RefusedReply> {
        let is_plain = |token: &str| {
            !token.is_empty()
                && token != "*"
                && token != ">"
                && !token.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if reply.len() > MAX_REPLY_BYTES || !reply.split('.').all(is_plain) {
            return Err(RefusedReply::Form);
        }
        if reply.starts_with('$') {
            return Err(RefusedReply::Broker);
        }
        match reply.split('.').next() == Some(self.prefix()) {
            true => Err(RefusedReply::Own),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_inboxes_and_never_into_streams() {
        let subjects = Subjects::new("daybook").unwrap();
        let long = "a".repeat(MAX_REPLY_BYTES);
        let allowed = [
            "_INBOX.a8Xq.1",
            "_INBOX_acme.a8Xq.1",
            "_R_.x.y",
            "acme.answers",
            "daybook2.events.7",
            "daybooks",
            "Daybook.x",
            "a.daybook.events.7",
            "a.$JS",
            &long,
        ];
        for reply in allowed {
            assert_eq!(subjects.check_reply(reply), Ok(()), "{reply}");
        }
        let own = [
            "daybook",
            "daybook.events.7",
            "daybook.reports.acme.2024-01-01",
            "daybook.figures.acme.2024-01-01.v",
            "daybook.live.acme.orders",
            "daybook.in.acme.order",
            "daybook.query.acme.orders",
            "daybook.admin.apply",
            "daybook.members.query",
            "daybook.shard.0",
        ];
        for reply in own {
            assert_eq!(subjects.check_reply(reply), Err(RefusedReply::Own), "{reply}");
        }
        for reply in [
            "$JS.API.STREAM.DELETE.DAYBOOK_EVENTS",
            "$JS.ACK.a.b",
            "$SYS.REQ.X",
            "$O.DAYBOOK_CHECKPOINTS.M.x",
            "$KV.a.b",
            "$",
        ] {
            assert_eq!(subjects.check_reply(reply), Err(RefusedReply::Broker), "{reply}");
        }
        let too_long = format!("{long}a");
        for reply in [
            "",
            ".",
            "a.",
            ".daybook.events.7",
            "a..b",
            "*",
            ">",
            "*.events.7",
            "daybook.>",
            "a.*",
            "a b",
            "a\t",
            "a\r\nPUB x",
            &too_long,
        ] {
            assert_eq!(subjects.check_reply(reply), Err(RefusedReply::Form), "{reply:?}");
        }
    }

    #[test]
    fn each_prefix_has_its_own() {
        let shop = Subjects::new("shop").unwrap();
        assert_eq!(shop.check_reply("shop.events.7"), Err(RefusedReply::Own));
        assert_eq!(shop.check_reply("daybook.events.7"), Ok(()), "permissions keep one Daybook from another");
    }
}
