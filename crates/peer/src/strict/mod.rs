//! The strict generator.
