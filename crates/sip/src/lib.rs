//! sip: see ARCHITECTURE.md.
