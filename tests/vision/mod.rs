//! Networks for images: convolution, known networks, edits.

mod images;
mod networks;
mod scenes;
