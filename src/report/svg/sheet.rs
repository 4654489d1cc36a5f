//! The sheet on which a chart is drawn: a list of SVG elements. Plotters lays out axes, ticks and labels and maps
//! values to places; it writes here through its backend trait, and the marks are written beside it. Every element
//! names a class instead of a colour, and every mark says its value in a `<title>`.

use std::cell::RefCell;
use std::convert::Infallible;

use maud::{Markup, PreEscaped, html};
use plotters::style::RGBColor;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
};

use crate::report::visible::{Shown, columns};

/// Plotters counts whole pixels; a sheet has this many of them per pixel of the page.
pub(super) const FINE: i32 = 10;
/// Width of every sheet.
pub(super) const WIDTH: f64 = 720.0;
/// Size of the letters.
pub(super) const LETTER: f64 = 11.5;

/// What Plotters draws itself: its colours are these classes' numbers.
const CLASSES: [&str; 4] = ["grid", "axis", "label", "name"];
pub(super) const GRID: RGBColor = RGBColor(0, 0, 0);
pub(super) const AXIS: RGBColor = RGBColor(1, 0, 0);
pub(super) const LABEL: RGBColor = RGBColor(2, 0, 0);
pub(super) const NAME: RGBColor = RGBColor(3, 0, 0);

/// A growing drawing.
pub(super) struct Sheet {
    height: f64,
    body: RefCell<String>,
}

impl Sheet {
    /// An empty sheet.
    pub fn new(height: f64) -> Self {
        Self { height, body: RefCell::new(String::new()) }
    }

    /// Adds an element.
    pub fn put(&self, element: Markup) {
        self.body.borrow_mut().push_str(&element.0);
    }

    /// The `<svg>`, with what it shows for those who do not see it.
    pub fn finish(&self, label: &str) -> String {
        let view = format!("0 0 {WIDTH} {}", Length(self.height));
        html! {
            svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox=(view) width=(WIDTH) height=(Length(self.height))
                role="img" aria-label=(Shown(label)) { (PreEscaped(self.body.take())) }
        }
        .0
    }
}

/// A length with one digit after the point.
#[derive(Clone, Copy)]
pub(super) struct Length(pub f64);

impl std::fmt::Display for Length {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round();
        if tenths % 10.0 == 0.0 { write!(f, "{:.0}", tenths / 10.0 + 0.0) } else { write!(f, "{:.1}", tenths / 10.0) }
    }
}

impl maud::Render for Length {
    fn render_to(&self, buffer: &mut String) {
        use std::fmt::Write;
        let _ = write!(buffer, "{self}");
    }
}

/// How wide a text is, about: fonts differ.
pub(super) fn text_width(text: &str) -> f64 {
    columns(text) as f64 * LETTER * 0.56
}

/// Text at a place: `anchor` is `start`, `middle` or `end`; `turn` degrees around the place.
pub(super) fn text(class: &str, (x, y): (f64, f64), anchor: &str, turn: f64, words: &str) -> Markup {
    let turn = (turn != 0.0).then(|| format!("rotate({} {} {})", Length(turn), Length(x), Length(y)));
    html! {
        text class=(class) x=(Length(x)) y=(Length(y)) text-anchor=(anchor) transform=[turn] { (Shown(words)) }
    }
}

/// A rectangle that says its value.
pub(super) fn rect(class: &str, (x, y): (f64, f64), (width, height): (f64, f64), words: &str) -> Markup {
    html! {
        rect class=(class) x=(Length(x)) y=(Length(y)) width=(Length(width)) height=(Length(height)) {
            title { (Shown(words)) }
        }
    }
}

/// The sheet as Plotters sees it.
pub(super) struct Pen<'a>(pub &'a Sheet);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

fn px(fine: i32) -> Length {
    Length(f64::from(fine) / f64::from(FINE))
}

fn class(colour: BackendColor) -> Option<&'static str> {
    if colour.alpha == 0.0 { None } else { CLASSES.get(usize::from(colour.rgb.0)).copied() }
}

impl DrawingBackend for Pen<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let fine = f64::from(FINE);
        ((WIDTH * fine) as u32, (self.0.height * fine) as u32)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, colour: BackendColor) -> Drawn {
        self.draw_line(at, at, &colour)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        if let Some(class) = class(style.color()) {
            self.0.put(html! { line class=(class) x1=(px(from.0)) y1=(px(from.1)) x2=(px(to.0)) y2=(px(to.1)) {} });
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let points: Vec<BackendCoord> = path.into_iter().collect();
        points.windows(2).try_for_each(|pair| self.draw_line(pair[0], pair[1], style))
    }

    fn draw_text<S: BackendTextStyle>(&mut self, words: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        let Some(class) = class(style.color()) else { return Ok(()) };
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        let turn: f64 = match style.transform() {
            FontTransform::None => 0.0,
            FontTransform::Rotate90 => 90.0,
            FontTransform::Rotate180 => 180.0,
            FontTransform::Rotate270 => -90.0,
        };
        // The line on which letters stand lies below the point, measured along the turned text.
        let down = match style.anchor().v_pos {
            VPos::Top => 0.8 * LETTER,
            VPos::Center => 0.35 * LETTER,
            VPos::Bottom => -0.25 * LETTER,
        };
        let (sin, cos) = turn.to_radians().sin_cos();
        let at = (px(x).0 - sin * down, px(y).0 + cos * down);
        self.0.put(text(class, at, anchor, turn, words));
        Ok(())
    }
}
