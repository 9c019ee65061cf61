//! Reading where a replica of the stream that is not up to date answers: nothing is missing, and no day is taken for one that
//! never was.

use daybook_contracts::ask::{Answer, DaySelector, Query};
use daybook_contracts::lists::DatesQuery;
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::connection::{BrokerOptions, Connection, NatsOptions, connect};
use daybook_runtime::joining::connect_service;
use daybook_runtime::reader::read_last_per_subject;
use daybook_tests::asking::{ask, shown, tenant};
use daybook_tests::lagging::Lagging;
use daybook_tests::orders::{self, FIRST_DAY, order};
use daybook_tests::{Daybook, PrivateBroker, eventually};
use query::archive::{Archive, Left};
use query::asking::Asking;
use query::encoding::Encoding;
use query::generations::Owner;
use query::lists::sealed::{Sealed, newest};
use query::ranges::sealed_days;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A connection on which a replica answers that is not up to date.
async fn connect_through(lagging: &Lagging, options: &BrokerOptions) -> Connection {
    connect(&BrokerOptions { nats: NatsOptions::at(&lagging.url()), ..options.clone() }, "reader").await.unwrap()
}

/// Three clocks, of which a replica does not have the last one yet, and a reading of them through it.
struct Clocks {
    connection: Connection,
    lagging: Lagging,
    reading: JoinHandle<Vec<u64>>,
    _broker: PrivateBroker,
}

impl Clocks {
    async fn read() -> Self {
        let broker = PrivateBroker::start().await;
        let connection = connect_service(&broker.options(), "test").await.unwrap();
        let (stream, clock) = (connection.subjects.clocks_stream(), |name| connection.subjects.clock(name));
        for name in ["one", "two", "three"] {
            connection.jetstream.publish(clock(name), "2024-03-01T12:00:00Z".into()).await.unwrap().await.unwrap();
        }
        let lagging = Lagging::of(&connection, broker.broker.client_url(), &stream).await;
        lagging.lacks(&clock("three")).await;
        let (reader, every) = (connect_through(&lagging, &broker.options()).await, clock("*"));
        let reading = tokio::spawn(async move {
            let newest = read_last_per_subject(&reader, stream, every).await;
            newest.iter().map(|message| message.sequence).collect()
        });
        let clocks = Self { connection, lagging, reading, _broker: broker };
        eventually("a second reading", async || (clocks.lagging.asked() >= 2).then_some(())).await;
        clocks
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_lacks_something_is_made_again() {
    let clocks = Clocks::read().await;
    clocks.lagging.catch_up();
    assert_eq!(clocks.reading.await.unwrap(), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_meanwhile_is_not_waited_for() {
    let Clocks { connection, reading, lagging, _broker } = Clocks::read().await;
    let stream = connection.jetstream.get_stream(connection.subjects.clocks_stream()).await.unwrap();
    stream.purge().filter(connection.subjects.clock("three")).await.unwrap();
    assert_eq!(reading.await.unwrap(), [1, 2]);
    // Where there is nothing, no consumer is made.
    let (reader, asked) = (connect_through(&lagging, &_broker.options()).await, lagging.asked());
    let (stream, nobody) = (connection.subjects.clocks_stream(), connection.subjects.clock("nobody"));
    assert!(read_last_per_subject(&reader, stream, nobody).await.is_empty());
    assert_eq!(lagging.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_a_replica_lacks_is_not_left_out() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    for day in 1..=3 {
        for number in 0..day {
            let mut order = order(&format!("{day}-{number}"));
            order["at"] = json!(format!("2024-03-0{day}T12:00:00Z"));
            daybook.publish("acme", "order", order.to_string()).await;
        }
        daybook.settle().await;
        orders::advance(&daybook, &format!("2024-03-0{}T12:00:00Z", day + 1)).await;
    }
    daybook.settle().await;

    let (connection, subjects) = (&daybook.client.connection, &daybook.client.connection.subjects);
    let (acme, first, last) = (tenant("acme"), FIRST_DAY.parse().unwrap(), "2024-03-03".parse().unwrap());
    let reports = Lagging::of(connection, daybook.broker.broker.client_url(), &subjects.reports_stream()).await;
    reports.lacks(&subjects.report(&acme, first)).await;
    let figures = Lagging::of(connection, &reports.url(), &subjects.figures_stream()).await;
    figures.lacks(&subjects.figures(&acme, first, "orders")).await;
    let days = Lagging::of(connection, &figures.url(), &subjects.days_stream()).await;
    days.lacks(&subjects.day_opened("acme")).await;
    let archive = Archive::new(connect_through(&days, &daybook.options().broker).await);

    let view = Name::new("orders").unwrap();
    assert!(
        matches!(archive.figures((&acme, Owner::Generation(0)), first, &view).await, Ok(Left::Nothing)),
        "the replica answers"
    );
    let report = archive.report((&acme, Owner::Generation(0)), first).await.unwrap();
    assert_eq!(report.map(|report| report.version), Some(1));
    let today = archive.today((&acme, Owner::Generation(0))).await.unwrap();
    assert_eq!(today, Some("2024-03-04".parse().unwrap()));
    let twin = ask(&daybook.client, "acme", "orders", json!({"days": "2024-03-01..2024-03-03"})).await;
    let sealed = sealed_orders(&archive, acme.clone(), DaySelector::Range(first, last)).await;
    assert_eq!(shown(&sealed.rows, "orders"), ["6"]);
    assert_eq!(sealed.rows, twin.rows);

    // Nor is it in a list, or when its report is asked for.
    let reports = Sealed::new(connect_through(&days, &daybook.options().broker).await);
    let list = reports.list((&acme, Owner::Generation(0)), &DatesQuery::default(), Instant::now()).await.unwrap();
    assert_eq!(list.reports.iter().map(|entry| entry.version).collect::<Vec<_>>(), [1; 3]);
    let reader = reports.reader(&acme, first);
    assert!(reader.last_of_any_replica().await.is_none(), "the replica answers");
    assert_eq!(newest(&reader).await.map(|document| document.entry), Some(list.reports[0].clone()));
    assert_eq!(reader.next(1).await.map(|message| message.payload.len() as u64), Some(list.reports[0].bytes));
}

/// What the streams alone answer.
async fn sealed_orders(archive: &Archive, tenant: TenantId, days: DaySelector) -> Answer {
    let asking = Asking { tenant, view: Name::new("orders").unwrap(), query: Query::days(days) };
    let found = sealed_days(archive, &asking).await.unwrap().expect("they are sealed");
    serde_json::from_slice(&found.encode(Encoding::Json).unwrap()).unwrap()
}
