//! Writes the seeds of a fuzz target into a folder, for libFuzzer to begin with: `fuzz-seeds TARGET FOLDER`.

use anyhow::Context;
use daybook_fuzzing::{Target, targets};
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(folder)) = (arguments.next(), arguments.next()) else {
        let names = targets::ALL.map(|target| target.name).join(", ");
        anyhow::bail!("use: fuzz-seeds TARGET FOLDER; the targets are {names}");
    };
    let target = Target::find(&name).with_context(|| format!("there is no target {name}"))?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    for (index, seed) in (target.seeds)().into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{index:03}")), seed)?;
    }
    Ok(())
}
