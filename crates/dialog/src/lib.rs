//! dialog: see ARCHITECTURE.md.
