//! The nearest known word to one that is not known.

use crate::field::clip;
use crate::visit::Complaint;

/// The known word that is nearest to `word`, and whether it is near enough to be what was meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<(&'k str, bool)> {
    // The distance of a very long word would take its time, and it is near to nothing.
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&word, &known.to_lowercase());
    let best = known.iter().copied().min_by_key(|candidate| (distance(candidate), *candidate))?;
    let near = distance(best) <= (best.len() / 3).max(1) || (word.len() > 3 && best.contains(word.as_str()));
    Some((best, near))
}

/// A hint that names the nearest known word.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some((best, true)) => format!("did you mean `{best}`?"),
        Some((best, false)) => format!("the nearest known is `{best}`"),
        None => String::new(),
    }
}

/// A key that the table does not have.
pub(crate) fn unknown_key(key: &str, table: &str, known: &[&str]) -> Complaint {
    let place = if table.is_empty() { String::new() } else { format!(" in {table}") };
    Complaint::new(format!("unknown key `{}`{place}", clip(key)), &hint(key, known))
}

/// A word that is none of those that a key takes.
pub(crate) fn no_such_word(word: &str, known: &[&str]) -> Complaint {
    let all: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    let list = match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => all.join(""),
    };
    let hint = match nearest(word, known) {
        Some((best, true)) => format!("did you mean `{best}`?"),
        _ => String::new(),
    };
    Complaint::new(format!("`{}` is not {list}", clip(word)), &hint)
}
