# The everyday recipes; `just` lists them.

_default:
    @just --list --unsorted

# Five days of real flights through everything, every report checked
demo:
    cargo run --release -- demo

# Run the four services and a private broker, state kept in DATA
up DATA="daybook-data":
    cargo run --release -- up --data {{DATA}}

# Everything that must hold before a commit; CI runs fmt, lint and test
verify: fmt-check lint test docs

test:
    cargo test --workspace

lint:
    cargo clippy --workspace --all-targets -- -D warnings

fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The end-to-end tests only, with what they print
e2e FILTER="":
    cargo test -p daybook-tests {{FILTER}} -- --nocapture

# Simulates so many seeds under faults; a failing one is made small, with its trace and the command that repeats it
sim SEEDS="1000" FROM="0":
    cargo run -p daybook-simulation -- --seeds {{ trim_start_match(SEEDS, "SEEDS=") }} --seed {{ trim_start_match(FROM, "FROM=") }}

# Kills a process that commits checkpoints so many times, for each store, and shows what it left
torture KILLS="200" SEED="1":
    cargo run --release -p daybook-torture -- --kills {{ trim_start_match(KILLS, "KILLS=") }} --seed {{ trim_start_match(SEED, "SEED=") }}
