//! How much memory the steps of a build can use together.

use std::fs;
use std::path::{Path, PathBuf};

/// Gives the bytes of memory that this process and its children may use: the machine's, or less where a control group says so. All there
/// are if that is unknown.
pub fn of_machine() -> u64 {
    limit(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

/// Gives the bytes that steps may use of what there is: osier itself and the rest of the machine keep a sixteenth, at least 256 MiB and
/// at most 4 GiB, but never more than a quarter. Nothing where it is not known what there is.
pub(crate) fn of_steps(all: u64) -> Option<u64> {
    let reserve = (all / 16).clamp(256 << 20, 4 << 30).min(all / 4);
    (all != u64::MAX).then_some(all - reserve)
}

fn limit(proc: &Path, groups: &Path) -> u64 {
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let machine = in_machine(&text(proc.join("meminfo"))).unwrap_or(u64::MAX);
    let mut least = machine;
    for line in text(proc.join("self/cgroup")).lines() {
        // `0::/path` in the one hierarchy of version 2, `4:memory:/path` in the memory hierarchy of version 1; see cgroups(7).
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (top, file) = match controllers {
            "" => (groups.to_path_buf(), "memory.max"),
            "memory" => (groups.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let own = top.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&top)) {
            // No limit is the word `max`, or a number beyond every machine's.
            let bytes = text(folder.join(file)).trim().parse().unwrap_or(u64::MAX);
            least = least.min(bytes);
        }
    }
    least
}

fn in_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_machine_and_groups_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = || limit(&folder.path().join("proc"), &folder.path().join("groups"));
        assert_eq!(limit(), u64::MAX);
        write("proc/meminfo", "MemTotal:       2048 kB\nMemFree:  1 kB\n");
        assert_eq!(limit(), 2 << 20);
        write("proc/self/cgroup", "0::/user.slice/build\n");
        assert_eq!(limit(), 2 << 20);
        write("groups/user.slice/build/memory.max", "max\n");
        write("groups/user.slice/memory.max", "1048576\n");
        assert_eq!(limit(), 1 << 20);
        write("groups/memory.max", "4096\n");
        assert_eq!(limit(), 4096);
        write("proc/self/cgroup", "5:cpu:/x\n4:memory:/y\n");
        assert_eq!(limit(), 2 << 20);
        write("groups/memory/y/memory.limit_in_bytes", "9223372036854771712\n");
        write("groups/memory/memory.limit_in_bytes", "8192\n");
        assert_eq!(limit(), 8192);
    }

    #[test]
    fn some_is_left_for_the_rest_of_the_machine() {
        let of_mib = |all: u64| of_steps(all << 20).map(|bytes| bytes >> 20);
        assert_eq!(
            [512, 2048, 24 << 10, 1 << 20].map(of_mib),
            [Some(384), Some(1792), Some(23040), Some(1_044_480)]
        );
        assert_eq!(of_steps(u64::MAX), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!((1 << 24..u64::MAX).contains(&of_machine()));
    }
}
