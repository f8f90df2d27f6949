//! What the process holds and spends: bytes asked of the allocator, resident memory, processor time.

// A global allocator is an unsafe trait; this one counts and hands everything on.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::read_to_string;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use rustix::time::{ClockId, clock_gettime};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static HELD: AtomicI64 = AtomicI64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as i64, Relaxed);
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_add(size as i64 - layout.size() as i64, Relaxed);
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

/// A reading of the scales.
#[derive(Clone, Copy)]
pub struct Reading {
    /// Bytes that the program has asked for and not given back.
    pub asked: i64,
    /// Bytes of memory that the process has: the above, and what the allocator and unused pages add.
    pub resident: i64,
    /// How often the program has asked for memory.
    pub allocations: u64,
    /// Processor time of this thread, the only one, in nanoseconds.
    pub cpu_ns: u64,
}

impl Reading {
    /// As it stands now.
    pub fn now() -> Reading {
        // Both before anything is allocated to read the file.
        let (asked, allocations) = (HELD.load(Relaxed), CALLS.load(Relaxed));
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<i64>().ok());
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        let cpu_ns = spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64;
        Reading { asked, resident: kib.unwrap_or(0) * 1024, allocations, cpu_ns }
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Reading) -> Reading {
        Reading {
            asked: self.asked - earlier.asked,
            resident: self.resident - earlier.resident,
            allocations: self.allocations - earlier.allocations,
            cpu_ns: self.cpu_ns - earlier.cpu_ns,
        }
    }
}
