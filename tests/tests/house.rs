//! The files of a crate form no circle: of two files, at most one needs the other, directly or through others. So a reader can go
//! through them in one direction.
//!
//! A file and the files in the folder of the same name are one room: they may need each other.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file by its path of modules; the crate's own file is the empty path.
type Module = Vec<String>;

/// Circles that are still there, each by its crate and one of its files. Take out what has been opened; put nothing in.
const STILL_THERE: [(&str, &str); 1] = [("shared/machine", "tenant")];

#[test]
fn no_files_need_each_other() {
    let mut found = BTreeSet::new();
    for (name, folder) in crates() {
        for circle in circles(&needs(&folder.join("src"))) {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            let known = STILL_THERE.iter().find(|(at, file)| *at == name && names.iter().any(|name| name == file));
            match known {
                Some(known) => drop(found.insert(known)),
                None => panic!("these files of {name} need each other: {}", names.join(", ")),
            }
        }
    }
    let opened: Vec<_> = STILL_THERE.iter().filter(|known| !found.contains(known)).collect();
    assert!(opened.is_empty(), "these circles are opened, so take them out of the list: {opened:?}");
}

#[test]
fn a_circle_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod one;\nmod two;\nmod three;\n");
    write("one.rs", "use crate::{three::Third, other::{self, Thing}};\nmod part;\nuse part::Part;\n");
    write("one/part.rs", "use super::One;\n// use crate::two::Two;\n");
    write("two.rs", "fn two() { crate::one::one(); }\n#[cfg(test)]\nmod tests { use crate::three::Third; }\n");
    write("three.rs", "use std::fmt;\n");
    assert!(circles(&needs(folder.path())).is_empty());
    write("three.rs", "use super::two;\n");
    let circle = circles(&needs(folder.path()));
    assert_eq!(circle, [["one", "three", "two"].map(|name| vec![name.to_owned()])]);
}

/// The crates of the workspace, by their folders.
fn crates() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let names = members.split('"').skip(1).step_by(2);
    names.map(|name| (name.to_owned(), root.join(name))).filter(|(_, folder)| folder.join("src").exists()).collect()
}

/// What each file needs of the others.
fn needs(folder: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut texts = BTreeMap::new();
    read(folder, &Vec::new(), &mut texts);
    let modules: BTreeSet<Module> = texts.keys().cloned().collect();
    let needed = |module: &Module, text: &str| {
        let targets = paths(text, module).into_iter().filter_map(|path| {
            (0..=path.len()).rev().map(|length| path[..length].to_vec()).find(|path| modules.contains(path))
        });
        // What stands above a file is its own room.
        targets.filter(|target| !module.starts_with(target)).collect()
    };
    texts.iter().map(|(module, text)| (module.clone(), needed(module, text))).collect()
}

fn read(folder: &Path, above: &Module, texts: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut module = above.clone();
        if !matches!(stem.as_str(), "lib" | "main" | "mod") {
            module.push(stem.clone());
        }
        if stem == "tests" {
            continue;
        }
        if path.is_dir() {
            read(&path, &module, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.entry(module).or_default().push_str(&product(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The text without comments and tests.
fn product(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// Every path of the crate that stands in the text of a module.
fn paths(text: &str, module: &Module) -> Vec<Module> {
    let children: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix("mod ")
        })
        .filter_map(|rest| rest.strip_suffix(';'))
        .collect();
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        let before = rest[..at].chars().next_back();
        let word: &str = rest[at..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        let behind = &rest[at + word.len()..];
        let is_first = before.is_none_or(|before| !matches!(before, ':' | '.'));
        if is_first && behind.starts_with("::") {
            let start = match word {
                "crate" => Some(Vec::new()),
                "self" => Some(module.clone()),
                "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
                child if children.contains(&child) => Some([module.clone(), vec![child.to_owned()]].concat()),
                _ => None,
            };
            if let Some(start) = start {
                tree(start, &behind[2..], &mut found);
            }
        }
        rest = behind;
    }
    found
}

/// The paths of a tree such as `a::{b, c::d}`, whose text begins here; returns how much of the text it takes.
fn tree(mut path: Module, text: &str, found: &mut Vec<Module>) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            while !text[at..].starts_with('}') && at < text.len() {
                let step = tree(path.clone(), &text[at..], found);
                at += step.max(1);
            }
            return at + 1;
        }
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += word.len();
        match word.as_str() {
            "" | "self" => {}
            "super" => drop(path.pop()),
            _ => path.push(word.clone()),
        }
        if word.is_empty() || !text[at..].starts_with("::") {
            if !word.is_empty() {
                found.push(path);
            }
            return at;
        }
        at += 2;
    }
}

/// The circles, each in order.
fn circles(needs: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reached = |from: &Module| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = waiting.pop() {
            let next = needs.get(&module).into_iter().flatten();
            waiting.extend(next.filter(|next| seen.insert((*next).clone())).cloned());
        }
        seen
    };
    let reaches: BTreeMap<&Module, BTreeSet<Module>> = needs.keys().map(|module| (module, reached(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, seen) in &reaches {
        let circle: Vec<Module> = seen
            .iter()
            .filter(|other| reaches.get(other).is_some_and(|seen| seen.contains(*module)))
            .cloned()
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}
