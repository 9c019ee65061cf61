use std::process::ExitCode;

fn main() -> ExitCode {
    daybook_runtime::process::main("day-manager", day_manager::run)
}
