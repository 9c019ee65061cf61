//! Positions and ranks. Positions are 1, 2, 3, … with dimensions deciding among equals; what rank equals share is up to
//! the tie rule. Two members are equal when all that the ranking is by is equal, and, where it counts, when they
//! reached it.

use daybook_domain::catalogue::Ties;

/// Where a member stands; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankPlace {
    pub position: u64,
    pub rank: u64,
}

/// Hands out places to members that come in order.
pub(crate) struct Places<'k> {
    ties: Ties,
    last: RankPlace,
    /// Of the last member; `None` before the first.
    score: Option<&'k [u8]>,
}

impl<'k> Places<'k> {
    /// Begins behind `before` members, with the next one's rank, as [`first_rank`] tells it.
    pub(crate) fn behind(ties: Ties, before: usize, rank: u64) -> Self {
        Self { ties, last: RankPlace { position: before as u64, rank }, score: None }
    }

    /// The place of the next member.
    pub(crate) fn next(&mut self, score: &'k [u8]) -> RankPlace {
        let position = self.last.position + 1;
        let rank = match (self.score, self.ties) {
            (None, _) => self.last.rank,
            (Some(_), Ties::Ordinal) => position,
            (Some(last), _) if last == score => self.last.rank,
            (Some(_), Ties::Competition) => position,
            (Some(_), Ties::Dense) => self.last.rank + 1,
        };
        self.score = Some(score);
        self.last = RankPlace { position, rank };
        self.last
    }
}

/// The rank of a member with `score`, when those before it have the scores `before`, in any order.
pub(crate) fn first_rank<'k>(ties: Ties, before: impl ExactSizeIterator<Item = &'k [u8]>, score: &[u8]) -> u64 {
    let better = match ties {
        Ties::Ordinal => before.len(),
        Ties::Competition => before.filter(|other| *other < score).count(),
        Ties::Dense => {
            let mut scores: Vec<_> = before.filter(|other| *other < score).collect();
            scores.sort_unstable();
            scores.dedup();
            scores.len()
        }
    };
    better as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [&[u8]; 5] = [b"a", b"b", b"b", b"b", b"c"];

    #[test]
    fn equals_share_what_the_rule_says() {
        for (ties, expected) in
            [(Ties::Competition, [1, 2, 2, 2, 5]), (Ties::Dense, [1, 2, 2, 2, 3]), (Ties::Ordinal, [1, 2, 3, 4, 5])]
        {
            for start in 0..SCORES.len() {
                // Those before in another order than theirs.
                let before = SCORES[..start].iter().rev().copied();
                let mut places = Places::behind(ties, start, first_rank(ties, before, SCORES[start]));
                for index in start..SCORES.len() {
                    let place = RankPlace { position: index as u64 + 1, rank: expected[index] };
                    assert_eq!(places.next(SCORES[index]), place, "{ties:?} from {start}");
                }
            }
        }
    }
}
