use std::process::ExitCode;

fn main() -> ExitCode {
    daybook_runtime::process::main("connect", connect::run_alone)
}
