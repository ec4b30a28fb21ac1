//! transport: see ARCHITECTURE.md.
