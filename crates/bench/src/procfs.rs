//! CPU time and memory of processes, from Linux's `/proc`. The crate `procfs` would keep
//! the workspace from compiling on macOS.

use std::fs;

use crate::Result;

/// Ticks of `/proc/PID/stat` a second: fixed by Linux's interface on every architecture we build.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds (user and system) used so far by a process, its descendants, and their children that
/// have ended.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let mut ticks = 0;
    for id in tree(process) {
        // if it has ended since it was listed, its parent's next sample includes it
        if let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) {
            ticks += ticks_of(&stat).ok_or("/proc/PID/stat has no times")?;
        } else if id == process {
            return Err(format!("process {process} is gone").into());
        }
    }
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// CPU seconds of this process alone, without its children.
pub(crate) fn own_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let times = times_of(&stat).ok_or("/proc/self/stat has no times")?;
    Ok((times[0] + times[1]) as f64 / TICKS_PER_SECOND)
}

/// CPU seconds of this process's children that have ended and were waited for.
pub(crate) fn ended_children_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let times = times_of(&stat).ok_or("/proc/self/stat has no times")?;
    Ok((times[2] + times[3]) as f64 / TICKS_PER_SECOND)
}

/// The peak memory of a process, in bytes (`VmHWM`).
pub(crate) fn peak_memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| format!("no VmHWM of process {process}"))? << 10)
}

/// The memory of a process and its descendants now, in bytes; shared pages count once (`Pss`).
pub(crate) fn tree_memory(process: u32) -> Result<u64> {
    let shares = tree(process).into_iter().map(|id| {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let share = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        share.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    // a process that has ended since it was listed holds none
    match shares.flatten().sum::<u64>() << 10 {
        0 => Err(format!("no memory of process {process}").into()),
        bytes => Ok(bytes),
    }
}

/// A process and all its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&id) = found.get(next) {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next += 1;
    }
    found
}

fn ticks_of(stat: &str) -> Option<u64> {
    times_of(stat).map(|times| times.iter().sum())
}

/// `utime`, `stime`, `cutime` and `cstime`. The name before them may hold spaces and parentheses.
fn times_of(stat: &str) -> Option<[u64; 4]> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map_while(|field| field.parse().ok());
    Some([times.next()?, times.next()?, times.next()?, times.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_after_a_name_with_spaces_and_parentheses() {
        let stat = "7 (post) gres: (x) S 1 7 7 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 1 0 99";
        assert_eq!(times_of(stat), Some([11, 12, 13, 14]));
    }

    #[test]
    fn this_process_uses_memory_and_cpu() {
        let id = std::process::id();
        assert!(peak_memory(id).expect("VmHWM") > 0);
        assert!(tree_memory(id).expect("Pss") > 0);
        assert!(cpu_seconds(id).expect("times") >= 0.0);
    }
}
