//! A Hugging Face folder from a trained organism.
