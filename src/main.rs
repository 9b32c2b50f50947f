//! The `tollway` binary: hands the command line to `cli`.

fn main() {}
