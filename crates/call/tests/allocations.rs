//! A whole call costs few allocations, and a call that is up holds little memory (architecture, Cost rules).

#![allow(unsafe_code)] // A counting allocator is an `unsafe impl`; this file tests nothing else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use trunk::settings::MediaMode;

mod course;
mod ladder;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain thread-local cells
// without destructors, which may be touched from an allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        HELD.with(|held| held.set(held.get() + layout.size() as isize));
        // SAFETY: the caller's layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - layout.size() as isize));
        // SAFETY: the block came from `System` with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, how often it allocated, and how many bytes it still holds.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, isize) {
    let (count, held) = (COUNT.with(Cell::get), HELD.with(Cell::get));
    let made = work();
    (made, COUNT.with(Cell::get) - count, HELD.with(Cell::get) - held)
}

#[test]
fn a_whole_call_allocates_seldom() {
    for mode in [MediaMode::Direct, MediaMode::Anchored] {
        let course = course::Course::new(mode);
        course.play(); // The script's own messages are shared from here on.
        let (sent, count, held) = measured(|| course.play());
        assert_eq!(sent, 7, "100, INVITE, 180, 200, ACK, BYE, 200");
        println!("{mode:?}: {count} allocations");
        assert!(count <= ALLOCATIONS_MAX, "{mode:?}: {count} allocations");
        assert_eq!(held, 0, "a call that is over holds nothing");
    }
}

#[test]
fn a_call_that_is_up_is_small() {
    for mode in [MediaMode::Direct, MediaMode::Anchored] {
        let course = course::Course::new(mode);
        let (call, _, held) = measured(|| Box::new(course.hold()));
        println!("{mode:?}: {} bytes inline, {held} in all", size_of_val(&*call));
        assert!(held <= BYTES_MAX, "{mode:?}: {held} bytes");
    }
}

const ALLOCATIONS_MAX: usize = 85;
const BYTES_MAX: isize = 4096;
