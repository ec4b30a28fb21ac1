//! The media relay.
