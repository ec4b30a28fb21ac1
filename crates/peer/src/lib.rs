//! peer: see ARCHITECTURE.md.
