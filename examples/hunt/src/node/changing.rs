//! What concerns the whole hunt: other rules, and the reveal of the ranking. A change is appended only behind the rules of which it
//! was made, so that of two changes at once none is lost. What Daybook has defined follows from the log.

use super::carrying::{append_for_all, catch_up};
use super::daybook::Daybook;
use super::{Node, clock, state};
use crate::game::{Decision, Record, Refusal, Reply, World};
use crate::rules::MAX_ANSWERS;
use crate::rules::Rules;
use crate::rules::answer::{Answer, Hashed, normalised};
use crate::rules::changes::{changed_keys, check_freeze};
use std::sync::Arc;

fn bad(what: impl Into<String>) -> Refusal {
    Refusal::Bad { what: what.into() }
}

/// Puts other rules of this hunt into force, in place of those that are in force now; returns the challenges whose key changed.
///
/// # Errors
/// When they are those of another hunt, take back what was promised, or Daybook cannot have them; [`Refusal::RulesChanged`] when
/// others came first; and when the broker does not confirm.
pub async fn put_rules(node: &Node, rules: Rules) -> Result<Vec<String>, Refusal> {
    if rules.hunt != node.hunt {
        return Err(bad(format!("these are the rules of {}, not of {}", rules.hunt, node.hunt)));
    }
    let (before, is_revealed) = {
        let world = node.world();
        (world.rules.clone(), world.is_revealed)
    };
    if let Some(before) = before.as_deref().filter(|_| !is_revealed) {
        check_freeze(before, &rules, clock::now()).map_err(bad)?;
    }
    let daybook = Daybook::new(&node.client, &node.hunt);
    if let Some(refused) = daybook.define(&rules, true).await.map_err(|error| bad(format!("{error:#}")))? {
        return Err(bad(format!("Daybook refuses the definitions of the hunt: {refused}")));
    }
    let changed = before.as_ref().map(|before| changed_keys(before, &rules)).unwrap_or_default();
    append_for_all(node, |world| replace(world, before.as_ref(), &rules, clock::now())).await?;
    Ok(changed)
}

/// Puts rules in the place of those of which they were made.
fn replace(world: &World, before: Option<&Arc<Rules>>, rules: &Rules, now: i64) -> Decision {
    match &world.rules {
        Some(present) if **present == *rules => Decision::Done(Reply::Ok),
        present if present.as_ref() != before => Decision::Refuse(Refusal::RulesChanged),
        _ => Decision::Append(Record::Rules { rules: Box::new(rules.clone()), at: now }),
    }
}

/// Takes another answer for right, from the start.
///
/// # Errors
/// When there is no such challenge, or it cannot have the answer; and when the broker does not confirm.
pub async fn mend(node: &Node, challenge: &str, answer: &str, salt: &str) -> Result<(), Refusal> {
    append_for_all(node, |world| mended(world, challenge, answer, salt, clock::now())).await
}

/// Adds an answer to the rules that are in force, whatever they are.
fn mended(world: &World, challenge: &str, answer: &str, salt: &str, now: i64) -> Decision {
    let Some(rules) = world.rules.as_deref() else { return Decision::Refuse(Refusal::NoHunt) };
    let mut rules = rules.clone();
    let Some(found) = rules.challenges.iter_mut().find(|known| known.id == challenge) else {
        return Decision::Refuse(bad("there is no such challenge"));
    };
    if found.accepts(answer) {
        return Decision::Done(Reply::Ok);
    }
    let text = normalised(answer);
    if text.is_empty() {
        return Decision::Refuse(bad("the answer has no letter and no digit"));
    }
    if found.answers.len() >= MAX_ANSWERS {
        return Decision::Refuse(bad(format!("a challenge has at most {MAX_ANSWERS} answers")));
    }
    found.answers.push(Answer::Normalised(Hashed::of(&text, salt)));
    Decision::Append(Record::Rules { rules: Box::new(rules), at: now })
}

