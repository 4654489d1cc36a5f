//! Networks for images: convolution, known networks, edits.

mod images;
mod labels;
mod networks;
mod scenes;
