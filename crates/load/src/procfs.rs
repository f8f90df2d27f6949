//! What a process has spent, from Linux' `/proc`: processor time in steps of ten milliseconds, and memory
//! that is in use. Asked twice, the difference is what the time between has cost.

use std::io;

/// What a process has spent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu_s: f64,
    /// Resident memory (VmRSS).
    pub memory_bytes: u64,
}

impl Usage {
    /// Asks for a process; `self` is a name too.
    pub fn of(process: &str) -> io::Result<Usage> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{process}/stat cannot be read"));
        let ticks = ticks(&stat).ok_or_else(bad)?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Usage { cpu_s: ticks as f64 / per_second as f64, memory_bytes: memory_bytes(&status).unwrap_or(0) })
    }
}

/// User and system time of a `stat` line. The program's name, in brackets, may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn memory_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 170 30 5 6 20 0 3 0 1";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("42 (a) S 1"), None);
        assert_eq!(memory_bytes("Name:\ta\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert!(Usage::of("self").unwrap().memory_bytes > 0);
        assert!(Usage::of("0").is_err());
    }
}
