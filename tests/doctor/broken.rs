//! Broken
