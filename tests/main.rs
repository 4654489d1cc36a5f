//! All integration tests, in one binary: they use the public API only.

mod nn;
