//! Reads what this process uses and what limits it, out of /proc and the control groups. Where there is neither, as on other
//! systems than Linux, nothing is known.

use super::{Limited, MemoryUse};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// A control group that the process belongs to, and the files that tell of its memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    files: &'static Files,
}

#[derive(Debug, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: pages of files that the kernel takes back before it kills.
    reclaimable: [&'static str; 2],
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};
const V2: Files = Files { limit: "memory.max", used: "memory.current", reclaimable: ["inactive_file", "active_file"] };

/// Where to read. A process keeps its control groups as a rule, but their limits may change, so those are read each time.
#[derive(Debug)]
pub(super) struct System {
    groups: Vec<Group>,
    /// Bytes of memory of the machine.
    machine: Option<u64>,
    /// A limit that the operator set.
    setting: Option<u64>,
}

impl System {
    pub(super) fn find(setting: Option<u64>) -> Self {
        let [own, mounts] =
            ["/proc/self/cgroup", "/proc/self/mountinfo"].map(|path| read_to_string(path).unwrap_or_default());
        let machine = read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemTotal:"));
        Self { groups: groups(&own, &mounts), machine, setting }
    }

    /// Of all limits the one that is nearest.
    pub(super) fn read(&self) -> Option<MemoryUse> {
        let own = read_to_string("/proc/self/status").ok().and_then(|status| resident(&status));
        let of_process = |limit: Option<u64>, limited_by| Some(MemoryUse { used: own?, limit: limit?, limited_by });
        let of_groups = self.groups.iter().filter_map(|group| group.read(self.machine));
        of_process(self.machine, Limited::Machine)
            .into_iter()
            .chain(of_process(self.setting, Limited::Setting))
            .chain(of_groups)
            .max_by_key(MemoryUse::thousandths)
    }
}

impl Group {
    /// `None` where it has no limit below the machine's memory.
    fn read(&self, machine: Option<u64>) -> Option<MemoryUse> {
        let number = |file: &str| read_to_string(self.folder.join(file)).ok()?.trim().parse::<u64>().ok();
        // v2 says `max` for none, v1 a number close to 2⁶³.
        let limit = number(self.files.limit).filter(|limit| machine.is_none_or(|machine| *limit < machine))?;
        let stat = read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let reclaimable: u64 = self.files.reclaimable.iter().filter_map(|name| field(&stat, name)).sum();
        let used = number(self.files.used)?.saturating_sub(reclaimable);
        Some(MemoryUse { used, limit, limited_by: Limited::Group })
    }
}

/// The control group of `/proc/self/cgroup` that accounts for memory and all of its ancestors, by `/proc/self/mountinfo`.
fn groups(own: &str, mounts: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let is_v1 = controllers.split(',').any(|controller| controller == "memory");
        if !is_v1 && number != "0" {
            continue;
        }
        let Some((root, point)) = mounts.lines().find_map(|line| mount(line, is_v1)) else { continue };
        // Inside a container the path may be the one outside; what is mounted is the container's own group then.
        let below = Path::new(path).strip_prefix(&root).map(|below| point.join(below)).ok();
        let folder = below.filter(|folder| folder.is_dir() || !point.is_dir()).unwrap_or_else(|| point.clone());
        let folders = folder.ancestors().take_while(|ancestor| ancestor.starts_with(&point));
        let files = if is_v1 { &V1 } else { &V2 };
        found.extend(folders.map(|folder| Group { folder: folder.to_owned(), files }));
    }
    found
}

/// Root and mount point of a line of mountinfo, if it mounts the control groups asked for.
fn mount(line: &str, is_v1: bool) -> Option<(PathBuf, PathBuf)> {
    let (mount, source) = line.split_once(" - ")?;
    let mut source = source.split(' ');
    let kind = source.next()?;
    let is_wanted = match is_v1 {
        true => kind == "cgroup" && source.next_back()?.split(',').any(|option| option == "memory"),
        false => kind == "cgroup2",
    };
    let mut fields = mount.split(' ').skip(3);
    is_wanted.then_some((PathBuf::from(fields.next()?), PathBuf::from(fields.next()?)))
}

/// Bytes of this process that no file stands behind: what the kernel cannot take back.
fn resident(status: &str) -> Option<u64> {
    let anonymous = kibibytes(status, "RssAnon:")?;
    Some(anonymous + kibibytes(status, "RssShmem:").unwrap_or_default())
}

/// The value of `name  123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(own: &str, mounts: &str) -> Vec<(String, &'static str)> {
        let groups = groups(own, mounts);
        groups.into_iter().map(|group| (group.folder.to_str().unwrap().to_owned(), group.files.limit)).collect()
    }

    #[test]
    fn all_ancestors_of_the_control_group_count() {
        let v2 = "41 31 0:38 / /no/where rw,relatime - cgroup2 cgroup2 rw";
        let found = folders("0::/a/b.scope\n", v2);
        let expected = ["/no/where/a/b.scope", "/no/where/a", "/no/where"];
        assert_eq!(found, expected.map(|folder| (folder.to_owned(), "memory.max")));
        let v1 = "35 31 0:32 /docker/x /no/memory rw - cgroup cgroup rw,memory\n31 1 0:3 / /no/cpu rw - cgroup cgroup rw,cpu";
        let found = folders("9:name=systemd:/\n4:cpu,memory:/docker/x/y\n1:cpu:/\n0::/\n", v1);
        let expected = ["/no/memory/y", "/no/memory"];
        assert_eq!(found, expected.map(|folder| (folder.to_owned(), "memory.limit_in_bytes")));
        assert_eq!(folders("4:memory:/elsewhere\n", v1), [("/no/memory".to_owned(), "memory.limit_in_bytes")]);
        assert_eq!(folders("nothing\n0::/a\n", "nor here"), []);
    }

    #[test]
    fn a_group_is_read_without_what_the_kernel_takes_back() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("memory.max", "1000\n");
        write("memory.current", "900\n");
        write("memory.stat", "anon 5\ninactive_file 100\nactive_file 50\n");
        let group = Group { folder: folder.path().to_owned(), files: &V2 };
        let expected = MemoryUse { used: 750, limit: 1000, limited_by: Limited::Group };
        assert_eq!(group.read(Some(4000)), Some(expected));
        assert_eq!(group.read(Some(1000)), None, "the machine has no more");
        write("memory.max", "max\n");
        assert_eq!(group.read(Some(4000)), None);
    }

    #[test]
    fn the_nearest_limit_counts() {
        let status = "VmRSS:\t 5 kB\nRssAnon:\t     3 kB\nRssFile: 9 kB\nRssShmem:\t 1 kB\n";
        assert_eq!((resident(status), resident("VmRSS: 5 kB\n")), (Some(4096), None));
        if !cfg!(target_os = "linux") {
            return;
        }
        let small = System::find(Some(64 << 20)).read().unwrap();
        let all = System::find(None).read().unwrap();
        assert!(small.used > 0 && all.used > 0 && small.thousandths() >= all.thousandths(), "{small:?} {all:?}");
    }
}
