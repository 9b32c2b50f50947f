//! The bank against a real Redis.
