//! Colours. Series take the hues of Okabe and Ito (Color Universal Design, 2008), which people of every kind of colour
//! vision tell apart, darker on white and lighter on black where the originals would be faint. Values take one of [`LEVELS`] steps of two scales that are straight lines in OKLCH
//! (Ottosson, "A perceptual color space for image processing", 2020): lightness follows the value, so the order
//! survives a grey printer and colour blindness. Markup names a step (`q12`, `d40`); the style sheet says which colour
//! it is in the light and in the dark.

use std::fmt::Write;

/// Steps of a scale; odd, so that a diverging scale has a middle.
pub(in crate::report) const LEVELS: usize = 65;
/// Colours of series.
pub(super) const SERIES: usize = 6;

const LIGHT: [&str; SERIES] = ["#0072b2", "#d55e00", "#00805d", "#b5508f", "#b97a00", "#3f97cc"];
const DARK: [&str; SERIES] = ["#56b4e9", "#f0824a", "#2fc49a", "#e39cc4", "#e8b13c", "#f0e442"];

/// The colour variables of the light theme, or of the dark one, as declarations.
pub(in crate::report) fn variables(dark: bool) -> String {
    let mut out = String::new();
    for (i, colour) in if dark { DARK } else { LIGHT }.iter().enumerate() {
        let _ = write!(out, "--s{i}:{colour};");
    }
    for level in 0..LEVELS {
        let _ = write!(out, "--q{level}:{};--d{level}:{};", sequential(level, dark), diverging(level, dark));
    }
    out
}

/// One rule per series and per step: which variable it takes.
pub(in crate::report) fn rules() -> String {
    let mut out = String::new();
    for i in 0..SERIES {
        let _ = write!(out, ".s{i}{{--c:var(--s{i})}}");
    }
    for level in 0..LEVELS {
        let _ = write!(out, ".q{level}{{--c:var(--q{level})}}.d{level}{{--c:var(--d{level})}}");
    }
    out
}

/// The least value lies near the page, the largest far from it: light to dark on white, dark to light on black.
fn sequential(level: usize, dark: bool) -> String {
    let t = level as f64 / (LEVELS - 1) as f64;
    let t = if dark { 1.0 - t } else { t };
    let (lightness, hue) = (0.965 - 0.665 * t, 108.0 + 162.0 * t);
    let chroma = 0.12 * (std::f64::consts::PI * (0.06 + 0.82 * t)).sin();
    hex(lightness, chroma, hue)
}

/// Blue below zero, red above it, the page's own grey at zero.
fn diverging(level: usize, dark: bool) -> String {
    let middle = (LEVELS / 2) as f64;
    let t = (level as f64 - middle) / middle;
    let (centre, end) = if dark { (0.27, 0.74) } else { (0.965, 0.47) };
    let (hue, chroma) = if t < 0.0 { (252.0, 0.13) } else { (32.0, 0.15) };
    hex(centre + (end - centre) * t.abs(), chroma * t.abs().powf(0.8), hue)
}

/// OKLCH to sRGB; what lies outside is cut off.
fn hex(lightness: f64, chroma: f64, hue: f64) -> String {
    let (a, b) = (chroma * hue.to_radians().cos(), chroma * hue.to_radians().sin());
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548 * b).powi(3);
    let red = 4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s;
    let green = -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s;
    let blue = -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s;
    let byte = |c: f64| {
        let c = c.clamp(0.0, 1.0);
        let c = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
        (c * 255.0).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", byte(red), byte(green), byte(blue))
}
