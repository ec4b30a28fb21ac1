//! syscall: see ARCHITECTURE.md.
