//! The `tollway` binary: hands the command line to `cli`.

/// Of memory that many streams hold for minutes, it takes only what they touch (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    tollway::cli::main()
}
