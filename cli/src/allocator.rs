//! The command's allocator: what is freed is overwritten, up to the size that a key can be in.
//!
//! What others leave in a buffer (TLS, HTTP, age) may be a key or the form that one travels in. Blocks over [`WIPED`] are the frames of
//! streams, which carry ciphertext: overwriting those costs a fifth of a small read.

// Whoever decides by size which of two allocators a block goes to has to be one.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// The largest block that is overwritten, in bytes.
const WIPED: usize = 64 * 1024;

/// mimalloc, which made raw streams half again as fast as the system's allocator; blocks of up to 64 KiB are overwritten when freed.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: each block is mimalloc's, whichever of the two it is asked through, and goes back to it with the layout that it came with.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match layout.size() {
            ..=WIPED => unsafe { ZeroAlloc(MiMalloc).dealloc(block, layout) },
            _ => unsafe { MiMalloc.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match layout.size() {
            ..=WIPED => unsafe { ZeroAlloc(MiMalloc).realloc(block, layout, size) },
            _ => unsafe { MiMalloc.realloc(block, layout, size) },
        }
    }
}
