//! The museum of planted bugs: mistakes that this project could make, each behind a switch, so that the simulation
//! can show that it would have seen them.
//!
//! It is open only in builds with `--cfg banyan_museum`, and those keep their assertions. Everywhere else
//! [`planted`] is `false` before anything runs, so that the compiler leaves nothing of a planted bug. A cfg and
//! not a feature: features unify across a workspace, and one that plants bugs may not reach a build by accident.

mod plants;

pub use plants::PLANTS;

#[cfg(all(banyan_museum, not(debug_assertions)))]
compile_error!("planted bugs are for builds with debug assertions: the product holds none");

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plant {
    /// What the command line and the code call it.
    pub name: &'static str,
    /// What it does wrong.
    pub what: &'static str,
    /// Who ran into it, or which rule it breaks.
    pub lesson: &'static str,
    /// The seed that was the first to catch it, when it was last counted from 1.
    pub seed: u64,
}

/// Whether bugs can be planted in this build.
pub const IS_OPEN: bool = cfg!(banyan_museum);

/// Whether this bug is planted: asked at the place where the code would be wrong.
#[cfg(not(banyan_museum))]
#[inline(always)]
pub const fn planted(_: &str) -> bool {
    false
}

/// Whether this bug is planted: asked at the place where the code would be wrong.
#[cfg(banyan_museum)]
pub fn planted(name: &str) -> bool {
    CHOSEN.get().is_some_and(|chosen| *chosen == name)
}

/// Plants a bug, once and for the whole process; gives whether there is one of this name, and none before it.
#[cfg(banyan_museum)]
pub fn plant(name: &str) -> bool {
    named(name).is_some_and(|plant| CHOSEN.set(plant.name).is_ok())
}

/// Plants nothing: this build can't.
#[cfg(not(banyan_museum))]
pub const fn plant(_: &str) -> bool {
    false
}

/// The bug that is planted in this process, by its name.
pub fn chosen() -> Option<&'static str> {
    #[cfg(banyan_museum)]
    return CHOSEN.get().copied();
    #[cfg(not(banyan_museum))]
    None
}

/// A bug by its name.
pub fn named(name: &str) -> Option<&'static Plant> {
    PLANTS.iter().find(|plant| plant.name == name)
}

// Read by every machine of a process, and set before the first of them: an argument would change the signatures of
// the very code that is on show.
#[cfg(banyan_museum)]
static CHOSEN: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plant_has_a_name_of_its_own_and_is_found_by_it() {
        for (place, plant) in PLANTS.iter().enumerate() {
            assert_eq!(
                PLANTS.iter().position(|other| other.name == plant.name),
                Some(place),
                "{}",
                plant.name
            );
            assert_eq!(named(plant.name), Some(plant));
            assert!(
                plant.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{}",
                plant.name
            );
            assert!(!plant.what.is_empty() && !plant.lesson.is_empty(), "{}", plant.name);
        }
        assert_eq!(named("no-such-bug"), None);
    }

    #[test]
    fn nothing_is_planted_unless_somebody_plants_it() {
        assert!(PLANTS.iter().all(|plant| !planted(plant.name)));
        assert!(!plant("no-such-bug"));
    }
}
