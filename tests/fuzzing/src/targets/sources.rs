//! What connect reads: files of sources, and foreign messages of any subject, headers and payload. A file is refused with a reason or
//! has sound sources. A message always makes the same publications, each of which the broker takes, with originals within bounds.

use super::{choice, chosen};
use connect::publication::BATCH_BYTES;
use connect::sources::{MAX_SUBJECTS, Upstream, parse};
use connect::translation::{ForeignMessage, SourceMark, Translator};
use daybook::definitions::load;
use daybook_contracts::event::{Encoding, MAX_EVENT_BYTES, Message, Problem};
use daybook_contracts::members::MAX_SOURCES;
use daybook_contracts::reject::MAX_ORIGINAL_BYTES;
use daybook_contracts::subjects::{Subjects, UNMAPPED_TENANT};
use daybook_domain::catalogue::Kind;
use daybook_domain::ids::TenantId;
use daybook_mapping::{RecordMapper, Zones};
use std::path::Path;
use std::sync::LazyLock;

const MODELS: &str = "
kinds:
  - name: sale
    mode: entity
    dimensions: [store]
    measures: [{ name: total, type: decimal, scale: 2 }]
    mappings:
      - { name: shop, tenant: { token: 2 }, explode: /lines, id: [/id, ./n], at: { path: /at, as: epoch_s }, measures: { total: ./p } }
      - { name: slots, tenant: { path: /shop }, explode: { path: /lines, slots: 9 }, id: [/id, index], at: arrival }
  - name: click
    mode: fact
    dimensions: [page]
    mappings:
      - { name: web, tenant: { header: shop }, at: arrival, dims: { page: /page } }
      - { name: many, tenant: ./shop, explode: \"\", at: arrival, dims: { page: { path: ./page, text: true } } }
";

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let loaded = load(&[("a.yaml".into(), MODELS.to_owned())], &[]);
    loaded.unwrap_or_else(|mistakes| panic!("{}", mistakes[0])).apply.kinds
});

const MAPPINGS: [&str; 4] = ["sale/shop", "sale/slots", "click/web", "click/many"];

/// The first byte chooses a file of sources or a mapping; of a message the first lines are the subject and the value of a header.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choice(data) else { return };
    match MAPPINGS.get(usize::from(choice)) {
        Some(mapping) => message(mapping, rest),
        None => {
            if let Ok(text) = std::str::from_utf8(rest) {
                file(text);
            }
        }
    }
}

fn file(text: &str) {
    let subjects = Subjects::new("daybook").expect("a valid prefix");
    match parse(text, Path::new("sources.yaml"), &subjects) {
        Ok(sources) => {
            assert!(sources.len() <= MAX_SOURCES && sources.is_sorted_by(|one, other| one.name < other.name));
            for source in sources {
                assert!(source.subjects.len() <= MAX_SUBJECTS);
                assert!(source.origin != Upstream::Core || !source.subjects.is_empty());
            }
        }
        Err(error) => assert!(error.to_string().contains("sources.yaml")),
    }
}

fn message(mapping: &str, rest: &[u8]) {
    let mut parts = rest.splitn(3, |byte| *byte == b'\n');
    let (subject, header, payload) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (subject, header) = (String::from_utf8_lossy(subject), String::from_utf8_lossy(header));
    let mapping = mapping.parse().expect("a mapping's name");
    let mapper = RecordMapper::find(&KINDS, &mapping, Zones::default(), None).expect("a sound mapping");
    let translator = Translator::new(mapper, None);
    let foreign = ForeignMessage {
        subject: &subject,
        headers: &[("shop", &header)],
        payload,
        arrived: "2024-03-01T12:00:00Z".parse().expect("an instant"),
        mark: &SourceMark { text: "ORDERS@01234567".to_owned(), is_stored: true },
        number: 17,
    };
    let translation = translator.translate(&foreign);
    assert_eq!(translator.translate(&foreign), translation, "a message that comes again");
    let (mut events, mut unmapped, mut originals) = (0, 0, 0);
    for publication in &translation.publications {
        let is_known = TenantId::new(&publication.tenant).is_ok();
        match &publication.unmapped {
            Some(why) => {
                assert!(is_known || publication.tenant == UNMAPPED_TENANT);
                assert!(serde_json::from_str::<Problem>(why).is_ok_and(|problem| !problem.reason.is_empty()));
                assert!(publication.bytes() <= MAX_ORIGINAL_BYTES + 1);
                unmapped += 1;
                originals += publication.bytes();
            }
            None => {
                assert!(is_known && publication.bytes() <= BATCH_BYTES + MAX_EVENT_BYTES);
                let payload = publication.payload();
                let message = Message::split(&payload, Encoding::Json);
                assert_eq!(message.problem(), None);
                events += message.events();
            }
        }
    }
    assert_eq!(events, translation.events);
    assert!(unmapped <= translation.unmapped && (unmapped > 0 || translation.unmapped == 0), "{unmapped}");
    assert!(events + unmapped + translation.passed_over > 0, "nothing disappears");
    assert!(originals <= payload.len() + MAX_ORIGINAL_BYTES, "{originals}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let order = r#"{"id": 7, "shop": "acme", "at": 1709294400, "lines": [{"n": 1, "p": "2.50"}, {"n": 2, "p": "x"}]}"#;
    let click = r#"{"page": "/", "shop": "acme"}"#;
    let message = |choice, text: String| chosen(choice, format!("orders.acme.created\nacme\n{text}").as_bytes());
    vec![
        message(0, order.to_owned()),
        message(0, format!("[{order}, {order}, {{}}]")),
        message(1, order.to_owned()),
        message(2, click.to_owned()),
        message(3, format!("[{click}, {click}, 7, {{\"shop\": \"zeta\", \"page\": 1e400}}]")),
        chosen(9, b"sources:\n  - { name: shop, stream: ORDERS, subjects: [orders.*.created], mapping: sale/shop, from: all }\n"),
        chosen(9, b"sources:\n  - { name: web, subjects: [web.>], mapping: click/web, tenant: acme }\n  - name: past\n    stream: ORDERS\n    mapping: shop\n    from: 2024-03-01T00:00:00Z\n    connection: { nats: \"tls://a:1,tls://b\", user: u, password_file: p, ca: ca.pem }\n"),
    ]
}
