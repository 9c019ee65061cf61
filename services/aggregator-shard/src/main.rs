use std::process::ExitCode;

fn main() -> ExitCode {
    daybook_runtime::process::main("aggregator-shard", aggregator_shard::run)
}
