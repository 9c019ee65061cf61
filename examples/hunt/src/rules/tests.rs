use super::super::hashing::hash_answers;
use super::*;

const GOOD: &str = include_str!("../../hunts/town.yaml");

fn parse(text: &str) -> Result<Rules, Mistakes> {
    let mut count = 0;
    let mut salt = || {
        count += 1;
        format!("salt{count}")
    };
    read(Path::new("rules.yaml"), text, &mut salt)
}

/// The mistakes of a text, as they are shown.
fn bad(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn with(challenges: &str) -> String {
    format!("hunt: h\nname: H\nstart: 2026-05-01T18:00:00Z\nend: 2026-05-03T18:00:00Z\nchallenges:\n{challenges}")
}

#[test]
fn the_example_is_read() {
    let rules = parse(GOOD).unwrap();
    assert_eq!((rules.hunt.as_str(), rules.challenges.len(), rules.team_size), ("town", 6, 6));
    let gate = rules.challenge("gate").unwrap();
    assert!(gate.accepts("IRON gate") && !gate.accepts("iron"));
    assert_eq!([0, 1, 2, 3, 30].map(|rank| gate.worth(rank, rules.start, rules.start)), [130, 115, 100, 85, 50]);
    let crypt = rules.challenge("crypt").unwrap();
    assert!(!crypt.opens(|id| id == "gate") && crypt.opens(|id| matches!(id, "bell" | "river")));
    let is_open = |challenge: &&Challenge| challenge.opens(|_| false);
    assert_eq!(
        rules.challenges.iter().filter(is_open).map(|challenge| challenge.id.as_str()).collect::<Vec<_>>(),
        ["gate", "river"]
    );
}

#[test]
fn a_file_of_rules_is_one_document() {
    assert_eq!(bad("# nothing\n"), "rules.yaml:1:1: there is nothing here; expected a file of rules");
    let text = with("- { id: a, answer: { exact: x }, points: 1 }\n---\nhunt: other\n");
    assert_eq!(bad(&text), "rules.yaml:8:1: a file of rules is one document; remove --- and what follows");
}

#[test]
fn a_ranking_stands_still_after_the_start() {
    let text = with("- { id: a, answer: { exact: x }, points: 1 }")
        .replace("challenges:", "freeze: 2026-05-01T18:00:00Z\nchallenges:");
    assert_eq!(bad(&text), "rules.yaml:5:9: freeze must be after start: the public would never see a ranking");
}

#[test]
fn points_fall_with_time_too() {
    let rules = parse(GOOD).unwrap();
    let bell = rules.challenge("bell").unwrap();
    let worth = |minutes: i64| bell.worth(5, rules.start + minutes * 60_000, rules.start);
    assert_eq!([0, 59, 60, 125, 6000].map(worth), [150, 150, 140, 130, 60]);
}

#[test]
fn all_mistakes_are_reported_with_their_places() {
    let text = "hunt: my hunt\nname: H\nstart: tomorrow\nend: 2026-05-03T18:00:00Z\ncolour: red\nchallenges:\n\
        - { id: a, answer: { exact: '' }, points: -1 }\n- { id: b, answer: { regex: '[' }, points: 1, first: 3 }\n- { id: c, points: 1 }";
    let shown = bad(text);
    for part in [
        "rules.yaml:1:7: hunt \"my hunt\" must be",
        "rules.yaml:3:8: expected start as a time such as 2026-05-01T18:00:00Z, found \"tomorrow\"",
        "rules.yaml:5:1: unknown key \"colour\"",
        "rules.yaml:7:29: the answer is empty",
        "rules.yaml:7:43: expected points as a whole number from 0 to 1000000, found the number -1",
        "rules.yaml:8:29: the answer is no pattern: unclosed character class",
        "rules.yaml:8:54: expected a list of first, found the number 3",
        "rules.yaml:9:3: the challenge has no answer",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}

#[test]
fn challenges_that_nothing_opens_are_mistakes() {
    let challenge = |id: &str, more: &str| format!("- {{ id: {id}, answer: {{ exact: x }}, points: 1{more} }}\n");
    let text = [
        challenge("a", ""),
        challenge("b", ", after: [a, d]"),
        challenge("c", ", after: [b]"),
        challenge("d", ", after: [c]"),
        challenge("e", ", after: [d]"),
        challenge("f", ", after: [a, d], of: 1"),
    ];
    assert_eq!(
        bad(&with(&text.concat())),
        "rules.yaml:7:3: nothing opens b: it needs itself (b → d → c → b)\n\
         rules.yaml:8:3: nothing opens c: it needs itself (c → b → d → c)\n\
         rules.yaml:9:3: nothing opens d: it needs itself (d → c → b → d)\n\
         rules.yaml:10:3: nothing opens e: it needs d, which never opens"
    );
    // Names are checked also where other challenges have mistakes, and are found there.
    let broken = "- { id: b, points: none, answer: { exact: x } }\n".to_owned();
    let shown = bad(&with(&[broken, challenge("c", ", after: [b, x]")].concat()));
    assert!(shown.ends_with("rules.yaml:7:3: c opens after \"x\", and there is no such challenge"), "{shown}");
    let text = [challenge("a", ", after: [zoo]"), challenge("a", "")];
    assert_eq!(
        bad(&with(&text.concat())),
        "rules.yaml:6:3: a opens after \"zoo\", and there is no such challenge\n\
         rules.yaml:7:3: two challenges have the id a"
    );
}

#[test]
fn clear_answers_become_hashes_and_all_else_stays() {
    let mut count = 0;
    let source = Source::parse(Path::new("rules.yaml"), GOOD).unwrap();
    let (hashed, number) = hash_answers(&source, || {
        count += 1;
        format!("s{count}")
    })
    .unwrap();
    assert_eq!(number, 6);
    assert!(!hashed.contains("iron gate") && !hashed.contains("exact:") && hashed.contains("# The town hunt"));
    assert_eq!(hashed.lines().count(), GOOD.lines().count());
    let rules = parse(&hashed).unwrap();
    assert!(rules.challenge("gate").unwrap().accepts("iron gate"));
    // Again, there is nothing to hash.
    let source = Source::parse(Path::new("rules.yaml"), &hashed).unwrap();
    assert_eq!(hash_answers(&source, || "s".to_owned()).unwrap(), (hashed.clone(), 0));
}
