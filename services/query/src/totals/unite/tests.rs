use super::*;
use crate::sealed::tests::{asking, figures};
use daybook_contracts::ask::Query;
use daybook_contracts::totals::MemberDay;
use daybook_domain::ids::{InboxSeq, LogSeq};

fn id(text: &str) -> TenantId {
    TenantId::new(text).unwrap()
}

fn counted(date: &str, flights: i64, day: DayState) -> MemberFigures {
    let made = figures(date, flights).days.remove(0);
    let (from, to) = (made.day.date, made.day.date);
    MemberFigures {
        from,
        to,
        day,
        days: vec![MemberDay { day: made.day, coverage: made.coverage, groups: made.groups }],
    }
}

fn absent(code: AskErrorCode, why: &str) -> Result<MemberFigures, Absent> {
    Err(Absent { code, why: why.to_owned() })
}

fn part(position: (u64, u64), members: Vec<(&str, Result<MemberFigures, Absent>)>) -> Totals {
    let mut made = figures("2013-03-10", 0);
    made.view.revision = 2;
    let members = members.into_iter().map(|(tenant, found)| Member { tenant: id(tenant), found }).collect();
    let definition = Some((made.view, made.kind));
    Totals { definition, members, ..Totals::at(LogSeq(position.0), InboxSeq(position.1)) }
}

#[test]
fn tenants_add_up_each_by_its_own_day() {
    use DayState::{Closed, Open};
    let parts = vec![
        part((7, 30), vec![("A", Ok(counted("2013-03-10", 3, Open))), ("B", Ok(counted("2013-03-09", 4, Closed)))]),
        Totals { freshness_ms: 9, ..part((5, 40), vec![("C", Ok(counted("2013-03-10", 5, Open)))]) },
    ];
    let answer = unite(&asking(Query::default()), parts).unwrap();
    assert_eq!(serde_json::to_string(&answer.rows).unwrap(), r#"[{"carrier":"B6","flights":12}]"#);
    assert_eq!((answer.from.to_string(), answer.to.to_string()), ("2013-03-09".into(), "2013-03-10".into()));
    assert_eq!((answer.as_of, answer.freshness_ms), (AsOf { log: LogSeq(5), inbox: InboxSeq(30) }, 9));
    assert_eq!((answer.day, answer.coverage), (Open, Coverage::Complete));
}

#[test]
fn tenants_that_are_missing_are_named() {
    let found = || Ok(counted("2013-03-10", 3, DayState::Open));
    let mut other = part((9, 9), vec![("D", found())]);
    if let Some((view, _)) = &mut other.definition {
        (view.revision, view.group_by) = (1, Vec::new());
    }
    let parts = vec![
        part((7, 30), vec![("A", found()), ("B", absent(AskErrorCode::UnknownView, &"no view ".repeat(99)))]),
        part((8, 30), vec![("C", absent(AskErrorCode::Unavailable, "no shard"))]),
        other,
    ];
    let answer = unite(&asking(Query::default()), parts).unwrap();
    assert_eq!(serde_json::to_string(&answer.rows).unwrap(), r#"[{"carrier":"B6","flights":3}]"#);
    let Coverage::Missing { tenants } = answer.coverage else { panic!("{:?}", answer.coverage) };
    assert_eq!(tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(), ["B", "C", "D"]);
    assert_eq!((tenants[&id("C")].as_str(), tenants[&id("B")].chars().count()), ("no shard", MAX_REASON));
}

#[test]
fn without_any_tenant_there_is_the_error_that_all_have() {
    let of = |codes: [AskErrorCode; 2]| {
        let members = [("A", codes[0]), ("B", codes[1])].map(|(tenant, code)| (tenant, absent(code, "why")));
        let parts = vec![Totals { definition: None, ..part((1, 1), members.into()) }];
        unite(&asking(Query::default()), parts).unwrap_err().code
    };
    use AskErrorCode::{Expired, Unavailable, UnknownDay, UnknownView};
    assert_eq!(of([UnknownView, UnknownView]), UnknownView);
    assert_eq!(of([Unavailable, Unavailable]), Unavailable);
    assert_eq!(of([Expired, Expired]), UnknownDay);
    assert_eq!(of([UnknownView, Unavailable]), UnknownDay);
}

#[test]
fn a_part_of_a_tenants_figures_is_told_with_the_tenant() {
    let partial = |from, reason: &str| Coverage::Partial { from: LogSeq(from), reason: reason.to_owned() };
    let of = |tenant: &'static str, coverage: Coverage| {
        let mut figures = counted("2013-03-10", 3, DayState::Open);
        figures.days[0].coverage = coverage;
        (tenant, Ok::<_, Absent>(figures))
    };
    let capped = Coverage::Capped { from: LogSeq(9), reason: "a quota".to_owned() };
    let members = || vec![of("A", partial(4, "a trimmed log")), of("B", Coverage::Complete), of("C", capped.clone())];
    let covered = |members| unite(&asking(Query::default()), vec![part((7, 30), members)]).unwrap().coverage;
    assert_eq!(covered(members()[..2].to_vec()), partial(4, "tenant A: a trimmed log"));
    assert_eq!(covered(members()), Coverage::Capped { from: LogSeq(9), reason: "tenant C: a quota".to_owned() });
    // Beside one without figures, those that have a part of them are no less incomplete.
    let mut with_missing = members();
    with_missing.push(("D", absent(AskErrorCode::Unavailable, "no shard")));
    let Coverage::Missing { tenants } = covered(with_missing) else { panic!("D is missing") };
    let reasons: Vec<(&str, &str)> = tenants.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect();
    let expected = [
        ("A", "in part, from log position 4 on: a trimmed log"),
        ("C", "in part, no new groups from log position 9 on: a quota"),
        ("D", "no shard"),
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn closed_days_are_level_whatever_the_shards_do() {
    let part = part((7, 30), vec![("A", Ok(counted("2013-03-10", 3, DayState::Closed)))]);
    let answer = unite(&asking(Query::default()), vec![Totals { freshness_ms: 9, ..part }]).unwrap();
    assert_eq!((answer.day, answer.freshness_ms), (DayState::Closed, 0));
}
