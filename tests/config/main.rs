//! The configuration from its text to its snapshot: faults and their wording, hostile files, names, files as people change them.

mod faults;
mod hostile;
mod names;
mod settings;
mod watch;
mod world;
