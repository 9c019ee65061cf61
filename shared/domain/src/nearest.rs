//! Which word was meant: for hints in error messages.

/// The candidate that `text` was most likely meant to be: at most a third of its characters differ, letter case aside.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = text.to_lowercase().chars().collect();
    let allowed = (wanted.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(wanted.len()) <= allowed)
        .map(|candidate| (edit_distance(&wanted, &candidate.to_lowercase()), candidate))
        // A single letter is one edit away from every other: only another case of it is meant.
        .filter(|&(distance, _)| distance <= allowed && distance < wanted.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: fewest insertions, deletions and replacements, row by row.
fn edit_distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_seen_and_another_word_is_not() {
        let keys = ["id", "zone", "cutoff", "grace", "first_day"];
        assert_eq!(nearest("cutof", keys), Some("cutoff"));
        assert_eq!(nearest("Zone", keys), Some("zone"));
        assert_eq!(nearest("firstday", keys), Some("first_day"));
        assert_eq!(nearest("owner", keys), None);
        assert_eq!(nearest("x", keys), None);
        assert_eq!(nearest("", keys), None);
    }

    #[test]
    fn the_nearest_name_is_close_indeed() {
        let names = ["arr_delay", "dep_delay", "carrier", "x"];
        assert_eq!(nearest("arr_dela", names), Some("arr_delay"));
        assert_eq!(nearest("ARR_DELAY", names), Some("arr_delay"));
        assert_eq!(nearest("arr_dealy", names), Some("arr_delay"));
        assert_eq!(nearest("carier", names), Some("carrier"));
        assert_eq!(nearest("distance", names), None);
        assert_eq!(nearest("y", names), None);
        assert_eq!(nearest("X", names), Some("x"));
        assert_eq!(nearest("", names), None);
    }
}
