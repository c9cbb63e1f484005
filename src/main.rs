//! The entry: everything else is in the library.

fn main() -> std::process::ExitCode {
    polkafleet::cli::main()
}
