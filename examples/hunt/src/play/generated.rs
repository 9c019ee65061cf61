//! A hunt from a seed, for demonstrations, load and tests: the seed is also the key.

use crate::rules::time_text;
use daybook_random::Random;
use std::fmt::Write as _;

/// A hunt to be made up.
#[derive(Clone, Debug)]
pub struct HuntPlan {
    pub hunt: String,
    pub seed: u64,
    pub challenges: usize,
    pub start: i64,
    pub end: i64,
    /// The public ranking stands still for the last tenth.
    pub freezes: bool,
    /// At most 5 attempts for a challenge within 10 s.
    pub bounds_attempts: bool,
}

/// The right answer to a challenge of a generated hunt.
pub fn answer(seed: u64, challenge: &str) -> String {
    let hash = blake3::hash(format!("{seed}.{challenge}").as_bytes());
    format!("word {}", &hash.to_hex()[..8])
}

/// The rules in YAML, with clear answers.
pub fn yaml(plan: &HuntPlan) -> String {
    let mut random = Random::new(plan.seed);
    let freeze = plan.end - (plan.end - plan.start) / 10;
    let freeze = if plan.freezes { format!("freeze: {}\n", time_text(freeze)) } else { String::new() };
    let attempts = if plan.bounds_attempts { "attempts: { count: 5, within: 10s }\n" } else { "" };
    let mut text = format!(
        "hunt: {}\nname: Generated hunt {}\nstart: {}\nend: {}\n{freeze}{attempts}challenges:\n",
        plan.hunt,
        plan.seed,
        time_text(plan.start),
        time_text(plan.end),
    );
    let id = |index: usize| format!("c{index:02}");
    // A third is open from the start.
    let open = plan.challenges.div_ceil(3).max(1);
    for index in 0..plan.challenges {
        let points = 50 + 10 * random.below(20_i64);
        let answer = answer(plan.seed, &id(index));
        let _ = write!(
            text,
            "- {{ id: {}, answer: {{ normalised: \"{answer}\" }}, points: {points}, first: [30, 20, 10]",
            id(index)
        );
        match random.below(3_u32) {
            0 => drop(write!(text, ", decay: {{ by: 2, each: solver, to: 20 }}")),
            1 => drop(write!(text, ", decay: {{ by: 5, each: 5s, to: 10 }}")),
            _ => {}
        }
        if index >= open {
            let first = random.below(index);
            let second = random.below(index);
            let of = 1 + random.below(2_usize);
            match first == second {
                true => drop(write!(text, ", after: [{}]", id(first))),
                false => drop(write!(text, ", after: [{}, {}], of: {of}", id(first), id(second))),
            }
        }
        text.push_str(", hints: [{ text: \"Think again.\", price: 5 }] }\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::read::read;
    use std::path::Path;

    #[test]
    fn generated_rules_are_sound_and_their_key_is_known() {
        for seed in 0..50 {
            let plan = HuntPlan {
                hunt: "h".to_owned(),
                seed,
                challenges: 1 + seed as usize,
                start: 0,
                end: 60_000,
                freezes: true,
                bounds_attempts: true,
            };
            let rules = read(Path::new("r"), &yaml(&plan), &mut || "salt".to_owned()).unwrap();
            assert_eq!(rules.challenges.len(), plan.challenges);
            assert!(rules.challenges.iter().all(|challenge| challenge.accepts(&answer(seed, &challenge.id))));
        }
    }
}