/// Shows the public ranking in full again.
///
/// # Errors
/// When the broker does not confirm.
pub async fn reveal(node: &Node) -> Result<(), Refusal> {
    append_for_all(node, |world| match world.is_revealed {
        true => Decision::Done(Reply::Ok),
        false => Decision::Append(Record::Revealed { at: clock::now() }),
    })
    .await
}

/// Defines in Daybook what the rules of the log say, unless that was done; returns their position. Every process that publishes does
/// so first, hence a process that ends between the log and Daybook leaves nothing undone.
///
/// # Errors
/// When the broker or Daybook does not answer.
pub async fn define(node: &Node) -> anyhow::Result<u64> {
    let mut is_again = false;
    loop {
        let (at, rules) = {
            let world = node.world();
            (world.rules_at, world.rules.clone())
        };
        let Some(rules) = rules else { return Ok(0) };
        if !is_again && state::defined(&node.bucket).await? >= at {
            return Ok(at);
        }
        if let Some(refused) = Daybook::new(&node.client, &node.hunt).define(&rules, false).await? {
            // It took them when they were checked; since then something else changed, and asking again would not help.
            tracing::error!(%refused, "Daybook refuses the definitions of the rules that are in force; apply them by hand");
        }
        // Others may have come meanwhile, and another process may have been faster with those: they must be defined last.
        is_again = true;
        catch_up(node).await;
        if node.world().rules_at == at {
            state::note_defined(&node.bucket, at).await?;
            return Ok(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::read::read;
    use std::path::Path;

    fn rules(more: &str) -> Rules {
        let text = format!(
            "hunt: h\nname: H\nstart: 1970-01-01T00:00:01Z\nend: 1970-01-01T01:00:00Z\n\
             challenges: [{{ id: a, answer: {{ exact: x }}, points: 1 }}{more}]"
        );
        read(Path::new("r"), &text, &mut || "salt".to_owned()).unwrap()
    }

    fn append(world: &mut World, decide: impl FnOnce(&World) -> Decision) {
        let decision = decide(world);
        let Decision::Append(record) = decision else { panic!("{decision:?}") };
        world.apply(world.position + 1, None, record);
    }

    #[test]
    fn of_two_changes_at_once_none_is_lost() {
        let mut world = World::default();
        append(&mut world, |world| replace(world, None, &rules(""), 1));
        let before = world.rules.clone();
        let other = rules(", { id: b, answer: { exact: y }, points: 2 }");
        // Two answers are mended, and a file was made of the rules before: the file would take the answers back.
        append(&mut world, |world| mended(world, "a", "one", "s1", 2));
        append(&mut world, |world| mended(world, "a", "two", "s2", 2));
        assert_eq!(replace(&world, before.as_ref(), &other, 3), Decision::Refuse(Refusal::RulesChanged));
        let accepts =
            |world: &World, answer: &str| world.rules.as_ref().unwrap().challenge("a").unwrap().accepts(answer);
        assert!(["x", "one", "two"].iter().all(|answer| accepts(&world, answer)));
        // Made of those in force, it replaces them; sent again, it is done.
        let before = world.rules.clone();
        append(&mut world, |world| replace(world, before.as_ref(), &other, 4));
        assert_eq!(replace(&world, before.as_ref(), &other, 5), Decision::Done(Reply::Ok));
        // Two hunts made at once are one.
        assert_eq!(replace(&world, None, &rules(""), 6), Decision::Refuse(Refusal::RulesChanged));
    }

    #[test]
    fn an_answer_is_mended_once() {
        let mut world = World::default();
        append(&mut world, |world| replace(world, None, &rules(""), 1));
        append(&mut world, |world| mended(world, "a", "One!", "s1", 2));
        assert_eq!(mended(&world, "a", "one", "s2", 2), Decision::Done(Reply::Ok));
        assert!(matches!(mended(&world, "a", "?!", "s", 2), Decision::Refuse(Refusal::Bad { .. })));
        assert!(matches!(mended(&world, "z", "x", "s", 2), Decision::Refuse(Refusal::Bad { .. })));
    }
}
