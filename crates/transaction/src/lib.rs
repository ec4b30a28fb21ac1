//! transaction: see ARCHITECTURE.md.
