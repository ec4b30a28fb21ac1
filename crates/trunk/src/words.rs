//! Enumerations whose values have a name in configuration files.

/// Declares an enumeration together with the word that each value has in files, and the list of all words.
///
/// The stored form is serde's positional one; the word is for people only.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $crate::Word for $name {
            const ALL: &'static [$name] = &[$($name::$variant),+];

            fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::Word::word(*self))
            }
        }
    };
}

pub(crate) use words;

/// A value that configuration files name by a word.
pub trait Word: Copy + Sized + 'static {
    /// Every value, in the order in which documents list them.
    const ALL: &'static [Self];

    /// The value's word.
    fn word(self) -> &'static str;

    /// The value that has this word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }
}
