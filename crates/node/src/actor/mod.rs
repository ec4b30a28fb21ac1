//! The actors: root → one supervisor per trunk or gateway → calls and media sessions. Handlers pump
//! machines; none waits for another actor.

pub(crate) mod call;
pub(crate) mod media;
pub(crate) mod supervisor;
