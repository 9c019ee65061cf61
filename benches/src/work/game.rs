//! A game: each tenant has a ranking of its members by their points of the day.

use super::{DAY_MS, Work};
use compact_str::{CompactString, format_compact};
use daybook_contracts::log::Event;
use daybook_domain::catalogue::Status;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_random::Random;

/// The view over points, and the columns of the kind.
pub const VIEW: &str = "ranking";
pub const DIMENSIONS: &[&str] = &["member"];
pub const MEASURES: &[&str] = &["points"];

const DEFINITIONS: &str = "
kinds:
  - name: score
    mode: fact
    dimensions: [member]
    measures: [points]
views:
  - name: ranking
    kind: score
    group_by: [member]
    metrics:
      - points: sum(points)
    ranking: points desc
";
/// Most points at once, so that many members have equally many.
const MOST: u64 = 1_000;

/// Games on `day` with so many members each, all of whom have points once.
pub fn beginning(sizes: &[usize], day: Date) -> Work {
    let mut random = Random::new(7);
    let members = sizes.iter().zip(0..).flat_map(|(size, game)| (0..*size).map(move |member| (game, member)));
    let events = members.map(|(game, member)| (game, points(member, day, &mut random))).collect();
    work(sizes, day, events)
}

/// So many more events, the same number for each game, of random members.
pub fn going_on(sizes: &[usize], day: Date, events: usize) -> Work {
    let mut random = Random::new(8);
    let event = |n: usize| {
        let game = n % sizes.len();
        (game as u32, points(random.below(sizes[game]), day, &mut random))
    };
    work(sizes, day, (0..events).map(event).collect())
}

fn work(sizes: &[usize], day: Date, events: Vec<(u32, Event)>) -> Work {
    Work {
        name: "game",
        definitions: DEFINITIONS.to_owned(),
        kind: Name::new("score").expect("a plain name"),
        tenants: sizes.iter().map(|size| TenantId::new(&format!("game-{size}")).expect("a plain id")).collect(),
        events,
        first_day: day,
    }
}

fn points(member: usize, day: Date, random: &mut Random) -> Event {
    Event {
        index: 0,
        date: day,
        at: Instant::from_millis(i64::from(day.as_days()) * DAY_MS),
        id: None,
        version: None,
        status: Status::Final,
        dims: vec![Some(member_name(member))].into(),
        measures: vec![Some(1 + random.below(MOST) as i64)].into(),
    }
}

/// The name of a game's member, from 0.
pub fn member_name(member: usize) -> CompactString {
    format_compact!("m{member}")
}
