//! What differs between providers. `kind` is the data; the dialects stand beside it, a file each.

pub mod kind;

pub use kind::Kind;
