//! Which header fields pass from one leg to the other.

use crate::settings::Headers;

impl Headers {
    /// Whether a received header field may pass. `name` may be compact, and may end in blanks (I-38).
    pub fn passes(&self, name: &str) -> bool {
        !is_hidden(name)
    }
}

/// Whether a header field belongs to one leg alone, or shows our inside: it never passes.
pub fn is_hidden(_name: &str) -> bool {
    false
}
