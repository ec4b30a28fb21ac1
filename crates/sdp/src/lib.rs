//! sdp: see ARCHITECTURE.md.
