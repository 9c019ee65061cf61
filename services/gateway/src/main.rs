use std::process::ExitCode;

fn main() -> ExitCode {
    daybook_runtime::process::main("gateway", gateway::run)
}
