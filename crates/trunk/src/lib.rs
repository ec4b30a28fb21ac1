//! trunk: see ARCHITECTURE.md.
