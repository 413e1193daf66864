//! CPU time, memory and open files of this process, under the names that Prometheus' client libraries
//! share. Read from `/proc`; on systems other than Linux all stay at zero. The `prometheus` crate's
//! own collector counts CPU time in whole seconds, and needs a second version of `rustix`.

use std::fs;

use producer_telemetry::metrics::Metrics;
use prometheus::{Counter, Gauge, IntGauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

pub(super) struct ProcessMetrics {
    cpu: Counter,
    resident: IntGauge,
    virtual_size: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    start: Gauge,
}

impl ProcessMetrics {
    pub(super) fn new(group: &Metrics) -> Self {
        let cpu = Counter::new("process_cpu_seconds_total", "CPU time used, user and system");
        let cpu = cpu.expect("a constant name that is valid");
        group.register(cpu.clone());
        Self {
            cpu,
            resident: group.gauge("process_resident_memory_bytes", "Memory in RAM"),
            virtual_size: group.gauge("process_virtual_memory_bytes", "Address space"),
            open_files: group.gauge("process_open_fds", "Open files and sockets"),
            max_files: group.gauge("process_max_fds", "Files and sockets that may be open"),
            start: group.fractional_gauge("process_start_time_seconds", "Start, as Unix time"),
        }
    }

    /// Reads the values again. Not to be called concurrently.
    pub(super) fn refresh(&self) {
        let Some(usage) = Usage::read() else { return };
        let more = usage.cpu_seconds - self.cpu.get();
        if more > 0.0 {
            self.cpu.inc_by(more);
        }
        self.resident.set(usage.resident);
        self.virtual_size.set(usage.virtual_size);
        self.open_files.set(usage.open_files);
        self.start.set(usage.start);
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.max_files.set(i64::try_from(most).unwrap_or(i64::MAX));
    }
}

struct Usage {
    cpu_seconds: f64,
    resident: i64,
    virtual_size: i64,
    open_files: i64,
    start: f64,
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // the name before it may hold spaces, and ends with the last parenthesis
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // numbered from 1 as in proc_pid_stat(5); the first behind the name is the third
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let ticks = clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            resident: (field(24)? * page_size() as f64) as i64,
            virtual_size: field(23)? as i64,
            open_files: i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()? - 1,
            start: boot_time()? + field(22)? / ticks,
        })
    }
}

/// Unix time at which the system started.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
