//! The file of webhooks changes while the gateway runs.

use super::PARTS;
use daybook_tests::eventually;
use daybook_tests::processes::{Process, wait_until_ready_with};
use daybook_tests::webhooks::{AlertsBroker, Receiver, SECRET, target};

const REFUSED: &str = "daybook_webhook_file_refused";

async fn is_removed(broker: &AlertsBroker, name: &str) {
    eventually(&format!("the consumer of {name} is removed"), || async {
        broker.waiting(name).await.is_none().then_some(())
    })
    .await;
}

async fn has_logged(gateway: &Process, text: &str) {
    eventually(text, || async { gateway.log().contains(text).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_file_takes_effect_without_a_restart() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    let at = |path: &str| format!("{}/{path}", receiver.url);
    let paths = || receiver.got().iter().map(|got| got.path.clone()).collect::<Vec<_>>();
    broker.webhooks(&[target("one", &at("one"), "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("one").await;
    broker.alert("acme", "low").await;
    broker.settled("one").await;
    assert_eq!(paths(), ["/one"]);

    // A new target begins with the next alert; one whose URL has changed goes on.
    broker.webhooks(&[target("one", &at("other"), ""), target("two", &at("two"), "")]);
    broker.has_consumer("two").await;
    broker.alert("acme", "low").await;
    broker.settled("one").await;
    broker.settled("two").await;
    let mut both = paths()[1..].to_vec();
    both.sort();
    assert_eq!(both, ["/other", "/two"]);

    // A file that is broken or away for a moment changes nothing: consumers stay, and alerts go on.
    std::fs::write(broker.folder().join("webhooks.yaml"), "targets: [").unwrap();
    gateway.shows(REFUSED, 1.0).await;
    std::fs::remove_file(broker.folder().join("webhooks.yaml")).unwrap();
    has_logged(&gateway, "cannot read the file of webhooks").await;
    broker.alert("acme", "low").await;
    broker.settled("one").await;
    broker.settled("two").await;
    assert_eq!(receiver.got().len(), 5);

    // A target that is gone loses its consumer, and gets nothing more.
    broker.webhooks(&[target("two", &at("two"), "tenants: [acme]")]);
    gateway.shows(REFUSED, 0.0).await;
    is_removed(&broker, "one").await;
    eventually("the broker leaves out other tenants", || async {
        (broker.filters("two").await? == ["daybook.alerts.acme"]).then_some(())
    })
    .await;
    let before = paths().len();
    broker.alert("zeta", "low").await;
    broker.alert("acme", "low").await;
    broker.settled("two").await;
    assert_eq!(paths()[before..], ["/two"]);
    let (status, _) = gateway.terminate().await;
    assert!(status.success());
    assert!(broker.waiting("two").await.is_some(), "the end of a gateway is not that of its targets");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_changed_for_the_next_without_a_gap() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    let next = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    broker.webhooks(&[target("pager", &receiver.url, "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("pager").await;
    let mut signed = Vec::new();
    for (number, secrets) in [SECRET.to_owned(), format!("{next}\n{SECRET}\n"), next.to_owned()].iter().enumerate() {
        std::fs::write(broker.folder().join("webhooks.secret"), secrets).unwrap();
        if number > 0 {
            eventually("the change is taken", || async {
                (gateway.log().matches("the file of webhooks has changed").count() == number).then_some(())
            })
            .await;
        }
        broker.alert("acme", "low").await;
        broker.settled("pager").await;
        let got = receiver.got().pop().unwrap();
        signed.push([SECRET, next].map(|secret| got.is_signed_with(secret)));
    }
    assert_eq!(signed, [[true, false], [true, true], [false, true]]);
    assert!(!gateway.log().contains("whsec_"), "{}", gateway.log());
    gateway.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_agree_on_what_the_file_says_in_the_end() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    broker.webhooks(&[target("one", &receiver.url, ""), target("two", &receiver.url, "")]);
    let mut gateways = ["gateway-1", "gateway-2"].map(|label| broker.gateway(label));
    for gateway in &mut gateways {
        gateway.start();
        wait_until_ready_with(gateway, PARTS).await;
    }
    broker.has_consumer("one").await;
    broker.webhooks(&[target("two", &receiver.url, "")]);
    for gateway in &gateways {
        has_logged(gateway, "the consumer of the webhook is removed").await;
    }
    is_removed(&broker, "one").await;
    // It comes back as a new one, and begins with the next alert.
    broker.alert("acme", "low").await;
    broker.webhooks(&[target("one", &format!("{}/again", receiver.url), ""), target("two", &receiver.url, "")]);
    broker.has_consumer("one").await;
    let (id, _) = broker.alert("acme", "low").await;
    broker.settled("one").await;
    broker.settled("two").await;
    let again: Vec<_> = receiver.got().into_iter().filter(|got| got.path == "/again").collect();
    assert!(again.len() == 1 && again[0].id() == id, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_somebody_removes_is_made_again_where_it_was() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    broker.webhooks(&[target("pager", &receiver.url, "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("pager").await;
    let mut ids = broker.alerts("acme", "low", 3).await;
    receiver.requests(3).await;
    broker.settled("pager").await;
    broker.lose_consumer("pager").await;
    ids.extend(broker.alerts("acme", "low", 3).await);
    eventually("none is lost", || async { (receiver.counts().len() == 6).then_some(()) }).await;
    broker.settled("pager").await;
    assert!(ids.iter().all(|id| receiver.counts().contains_key(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_another_process_makes_again_drops_nothing() {
    let broker = AlertsBroker::start().await;
    let receiver = Receiver::willing().await;
    broker.webhooks(&[target("pager", &receiver.url, "")]);
    let mut gateway = broker.gateway("gateway-1");
    gateway.start();
    broker.has_consumer("pager").await;
    let mut ids = broker.alerts("acme", "low", 3).await;
    receiver.requests(3).await;
    broker.settled("pager").await;
    // While the gateway stands still, the consumer is lost, alerts come, and a gateway that has just begun makes it again.
    gateway.pause();
    broker.lose_consumer("pager").await;
    ids.extend(broker.alerts("acme", "low", 3).await);
    let mut other = broker.gateway("gateway-2");
    other.start();
    broker.has_consumer("pager").await;
    gateway.resume();
    eventually("none is lost", || async { (receiver.counts().len() == 6).then_some(()) }).await;
    broker.settled("pager").await;
    assert!(ids.iter().all(|id| receiver.counts().contains_key(id)));
}
