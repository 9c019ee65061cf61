//! Which challenges can ever open.

use super::Challenge;
use std::collections::BTreeSet;

/// Why a challenge can never open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It needs itself: the challenges of the circle, each opened by the next.
    Cycle(Vec<String>),
    /// Challenges that it needs can never open.
    Behind(Vec<String>),
}

/// The challenges that can never open, by their index, with the reason.
pub fn closed(challenges: &[Challenge]) -> Vec<(usize, Closed)> {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    loop {
        let next: Vec<&str> = challenges
            .iter()
            .filter(|challenge| !reached.contains(challenge.id.as_str()) && challenge.opens(|id| reached.contains(id)))
            .map(|challenge| challenge.id.as_str())
            .collect();
        if next.is_empty() {
            break;
        }
        reached.extend(next);
    }
    let is_closed = |id: &str| !reached.contains(id);
    challenges
        .iter()
        .enumerate()
        .filter(|(_, challenge)| is_closed(&challenge.id))
        .map(|(index, challenge)| {
            let needs = challenge.after.iter().filter(|id| is_closed(id)).cloned().collect();
            (index, cycle_from(challenge, challenges, &is_closed).map_or(Closed::Behind(needs), Closed::Cycle))
        })
        .collect()
}

/// The way from a challenge back to itself over closed ones, if there is one.
fn cycle_from(from: &Challenge, challenges: &[Challenge], is_closed: &impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let mut ways: Vec<Vec<&Challenge>> = vec![vec![from]];
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way.last()?;
        for id in last.after.iter().filter(|id| is_closed(id)) {
            if *id == from.id {
                return Some(way.iter().map(|challenge| challenge.id.clone()).collect());
            }
            if seen.insert(id)
                && let Some(next) = challenges.iter().find(|challenge| challenge.id == *id)
            {
                let mut longer = way.clone();
                longer.push(next);
                ways.push(longer);
            }
        }
    }
    None
}
