//! The word that was probably meant.

/// Jaro-Winkler similarity from which a suggestion helps more than it misleads.
const SIMILARITY_MIN: f64 = 0.8;

/// Words of neighbouring tools, and ours for the same thing.
const SYNONYMS: [(&str, &str); 29] = [
    ("loss", "drop"),
    ("lose", "drop"),
    ("latency", "delay"),
    ("lag", "delay"),
    ("corruption", "corrupt"),
    ("duplication", "duplicate"),
    ("dup", "duplicate"),
    ("percent", "probability"),
    ("percentage", "probability"),
    ("variation", "jitter"),
    ("corr", "correlation"),
    ("reordering", "reorder"),
    ("bandwidth", "rate"),
    ("throughput", "rate"),
    ("rate", "bandwidth"),
    ("limit", "queue"),
    ("trace", "replay"),
    ("repeat", "loop"),
    ("1_h", "one_minus_h"),
    ("1_k", "one_minus_k"),
    ("gilbert", "gemodel"),
    ("ge", "gemodel"),
    ("markov", "state"),
    ("source", "src"),
    ("destination", "dst"),
    ("sport", "src_port"),
    ("dport", "dst_port"),
    ("port", "dst_port"),
    ("ipv4", "ip"),
];

/// Returns the candidate closest to `word`, if any is close.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace(['-', ' '], "_");
    let synonym = SYNONYMS
        .iter()
        .find(|(theirs, _)| *theirs == word)
        .map(|(_, ours)| *ours);
    candidates
        .iter()
        .map(|candidate| (similarity(&word, candidate, synonym), *candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Returns all candidates, the closest to `word` first.
pub(crate) fn by_similarity<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut candidates: Vec<&str> = candidates.collect();
    let similarity = |candidate: &str| strsim::jaro_winkler(word, candidate);
    candidates.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
    candidates
}

fn similarity(word: &str, candidate: &str, synonym: Option<&str>) -> f64 {
    if synonym == Some(candidate) {
        return 1.0;
    }
    strsim::jaro_winkler(word, &candidate.replace('-', "_"))
}

/// Writes words for a sentence: `a`, `b` and `c`, each in backticks.
pub(crate) fn list(words: &[&str], conjunction: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {conjunction} {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["name", "drop", "delay", "corrupt"];

    #[test]
    fn slips_of_the_finger_are_understood() {
        for (slip, meant) in [("dealy", "delay"), ("Drop", "drop"), ("corupt", "corrupt")] {
            assert_eq!(nearest(slip, &KEYS), Some(meant));
        }
        assert_eq!(
            nearest("dst-port", &["dst", "src_port", "dst_port"]),
            Some("dst_port")
        );
    }

    #[test]
    fn words_of_other_tools_are_understood() {
        assert_eq!(nearest("loss", &KEYS), Some("drop"));
        assert_eq!(nearest("latency", &KEYS), Some("delay"));
    }

    #[test]
    fn nothing_is_suggested_for_a_word_unlike_any() {
        assert_eq!(nearest("banana", &KEYS), None);
        assert_eq!(nearest("", &KEYS), None);
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        assert_eq!(list(&["a"], "or"), "`a`");
        assert_eq!(list(&["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
