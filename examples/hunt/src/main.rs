//! The `hunt` command.

fn main() -> std::process::ExitCode {
    hunt::cli::main()
}
