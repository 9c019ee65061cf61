//! Seeded mutations of inputs: a poor man's fuzzer that needs no instrumentation and gives the same inputs every time.

use daybook_random::Random;

/// Numbers at whose edges parsers go wrong.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, u64::MAX];
/// Most changes to one input: few leave much of it readable.
const MAX_CHANGES: usize = 4;
/// Longest piece that is doubled, moved or cut out, in bytes.
const MAX_PIECE: usize = 64;

/// One of `seeds`, changed in one to four places. There is at least one seed.
pub fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(MAX_CHANGES) {
        change(&mut input, seeds, random);
    }
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let rest = input.len() - at;
    let piece = random.below(rest.min(MAX_PIECE) + 1);
    match random.below(9) {
        0 if rest > 0 => input[at] ^= 1 << random.below(8),
        1 if rest > 0 => input[at] = random.next_u64() as u8,
        2 => input.insert(at, random.next_u64() as u8),
        3 => drop(input.drain(at..at + piece)),
        4 => input.truncate(at),
        5 => {
            let copy = input[at..at + piece].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, copy);
        }
        6 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let to = from + random.below((other.len() - from).min(MAX_PIECE) + 1);
            input.splice(at..at + piece, other[from..to].iter().copied());
        }
        7 => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            let width = [1, 2, 4, 8][random.below(4)].min(rest);
            input[at..at + width].copy_from_slice(&edge[8 - width..]);
        }
        _ => {
            let edge = EDGES[random.below(EDGES.len())].to_string();
            input.splice(at..at + piece.min(4), edge.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let seeds = [b"one".to_vec(), b"another".to_vec(), vec![]];
        let inputs = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| mutate(&seeds, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }
}
