//! A question as what people copy: a URL, and commands that ask the same.

use maud::{Markup, html};

/// What a question is asked with.
pub(super) struct Snippets {
    /// `http://127.0.0.1:8080`.
    pub origin: String,
    pub needs_token: bool,
    pub tenant: String,
    pub view: String,
    /// The URL's query, in percent encoding.
    pub query: String,
    /// The body of a question, in JSON.
    pub question: String,
    pub prefix: String,
}

impl Snippets {
    fn url(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{}/v1/tenants/{}/views/{}{mark}{}", self.origin, self.tenant, self.view, self.query)
    }

    fn curl(&self) -> String {
        let token = if self.needs_token { " -H \"Authorization: Bearer $TOKEN\"" } else { "" };
        format!("curl{token} {}", quoted(&self.url()))
    }

    fn python(&self) -> String {
        let token = if self.needs_token { ", headers={\"Authorization\": f\"Bearer {token}\"}" } else { "" };
        let url = serde_json::to_string(&self.url()).unwrap_or_default();
        format!(
            "import json, urllib.request\nfrom decimal import Decimal\n\nrequest = urllib.request.Request({url}{token})\n\
             with urllib.request.urlopen(request) as reply:\n    rows = json.load(reply, parse_float=Decimal)[\"rows\"]"
        )
    }

    fn nats(&self) -> String {
        format!("nats request {}.query.{}.{} {}", self.prefix, self.tenant, self.view, quoted(&self.question))
    }

    /// The commands, each with a button that copies it.
    pub(super) fn markup(&self) -> Markup {
        let all = [("URL", self.url()), ("curl", self.curl()), ("Python", self.python()), ("NATS", self.nats())];
        html! {
            section aria-labelledby="ask" {
                h2 #ask { "Ask the same" }
                @for (place, (name, text)) in all.iter().enumerate() {
                    div.snippet {
                        h3 { (name) }
                        button.quiet type="button" hidden data-copy={ "snippet-" (place) } {
                            "Copy" span.hidden { " " (name) }
                        }
                        pre #{ "snippet-" (place) } tabindex="0" { code { (text) } }
                    }
                }
            }
        }
    }
}

/// A text as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_reads_is_what_was_asked() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        let snippets = Snippets {
            origin: "http://127.0.0.1:1".into(),
            needs_token: true,
            tenant: "acme".into(),
            view: "sales".into(),
            query: "days=today".into(),
            question: r#"{"where":"store = 'x'"}"#.into(),
            prefix: "daybook".into(),
        };
        assert_eq!(
            snippets.curl(),
            "curl -H \"Authorization: Bearer $TOKEN\" 'http://127.0.0.1:1/v1/tenants/acme/views/sales?days=today'"
        );
        assert_eq!(snippets.nats(), r#"nats request daybook.query.acme.sales '{"where":"store = '\''x'\''"}'"#);
    }
}
