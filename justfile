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

# Fuzzes one target for so many seconds, on a nightly compiler; docs/FUZZING.md has the targets
fuzz TARGET SECONDS="60":
    cargo run -p daybook-fuzzing -- {{TARGET}} fuzz/corpus/{{TARGET}}
    mkdir -p fuzz/corpus-seeds/{{TARGET}}
    cargo +nightly fuzz run {{TARGET}} fuzz/corpus/{{TARGET}} fuzz/corpus-seeds/{{TARGET}} -- -max_total_time={{ trim_start_match(SECONDS, "SECONDS=") }}

# Kills, pauses, cuts and full disks for so many minutes: separate processes on three brokers, checked at the end
chaos MINUTES="10" SEED="1":
    cargo build --workspace
    cargo run -p daybook-chaos -- --minutes {{ trim_start_match(MINUTES, "MINUTES=") }} --seed {{ trim_start_match(SEED, "SEED=") }}

# Measures one part (apply, durable, live, day-end, recovery, backfill) or all of them; tables go to target/bench.md and target/bench.json
bench PART="all":
    cargo build --release -p day-manager -p ingest -p aggregator-shard -p query
    cargo run --release -p daybook-benches -- {{PART}} --out target/bench

# Daybook and others on the same work: PostgreSQL, Redis and ClickHouse where they are installed; with --dbsp DBSP, which builds long
bench-peers *OPTIONS:
    cargo run --release -p daybook-benches -- peers {{OPTIONS}} --out target/bench-peers

# Ratios of Daybook to a bare loop and to the broker alone, in under two minutes once built; fails below a floor
bench-quick:
    cargo run --release -p daybook-benches -- quick

# Builds the images of deploy/, runs the secured compose file with podman, without a registry; checks, kills, pauses, restarts
containers:
    cargo build -p day-manager -p ingest -p aggregator-shard -p query -p daybook
    deploy/local/run.sh

# The same in short: the flights, who may read what, one kill of each; skipped with the reason where podman cannot be had
containers-short:
    cargo build -p day-manager -p ingest -p aggregator-shard -p query -p daybook
    deploy/local/run.sh short
