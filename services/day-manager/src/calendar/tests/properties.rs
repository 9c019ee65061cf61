//! Tables of any rules: they cover time once, and growing them in pieces gives what building them at once does.

use super::super::nominal::Nominal;
use super::*;
use daybook_domain::calendar::DayClock;
use jiff::civil;
use proptest::prelude::*;

prop_compose! {
    /// Rules with changes crowded around one date, or spread over decades.
    fn any_rules(start: i32)(
        gaps in prop::collection::vec(prop_oneof![1..4, 1..400, 1..4000], 0..6),
        steps in prop::collection::vec((prop::sample::select(ZONES.as_slice()), 0..1440u16), 6),
        named_by in prop::sample::select(NamedBy::ALL.as_slice()),
    ) -> Vec<CalendarRule> {
        let mut from = Date::from_days(start);
        let mut rules = Vec::new();
        for (index, (zone, cutoff_minutes)) in steps.into_iter().take(gaps.len() + 1).enumerate() {
            rules.push(CalendarRule { from, zone, cutoff_minutes, named_by });
            from = from.plus(gaps.get(index).copied().unwrap_or(1));
        }
        rules
    }
}

/// 1970-01-01 to 2037-12-31.
const SPAN: std::ops::Range<i32> = 0..24_837;

/// The cut-off as its definition has it, looking much further back than needed.
fn slow_cutoff(rules: &[CalendarRule], date: Date) -> Instant {
    let nominal = |date: Date| {
        let rule = rules.iter().rev().find(|rule| rule.from <= date).unwrap_or(&rules[0]);
        let minutes = i64::from(rule.cutoff_minutes);
        let opens_on = if rule.named_by == NamedBy::Close { date.plus(-1) } else { date };
        let local = civil::Date::from(opens_on).to_datetime(civil::time(0, 0, 0, 0));
        let local = local.checked_add(jiff::Span::new().minutes(minutes)).unwrap();
        Instant::from(local.in_tz(&rule.zone).unwrap().timestamp())
    };
    (0..12).map(|back| nominal(date.plus(-back))).max().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_cover_time_exactly_once(
        (start, rules) in SPAN.prop_flat_map(|start| (Just(start), any_rules(start))),
        before in -400..400i32,
        length in 1..500i32,
        moments in prop::collection::vec(0.0..1.0, 20),
    ) {
        let first = Date::from_days(start + before);
        let through = Instant::from_millis(i64::from(start + before + length) * MILLIS_PER_DAY);
        let table = build(&rules, first, through);
        prop_assert!(table.cutoffs.is_sorted());
        prop_assert!(table.horizon() > through);
        for (index, cutoff) in table.cutoffs.iter().enumerate() {
            prop_assert_eq!(*cutoff, slow_cutoff(&rules, first.plus(index as i32)));
        }
        let edges = table.cutoffs.iter().flat_map(|cutoff| [-1, 0, 1].map(|d| cutoff.as_millis() + d));
        let width = (table.horizon().as_millis() - table.opens_at().as_millis()) as f64;
        let inside = moments.iter().map(|part| table.opens_at().as_millis() + (part * width) as i64);
        for moment in inside.chain(edges.step_by(7)).map(Instant::from_millis) {
            let holding = table.cutoffs.windows(2).enumerate();
            let holding: Vec<_> = holding.filter(|(_, day)| day[0] <= moment && moment < day[1]).collect();
            match table.day_at(moment) {
                Lookup::Before => prop_assert!(moment < table.opens_at()),
                Lookup::Beyond => prop_assert!(moment >= table.horizon()),
                Lookup::Day(day) => {
                    prop_assert_eq!(holding.len(), 1);
                    prop_assert_eq!(day.date, first.plus(holding[0].0 as i32));
                    prop_assert_eq!((day.opens_at, day.closes_at), (holding[0].1[0], holding[0].1[1]));
                    prop_assert_eq!(table.day(day.date), Some(day));
                    prop_assert_eq!(business_date(&rules, moment), Ok(day.date));
                    // Clocks show what they show in the zone of the day's rule.
                    let rule = rules.iter().rev().find(|rule| rule.from <= day.date).unwrap_or(&rules[0]);
                    let timestamp = jiff::Timestamp::from_millisecond(moment.as_millis()).unwrap();
                    let offset = zone(&rule.zone).unwrap().to_offset(timestamp).seconds();
                    let clock = DayClock { date: day.date, opens_at: day.opens_at, offsets: &table.offsets };
                    prop_assert_eq!(clock.offset_at(moment), i64::from(offset));
                }
            }
        }
    }

    #[test]
    fn growing_in_pieces_equals_building_at_once(
        (start, rules) in SPAN.prop_flat_map(|start| (Just(start), any_rules(start))),
        pieces in prop::collection::vec((-500..500i32, -500..1000i32), 1..8),
        known in 0..6usize,
    ) {
        let mut table: Option<CalendarTable> = None;
        for (first, through) in pieces {
            let first = Date::from_days(start + first);
            let through = Instant::from_millis(i64::from(start + through) * MILLIS_PER_DAY);
            // Later rules may become known late, as long as they are beyond what is published.
            let published = table.as_ref().map(|t| t.first.plus(t.cutoffs.len() as i32 - 1));
            let rules_then = match published {
                None => &rules[..known.clamp(1, rules.len())],
                Some(last) if agree_through(&rules[..known.clamp(1, rules.len())], &rules, last) => &rules[..],
                Some(_) => break,
            };
            let name = table_name(rules_then, &Name::new("system").unwrap());
            let grown = extend(table.as_ref(), &name, rules_then, first, through).unwrap();
            if let (Some(old), Some(new)) = (&table, &grown) {
                prop_assert_eq!(disagreement(old, new), None);
                let offset = old.first.days_since(new.first) as usize;
                prop_assert_eq!(&new.cutoffs[offset..offset + old.cutoffs.len()], &old.cutoffs[..]);
                // Rules that become known later are of later days.
                let inside = old.offsets.iter().filter(|offset| offset.from > old.opens_at());
                prop_assert!(inside.clone().all(|offset| new.offsets.contains(offset)));
                prop_assert_eq!(new.revision, if old.name == new.name { old.revision + 1 } else { 1 });
            }
            let now = grown.or(table).expect("built at first");
            prop_assert!(now.first <= first && now.horizon() > through);
            prop_assert!(now.day_from(first).is_some());
            for (index, cutoff) in now.cutoffs.iter().enumerate() {
                prop_assert_eq!(*cutoff, slow_cutoff(rules_then, now.first.plus(index as i32)));
            }
            prop_assert_eq!(extend(Some(&now), &name, rules_then, first, through), Ok(None));
            let at_once = Nominal::new(rules_then).unwrap().offsets(now.first, &now.cutoffs);
            prop_assert_eq!(&now.offsets, &at_once);
            table = Some(now);
        }
    }
}
