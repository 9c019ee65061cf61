//! One question about a view, and the text by which identical ones are known.

use daybook_contracts::ask::{AsOf, AskError, AskErrorCode, Pieces, Query};
use daybook_domain::ids::{Name, TenantId};

/// Who asks what.
#[derive(Clone, Debug)]
pub struct Asking {
    pub tenant: TenantId,
    pub view: Name,
    pub query: Query,
}

impl Asking {
    /// What to ask for this question and all that are answered by the same figures: how current they must be is for
    /// each asker to judge.
    pub fn shared(&self) -> Self {
        Self { query: Query { at_least: None, accept_stale: true, ..self.query.clone() }, ..self.clone() }
    }

    /// The same for questions that are answered by the same figures.
    pub fn key(&self) -> String {
        let query = serde_json::to_string(&self.shared().query).expect("a query is plain values");
        format!("{} {} {query}", self.tenant, self.view)
    }

    /// Whether figures that rest on so much will do for the asker.
    pub fn is_reached_by(&self, as_of: AsOf) -> bool {
        self.query.at_least.is_none_or(|wanted| wanted <= as_of.inbox)
    }

    /// Whether the view is asked for as it stands in a report: nothing rolled up, left out or ranked anew.
    pub fn is_plain(&self) -> bool {
        let query = &self.query;
        query.metrics.is_none()
            && query.dimensions.is_none()
            && query.filter.is_none()
            && query.grain == Pieces::Total
            && query.order.is_empty()
            && query.cursor.is_none()
            && query.rank.is_none()
    }

    /// The refusal when figures do not rest on enough.
    pub fn not_yet(&self, as_of: AsOf) -> AskError {
        AskError::new(AskErrorCode::NotYet, format!("the figures reach INBOX sequence {}", as_of.inbox))
            .hint("ask again in a moment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::{InboxSeq, LogSeq};

    fn asking(query: &str) -> Asking {
        Asking {
            tenant: TenantId::new("ATL").unwrap(),
            view: Name::new("flights").unwrap(),
            query: serde_json::from_str(query).unwrap(),
        }
    }

    #[test]
    fn identical_questions_have_one_key() {
        let key = |query: &str| asking(query).key();
        let plain = key("{}");
        for same in [r#"{"days":"today"}"#, r#"{"at_least":5}"#, r#"{"accept_stale":false}"#, r#"{ "grain": "total" }"#]
        {
            assert_eq!(key(same), plain, "{same}");
        }
        for other in [r#"{"days":"yesterday"}"#, r#"{"limit":5}"#, r#"{"metrics":["a"]}"#, r#"{"where":"a = 'b'"}"#] {
            assert_ne!(key(other), plain, "{other}");
        }
        assert_ne!(key(r#"{"metrics":["a","b"]}"#), key(r#"{"metrics":["b","a"]}"#), "columns are in another order");
        let elsewhere = Asking { tenant: TenantId::new("ORD").unwrap(), ..asking("{}") };
        assert_ne!(elsewhere.key(), plain);
    }

    #[test]
    fn each_asker_judges_how_current_figures_are() {
        let as_of = AsOf { log: LogSeq(1), inbox: InboxSeq(5) };
        assert!(asking("{}").is_reached_by(as_of));
        assert!(asking(r#"{"at_least":5}"#).is_reached_by(as_of));
        assert!(!asking(r#"{"at_least":6}"#).is_reached_by(as_of));
        assert_eq!(asking(r#"{"at_least":6}"#).not_yet(as_of).code, AskErrorCode::NotYet);
    }

    #[test]
    fn a_report_serves_a_view_as_it_stands() {
        assert!(asking(r#"{"days":"2013-03-10","at_least":6,"limit":3}"#).is_plain());
        for other in [r#"{"dimensions":[]}"#, r#"{"rank":{}}"#, r#"{"order":["a"]}"#, r#"{"grain":"hour"}"#] {
            assert!(!asking(other).is_plain(), "{other}");
        }
    }
}
