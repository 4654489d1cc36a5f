//! The one test binary: tests through the public interface, one module per room.

mod store;
