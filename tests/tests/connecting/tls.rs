//! TLS: authorities, names, client certificates, the handshake first; and nothing in the clear where TLS is required.

use crate::{SECRET, accepted, address, attempt, broker, options, refused};
use daybook_broker::{ServerSettings, TlsOptions};
use daybook_runtime::connection::{ConnectError, FileProblem, NatsOptions, Reason};
use daybook_tests::PrivateBroker;
use daybook_tests::secured::{Authority, Certificate};
use std::fs;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A folder with an authority, and a broker with a certificate of it.
struct Tls {
    authority: Authority,
    broker: PrivateBroker,
}

impl Tls {
    async fn start(make: impl FnOnce(&Authority) -> TlsOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let tls = make(&authority);
        let broker = PrivateBroker::start_with(folder, |options| options.tls = Some(tls)).await;
        Self { authority, broker }
    }

    fn folder(&self) -> &Path {
        self.broker.folder.path()
    }

    /// Settings that trust the authority.
    fn trusting(&self, change: impl FnOnce(&mut NatsOptions)) -> NatsOptions {
        options(&format!("nats://{}", address(&self.broker)), |options| {
            options.nats_ca = Some(self.authority.file.clone());
            change(options);
        })
    }

    fn showing(&self, certificate: &Certificate) -> NatsOptions {
        self.trusting(|options| {
            (options.nats_cert, options.nats_key) = (Some(certificate.file.clone()), Some(certificate.key.clone()));
        })
    }
}

fn of_this_machine(authority: &Authority) -> TlsOptions {
    authority.certificate("server", &["127.0.0.1", "localhost"]).options()
}

#[tokio::test]
async fn the_authority_is_the_one_that_is_named() {
    let tls = Tls::start(of_this_machine).await;
    let address = address(&tls.broker);
    assert_eq!(tls.broker.broker.client_url(), format!("tls://{address}"));
    accepted(tls.trusting(|_| {})).await;
    accepted(tls.trusting(|options| options.nats = format!("tls://{address}").into())).await;
    accepted(tls.trusting(|options| options.nats = address.replace("127.0.0.1", "localhost").into())).await;
    accepted(tls.trusting(|options| options.nats_tls = true)).await;

    let other = Authority::new(tls.folder(), "other");
    let reason = refused(tls.trusting(|options| options.nats_ca = Some(other.file.clone()))).await;
    assert_eq!(reason, Reason::ForeignAuthority { authorities: other.file.clone() });
    // Several in one file.
    let both = tls.folder().join("both.pem");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    fs::write(&both, read(&other.file) + &read(&tls.authority.file)).unwrap();
    accepted(tls.trusting(|options| options.nats_ca = Some(both))).await;
    // Those of the system do not know it, whether or not TLS was asked for.
    for nats in [format!("nats://{address}"), format!("tls://{address}")] {
        assert_eq!(refused(NatsOptions::at(&nats)).await, Reason::UnknownAuthority);
    }
}

#[tokio::test]
async fn names_and_dates_of_the_certificate_count() {
    let tls = Tls::start(|authority| authority.certificate("server", &["broker.example", "10.0.0.1"]).options()).await;
    let reason = refused(tls.trusting(|_| {})).await;
    assert!(matches!(&reason, Reason::OtherName { names } if names.contains("broker.example")), "{reason}");
    let tls = Tls::start(|authority| authority.expired("server", &["127.0.0.1"]).options()).await;
    assert_eq!(refused(tls.trusting(|_| {})).await, Reason::CertificateExpired);
}

#[tokio::test]
async fn client_certificates_are_shown() {
    let verifying = |authority: &Authority| TlsOptions {
        client_authority: Some(authority.file.clone()),
        ..of_this_machine(authority)
    };
    let tls = Tls::start(verifying).await;
    let client = tls.authority.certificate("client", &["client"]);
    accepted(tls.showing(&client)).await;
    // Where the server hangs up before its reason was read, only that is known.
    let is = |reason: Reason, expected: Reason| {
        assert!(reason == expected || reason == Reason::Dropped, "{reason:?}");
        assert!(reason.to_string().contains("--nats-cert"), "{reason}");
    };
    is(refused(tls.trusting(|_| {})).await, Reason::ClientCertificateWanted);
    let stranger = Authority::new(tls.folder(), "other").certificate("stranger", &["client"]);
    let expired = tls.authority.expired("expired", &["client"]);
    for certificate in [stranger, expired] {
        let reason = refused(tls.showing(&certificate)).await;
        is(reason, Reason::ClientCertificateRefused { path: certificate.file });
    }
}

