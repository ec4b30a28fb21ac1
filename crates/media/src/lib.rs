//! media: see ARCHITECTURE.md.
