use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn variable(name: &str) -> Result<String, VarError> {
    if name == "PAGER" { Ok(SECRET.to_owned()) } else { Err(VarError::NotPresent) }
}

fn read(text: &str) -> Result<Vec<WebhookTarget>, String> {
    parse(text, Path::new("/etc/daybook/webhooks.yaml"), &variable).map_err(|error| error.to_string())
}

fn refused(target: &str) -> String {
    read(&format!("targets:\n  - {target}\n")).unwrap_err()
}

fn alert(tenant: &str, alert: &str) -> Alert {
    let text = serde_json::json!({"id": "x", "alert": alert, "tenant": tenant, "generation": 0, "day": "2024-03-01",
        "at": "2024-03-01T12:00:00Z", "log": 1});
    serde_json::from_value(text).unwrap()
}

#[test]
fn a_file_of_webhooks_is_read_whole_and_ordered() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zeta.secret"), format!("{SECRET}\n")).unwrap();
    let text = "targets:
  - { name: zeta, url: \"http://127.0.0.1:9/a?b=c\", secret: { file: zeta.secret }, tenants: all }
  - name: pager
    url: https://hooks.example/daybook
    secret: { env: PAGER }
    tenants: [acme, beta, acme]
    alerts: [low_revenue, day_sealed]
    timeout: 2s
";
    let targets = parse(text, &folder.path().join("webhooks.yaml"), &variable).unwrap();
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["pager", "zeta"]);
    let [pager, zeta] = &targets[..] else { panic!() };
    assert_eq!((pager.timeout, zeta.timeout), (Duration::from_secs(2), DEFAULT_TIMEOUT));
    assert_eq!(pager.secrets, zeta.secrets);
    assert_eq!(zeta.place(), "http://127.0.0.1:9");
    assert!(pager.wants(&alert("acme", "low_revenue")) && pager.wants(&alert("beta", "day_sealed")));
    assert!(!pager.wants(&alert("gamma", "low_revenue")) && !pager.wants(&alert("acme", "report_restated")));
    assert!(zeta.wants(&alert("gamma", "anything")));
    assert!(read("targets: []").unwrap().is_empty());
    assert!(!format!("{targets:?}").contains("MfKQ9"));
}

#[test]
fn a_mistake_is_named_with_what_to_write() {
    let good = "url: https://h/p, secret: { env: PAGER }, tenants: all";
    assert!(read(&format!("targets:\n  - {{ name: a, {good} }}\n")).is_ok());
    for (target, told) in [
        (format!("{{ name: a b, {good} }}"), "target a b: its name contains ' '"),
        (format!("{{ name: a, {good}, tenant: x }}"), "tenant"),
        (format!("{{ name: a, {good}, alerts: [] }}"), "`alerts` has 0 names; 1 to 100"),
        (format!("{{ name: a, {good}, alerts: [a.b] }}"), "`alerts`: \"a.b\" contains '.'"),
        (format!("{{ name: a, {good}, timeout: 31s }}"), "`timeout` must be 1s to 30s"),
        (format!("{{ name: a, {good}, timeout: 0 }}"), "`timeout` must be 1s to 30s"),
        (format!("{{ name: a, {good}, timeout: soon }}"), "`timeout` must be 1s to 30s"),
        ("{ name: a, url: https://h, secret: { env: PAGER } }".into(), "tenants"),
        (
            "{ name: a, url: https://h, secret: { env: PAGER }, tenants: acme }".into(),
            "neither a list of tenants nor all",
        ),
        ("{ name: a, url: https://h, secret: { env: PAGER }, tenants: [] }".into(), "`tenants` has 0 names"),
        ("{ name: a, url: https://h, secret: { env: PAGER }, tenants: [\"*\"] }".into(), "`tenants`: \"*\""),
        ("{ name: a, url: h/p, secret: { env: PAGER }, tenants: all }".into(), "`url`"),
        ("{ name: a, url: ftp://h, secret: { env: PAGER }, tenants: all }".into(), "must begin with http://"),
        ("{ name: a, url: /p, secret: { env: PAGER }, tenants: all }".into(), "must begin with http://"),
        ("{ name: a, url: \"https://u:p@h\", secret: { env: PAGER }, tenants: all }".into(), "holds a user"),
        ("{ name: a, url: \"https://h/#x\", secret: { env: PAGER }, tenants: all }".into(), "fragment"),
        ("{ name: a, url: \"https://h:99999\", secret: { env: PAGER }, tenants: all }".into(), "ports are 1 to 65535"),
        ("{ name: a, url: \"https://h:0/p\", secret: { env: PAGER }, tenants: all }".into(), "ports are 1 to 65535"),
        (
            "{ name: a, url: \"https://[::1]:65536\", secret: { env: PAGER }, tenants: all }".into(),
            "ports are 1 to 65535",
        ),
        ("{ name: a, url: https://h, tenants: all }".into(), "secret"),
        (format!("{{ name: a, url: https://h, secret: {SECRET}, tenants: all }}"), "secret"),
        ("{ name: a, url: https://h, secret: {}, tenants: all }".into(), "{ file: PATH } or { env: NAME }"),
        ("{ name: a, url: https://h, secret: { env: whsec_c2VjcmV0 }, tenants: all }".into(), "{ file: PATH } or"),
        ("{ name: a, url: https://h, secret: { file: whsec_c2VjcmV0 }, tenants: all }".into(), "{ file: PATH } or"),
        ("{ name: a, url: https://h, secret: { env: NONE }, tenants: all }".into(), "variable \"NONE\" is not set"),
        (
            "{ name: a, url: https://h, secret: { file: none }, tenants: all }".into(),
            "/etc/daybook/none\" cannot be read",
        ),
    ] {
        let why = refused(&target);
        assert!(why.contains(told) && why.contains("webhooks.yaml"), "{target}: {why}");
        assert!(!why.contains("MfKQ9"), "{why}");
    }
    let long = refused(&format!(
        "{{ name: a, url: \"https://h/{}\", secret: {{ env: PAGER }}, tenants: all }}",
        "x".repeat(3_000)
    ));
    assert!(long.contains("at most 2048"), "{long}");
    let twice = format!("targets:\n  - &a {{ name: a, {good} }}\n  - *a\n");
    assert!(read(&twice).unwrap_err().contains("there twice"));
    let many: String = (0..=MAX_TARGETS).map(|number| format!("  - {{ name: t{number}, {good} }}\n")).collect();
    assert!(read(&format!("targets:\n{many}")).unwrap_err().contains("at most 1000"));
}

#[test]
fn a_wrong_file_of_a_secret_is_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.yaml");
    std::fs::write(&path, "targets: [{ name: a, url: https://h, secret: { file: a.secret }, tenants: all }]").unwrap();
    let secret = |text: &str| {
        std::fs::write(folder.path().join("a.secret"), text).unwrap();
        load(&path).map_err(|error| error.to_string())
    };
    assert_eq!(secret(SECRET).unwrap().len(), 1);
    for (text, told) in [
        ("hunter2", "does not begin with whsec_"),
        ("", "holds no secret"),
        (&"h".repeat(5_000), "longer than 4096 bytes"),
    ] {
        let why = secret(text).unwrap_err();
        assert!(why.contains("target a") && why.contains("a.secret") && why.contains(told), "{why}");
        assert!(!why.contains("hunter2") && !why.contains("hhhh"), "{why}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("--webhooks"));
    std::fs::write(&path, " ".repeat(MAX_FILE_BYTES as usize + 1)).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("longer than"));
}