#[tokio::test]
async fn files_that_do_not_fit_are_named_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let (one, other) = (authority.certificate("one", &["a"]), authority.certificate("other", &["a"]));
    let nothing = folder.path().join("nothing.pem");
    fs::write(&nothing, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let problem = async |change: &dyn Fn(&mut NatsOptions)| {
        // Nobody answers there; it does not come to that.
        match attempt(options("nats://127.0.0.1:1", change)).await {
            Err(ConnectError::File(error)) => (error.setting, error.problem),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it is accepted"),
        }
    };
    let shown = |certificate: &Path, key: &Path| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        move |options: &mut NatsOptions| {
            (options.nats_cert, options.nats_key) = (Some(certificate.clone()), Some(key.clone()))
        }
    };
    for file in [&nothing, &one.key] {
        let found = problem(&|options| options.nats_ca = Some(file.clone())).await;
        assert_eq!(found, ("--nats-ca", FileProblem::NoCertificate));
    }
    let missing = problem(&|options| options.nats_ca = Some("no-such.pem".into())).await;
    assert!(matches!(missing, ("--nats-ca", FileProblem::Unreadable(_))), "{missing:?}");
    assert_eq!(problem(&shown(&one.key, &one.key)).await, ("--nats-cert", FileProblem::NoCertificate));
    assert_eq!(problem(&shown(&one.file, &one.file)).await, ("--nats-key", FileProblem::NoKey));
    let other_key = FileProblem::OtherKey { certificate: one.file.clone() };
    assert_eq!(problem(&shown(&one.file, &other.key)).await, ("--nats-key", other_key));
}

#[tokio::test]
async fn the_handshake_comes_first_where_both_say_so() {
    let first = |authority: &Authority| TlsOptions { handshake_first: true, ..of_this_machine(authority) };
    let tls = Tls::start(first).await;
    accepted(tls.trusting(|options| options.nats_tls_first = true)).await;
    let reason = refused(tls.trusting(|_| {})).await;
    assert!(matches!(reason, Reason::Closed | Reason::Silent), "{reason:?}");
    assert!(reason.to_string().contains("--nats-tls-first"), "{reason}");

    let tls = Tls::start(of_this_machine).await;
    assert_eq!(refused(tls.trusting(|options| options.nats_tls_first = true)).await, Reason::NotTls);
}

#[tokio::test]
async fn a_server_without_tls_is_not_used_where_tls_is_required() {
    let settings = ServerSettings(format!("authorization {{ user: ann, password: {SECRET:?} }}\n"));
    let broker = broker(|options| options.settings = settings).await;
    let login = format!("ann:{SECRET}@{}", address(&broker));
    accepted(NatsOptions::at(&format!("nats://{login}"))).await;
    assert_eq!(refused(NatsOptions::at(&format!("tls://{login}"))).await, Reason::NotTls);
    let required = options(&format!("nats://{login}"), |options| options.nats_tls = true);
    assert_eq!(refused(required).await, Reason::NotTls);
}

#[tokio::test]
async fn who_poses_as_a_server_without_tls_gets_no_password() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let thief = tokio::spawn(async move {
        let mut heard = Vec::new();
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"INFO {\"server_id\":\"x\",\"version\":\"2.15.1\",\"max_payload\":1048576}\r\n")
                .await
                .unwrap();
            let mut bytes = vec![0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            bytes.truncate(length);
            heard.push(bytes);
        }
        heard
    });
    let login = format!("ann:{SECRET}@{address}");
    let asks: [&dyn Fn(&mut NatsOptions); 3] =
        [&|options| options.nats = format!("tls://{login}").into(), &|options| options.nats_tls = true, &|options| {
            options.nats_ca = Some(authority.file.clone())
        }];
    for ask in asks {
        refused(options(&format!("nats://{login}"), ask)).await;
    }
    for heard in thief.await.unwrap() {
        // A TLS record of the handshake, not a CONNECT.
        assert_eq!(heard.first(), Some(&22), "{}", String::from_utf8_lossy(&heard));
        assert!(!String::from_utf8_lossy(&heard).contains(SECRET));
    }
}
