//! Parsing an INVITE, reading what a call needs and writing the onward one costs no allocation.

#![allow(unsafe_code)] // A counting allocator is an `unsafe impl`; this file tests nothing else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

mod support;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain thread-local cell
// without a destructor, which may be touched from an allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `System` with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn an_invite_is_parsed_and_rewritten_without_allocating() {
    assert_eq!(support::INVITE.len(), 862);
    let mut out = Vec::with_capacity(2048);
    let count = allocations(|| support::rewrite(support::INVITE.as_bytes(), &mut out).expect("well formed"));
    assert_eq!(count, 0);
    // The counter counts: the twin of the line above.
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0u8; 100]))), 1);

    let onward = sip::Message::parse(&out, sip::Framing::Datagram).expect("what we write, we read");
    assert_eq!(onward.max_forwards(), Ok(Some(68)));
    assert_eq!(onward.body().len(), 225);
    assert_eq!(onward.length(), out.len());
}

#[test]
fn judging_and_answering_an_invite_allocates_nothing_either() {
    let mut out = Vec::with_capacity(2048);
    let source = "192.0.2.17:5060".parse().expect("an address");
    let count = allocations(|| {
        let message =
            sip::Message::parse(support::INVITE.as_bytes(), sip::Framing::Datagram).expect("well formed");
        let verdict = sip::verdict::request(&message, &sip::verdict::Rules::default());
        assert_eq!(verdict, sip::verdict::Verdict::Accept);
        sip::response_to(&mut out, &message, 180, b"", Some(b"1f"), source).end();
    });
    assert_eq!(count, 0);
}
