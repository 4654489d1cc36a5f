//! The program's allocator, and how long it keeps what was freed.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc.h, which its bindings do not name.
const PURGE_DELAY: mi_option_t = 15;
/// Milliseconds.
const KEPT: std::ffi::c_long = 30_000;

/// Keeps freed memory for half a minute. Activations come and go with every pass; memory that the system hands out anew
/// is cleared first, which costs as much as a third of a pass that records everything. The environment variable
/// `MIMALLOC_PURGE_DELAY` says otherwise.
///
/// For the first line of `main`, of a program whose global allocator is [`Allocator`].
pub fn keep_freed() {
    // SAFETY: the option is one of the allocator's, and no other thread is there to set it.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT) };
}
