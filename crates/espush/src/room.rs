//! How many devices this machine's limits allow, told at start: open files and memory decide, whichever ends
//! first. An estimate for people; nothing is refused because of it.

use std::fs;

use model::limits::FILES_BESIDE;

/// What a device that is connected takes here, in bytes: about 4,200 of the kernel for the socket, and what
/// docs/en/performance.md measures for the program itself, rounded up.
const BYTES_PER_DEVICE: u64 = 4_200 + 1_000;

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The most open files of this process.
    files: u64,
    /// Bytes of memory that are free, if that is known.
    memory: Option<u64>,
}

impl Room {
    /// On this machine, with `files` open files at most.
    pub fn here(files: u64) -> Room {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let free = available(&text("/proc/meminfo"));
        let granted = text("/sys/fs/cgroup/memory.max").trim().parse().ok();
        Room { files, memory: free.into_iter().chain(granted).min() }
    }

    /// Devices that may be connected at once.
    fn devices(self) -> u64 {
        self.by_files().min(self.by_memory().unwrap_or(u64::MAX))
    }

    fn by_files(self) -> u64 {
        files_of_devices(self.files)
    }

    fn by_memory(self) -> Option<u64> {
        self.memory.map(|bytes| bytes / BYTES_PER_DEVICE)
    }

    /// A sentence for the start.
    pub fn told(self) -> String {
        let devices = count(self.devices());
        match self.by_memory() {
            Some(memory) if memory < self.by_files() => {
                format!("room for about {devices} devices at once: memory is what ends first")
            }
            Some(memory) => format!(
                "room for about {devices} devices at once: the limit of open files is {} (ulimit -n), memory would do for {}",
                count(self.files),
                count(memory)
            ),
            None => {
                format!("room for about {devices} devices at once: the limit of open files is {} (ulimit -n)", count(self.files))
            }
        }
    }
}

/// How many of `files` open files devices may use.
pub fn files_of_devices(files: u64) -> u64 {
    files - FILES_BESIDE.min(files / 4)
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A number for people: no more digits than are known, and in groups of three.
fn count(number: u64) -> String {
    let unit = 10u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(2));
    let digits = (number / unit * unit).to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_first_is_named() {
        let told = |files, memory| Room { files, memory }.told();
        assert_eq!(
            told(20_000, Some(12_000_000_000)),
            "room for about 19,900 devices at once: the limit of open files is 20,000 (ulimit -n), memory would do for 2,300,000"
        );
        assert_eq!(told(1_048_576, Some(600_000_000)), "room for about 115,000 devices at once: memory is what ends first");
        assert_eq!(told(50, None), "room for about 38 devices at once: the limit of open files is 50 (ulimit -n)");
    }

    #[test]
    fn numbers_are_for_people() {
        let all = [0, 7, 999, 1_234, 98_765, 1_234_567].map(count);
        assert_eq!(all, ["0", "7", "999", "1,230", "98,700", "1,230,000"]);
    }

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(available("MemTotal:  8 kB\nMemAvailable:   2048 kB\n"), Some(2_097_152));
        assert_eq!(available("MemTotal: 8 kB\n"), None);
    }
}
