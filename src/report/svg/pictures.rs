//! Small pictures side by side, row by row.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::html;

use super::check;
use crate::Result;
use crate::report::chart::PictureRow;
use crate::report::visible::Shown;

/// Pictures of all rows together.
const PICTURES: usize = 1500;

pub(super) fn draw(title: &str, rows: &[PictureRow]) -> Result<String> {
    for (row, picture) in rows.iter().flat_map(|row| row.pictures.iter().map(move |p| (row, p))) {
        check(STANDARD.decode(&picture.png).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG")), || {
            format!("a picture of the row \"{}\" is no PNG file in base64", row.name)
        })?;
    }
    let all: usize = rows.iter().map(|r| r.pictures.len()).sum();
    let mut left = PICTURES;
    let drawn = html! {
        div class="pictures" role="group" aria-label=(Shown(title)) {
            dl {
                @for row in rows {
                    @let shown = row.pictures.len().min(left);
                    @if shown > 0 || row.pictures.is_empty() {
                        dt { (Shown(&row.name)) }
                        dd {
                            @for picture in &row.pictures[..shown] {
                                img src={ "data:image/png;base64," (picture.png) } alt=(Shown(&picture.note))
                                    title=(Shown(&picture.note)) width="48" height="48";
                            }
                        }
                    }
                    @let () = left -= shown;
                }
            }
            @if all == 0 { p class="note" { "nothing was measured" } }
            @if all > PICTURES { p class="note" { "The first " (PICTURES) " of " (all) " pictures are shown." } }
        }
    };
    Ok(drawn.0)
}
