use std::process::ExitCode;

fn main() -> ExitCode {
    daybook_runtime::process::main("ingest", ingest::run)
}
