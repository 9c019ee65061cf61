# The everyday recipes; `just` lists them.

_default:
    @just --list --unsorted

# Five days of real flights through everything, every report checked
demo:
    cargo run --release -- demo

# Run all services and a private broker, state kept in DATA
up DATA="daybook-data":
    cargo run --release -- up --data {{DATA}}

# Everything that must hold before a commit; CI runs fmt, lint and test
verify: fmt-check lint test docs deny

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

# Licences, sources and versions of dependencies, by deny.toml; with ADVISORIES=advisories known weaknesses too, which are fetched
deny ADVISORIES="":
    command -v cargo-deny > /dev/null || cargo install --locked cargo-deny
    cargo deny --workspace check licenses bans sources {{ trim_start_match(ADVISORIES, "ADVISORIES=") }}

# The end-to-end tests only, with what they print
e2e FILTER="":
    cargo test -p daybook-tests {{FILTER}} -- --nocapture

# Looks at every page of the console in headless Chromium; skipped with the reason where there is none
console PICTURES="target/console":
    cargo build -p daybook
    tests/console/run.sh target/debug/daybook {{PICTURES}} || test $? -eq 77

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

# Measures one part (`--help` lists them) or all of them; tables go to target/bench.md and target/bench.json
bench PART="all":
    cargo build --profile dist -p daybook -p day-manager -p ingest -p aggregator-shard -p query
    cargo run --profile dist -p daybook-benches -- {{PART}} --out target/bench

# Daybook and others on the same work: PostgreSQL, Redis and ClickHouse where they are installed; with --dbsp DBSP, which builds long
bench-peers *OPTIONS:
    cargo run --profile dist -p daybook-benches -- peers {{OPTIONS}} --out target/bench-peers

# Ratios of Daybook to a bare loop and to the broker alone, in under two minutes once built; fails below a floor
bench-quick:
    cargo run --profile dist -p daybook-benches -- quick

# Builds the images of deploy/, runs the secured compose file with podman, without a registry; checks, kills, pauses, restarts
containers:
    cargo build -p day-manager -p ingest -p aggregator-shard -p query -p connect -p gateway -p daybook
    deploy/local/run.sh

# The same in short: the flights, who may read what, one kill of each; skipped with the reason where podman cannot be had
containers-short:
    cargo build -p day-manager -p ingest -p aggregator-shard -p query -p connect -p gateway -p daybook
    deploy/local/run.sh short

# A treasure hunt of 500 players in a minute, every score checked; its board stays open
hunt:
    cargo build --release -p daybook
    cargo run --release -p hunt -- demo

# Looks at the pages of the hunt in headless Chromium; skipped with the reason where there is none
hunt-look PICTURES="target/hunt":
    cargo build -p daybook -p hunt
    examples/hunt/look/run.sh target/debug/hunt {{PICTURES}} || test $? -eq 77

# The same hunt on Flask with SQLite and with PostgreSQL, and on examples/hunt
bench-hunt PLAYERS="500" TEAMS="50" SECONDS="60" THINK="5":
    cargo build --release -p daybook -p hunt
    benches/peers/hunt/run.sh target/release/hunt {{PLAYERS}} {{TEAMS}} {{SECONDS}} {{THINK}}

# Event handlers that write straight to a store, and Daybook, with overload and crashes (benches/peers/handlers)
bench-handlers *OPTIONS:
    cargo build --release -p daybook
    benches/peers/handlers/run.sh target/release/daybook {{OPTIONS}}
