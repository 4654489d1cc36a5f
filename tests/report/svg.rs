//! Charts as SVG: every mark with its value, nothing left out in silence, the same bytes every time.

use optrode::report::chart::{Axis, Bars, Chart, Labels, Line, Plot, Scale, TokenRow};
use optrode::report::svg::{render, style};

use super::sample::{self, chart, line, names};

fn all() -> Vec<Chart> {
    vec![
        sample::lines(),
        sample::bars(),
        sample::heat(Scale::Sequential),
        sample::heat(Scale::Diverging),
        sample::attention(),
        sample::histogram(),
        sample::tokens(),
    ]
}

fn lines(x: Axis, y: Axis, series: Vec<Line>) -> Chart {
    chart("t", "", Plot::Lines { x, y, series })
}

fn heat(values: Vec<Vec<f64>>, scale: Scale) -> Chart {
    let side = |n| Labels { name: "n".into(), items: names("", n) };
    let (rows, columns) = (side(values.len()), side(values.first().map_or(0, Vec::len)));
    chart("t", "", Plot::Heat { rows, columns, values, unit: "u".into(), scale })
}

fn bars(y: Axis, values: Vec<f64>) -> Chart {
    let categories = names("c", values.len());
    chart("t", "", Plot::Bars { y, categories, series: vec![Bars { name: String::new(), values, intervals: vec![] }] })
}

/// Values of an attribute, in order.
fn attributes<'a>(svg: &'a str, element: &str, name: &str) -> Vec<&'a str> {
    let of = |tag: &'a str| tag.split_once(&format!(" {name}=\""))?.1.split_once('"').map(|v| v.0);
    let tags = svg.split('<').filter_map(|t| t.strip_prefix(element)).filter(|t| t.starts_with([' ', '>']));
    tags.filter_map(|tag| of(tag.split('>').next()?)).collect()
}

fn titles(svg: &str) -> Vec<&str> {
    svg.split("<title>").skip(1).map(|t| t.split_once("</title>").unwrap().0).collect()
}

/// Every element is closed, in order: what a page needs so that one drawing cannot swallow the next.
fn well_formed(markup: &str) -> Result<(), String> {
    let mut open = Vec::new();
    for tag in markup.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').ok_or_else(|| format!("no end: {tag}"))?;
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(name) if open.last() == Some(&name) => drop(open.pop()),
            Some(name) => return Err(format!("</{name}> closes {open:?}")),
            None if ["wbr", "br"].contains(&name) => {}
            None => open.push(name),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("left open: {open:?}")) }
}

#[test]
fn every_point_has_a_mark_that_says_its_value() {
    let svg = render(&sample::lines()).unwrap();
    let circles = attributes(&svg, "circle", "cx");
    assert_eq!(circles.len(), 8 + 9 + 2, "one of nine points was not measured");
    let titles = titles(&svg);
    assert_eq!(titles.len(), circles.len());
    assert!(titles.contains(&"another token: 0.35 (0.32 to 0.38) at 4"), "{titles:?}");
    assert!(titles.contains(&"chance: 0.05 at 8"), "{titles:?}");
    assert_eq!(svg.matches("class=\"line s0 dash0\" d=").count(), 2, "the gap parts the curve");
    assert_eq!(svg.matches("class=\"band s0 dash0\"").count(), 2, "and its band");
}

#[test]
fn marks_stand_where_the_values_are() {
    let points = vec![(0.0, 0.0), (1.0, 5.0), (2.0, 10.0)];
    let y = Axis::new("y").range(0.0, 10.0);
    let svg = render(&lines(Axis::new("x").range(0.0, 2.0), y, vec![line("", points, 0.0)])).unwrap();
    let place = |name| attributes(&svg, "circle", name).iter().map(|v| v.parse::<f64>().unwrap()).collect::<Vec<_>>();
    let (x, y) = (place("cx"), place("cy"));
    assert!((x[0] + x[2] - 2.0 * x[1]).abs() <= 0.2 && x[2] > x[0] + 300.0, "{x:?}");
    assert!((y[0] + y[2] - 2.0 * y[1]).abs() <= 0.2 && y[2] < y[0] - 150.0, "{y:?}");
    let log = Axis { name: "x".into(), log: true, range: Some((1.0, 100.0)) };
    let points = vec![(1.0, 1.0), (10.0, 1.0), (100.0, 1.0)];
    let svg = render(&lines(log, Axis::new("y"), vec![line("", points, 0.0)])).unwrap();
    let x: Vec<f64> = attributes(&svg, "circle", "cx").iter().map(|v| v.parse().unwrap()).collect();
    assert!((x[0] + x[2] - 2.0 * x[1]).abs() <= 0.2 && x[2] > x[0] + 300.0, "decades are equally long: {x:?}");
}

#[test]
fn bars_are_as_high_as_their_values() {
    let svg = render(&bars(Axis::new("y"), vec![2.0, 4.0, -2.0, f64::NAN, 0.0])).unwrap();
    let shown: Vec<&str> = svg.split("<rect class=\"bar").skip(1).collect();
    let height = |bar: &str| bar.split_once("height=\"").unwrap().1.split_once('"').unwrap().0.parse::<f64>().unwrap();
    let heights: Vec<f64> = shown.iter().map(|b| height(b)).collect();
    assert_eq!(heights.len(), 4);
    assert!((heights[1] - 2.0 * heights[0]).abs() <= 0.3 && (heights[2] - heights[0]).abs() <= 0.3, "{heights:?}");
    assert!(heights[3] > 0.0, "a bar of zero can still be found");
    assert_eq!(titles(&svg), ["c0: 2", "c1: 4", "c2: −2", "c3: not measured", "c4: 0"]);
    let svg = render(&sample::bars()).unwrap();
    assert_eq!(
        svg.matches("<rect class=\"bar").count(),
        3 + 3 * 7 - 1,
        "the legend's samples, and 7 groups of 3 but one"
    );
    assert_eq!(svg.matches("class=\"interval\"").count(), 3 * 7 - 1);
}

#[test]
fn cells_take_the_colour_of_their_value() {
    let values = vec![vec![-1.0, 0.0, 2.0], vec![f64::NAN, 1.0, f64::INFINITY]];
    let svg = render(&heat(values.clone(), Scale::Diverging)).unwrap();
    let of = |svg: &str, title: &str| {
        let at = svg.find(&format!("<title>{title}</title>")).unwrap_or_else(|| panic!("{title}: {svg}"));
        let tag = &svg[svg[..at].rfind('<').unwrap()..at];
        attributes(tag, "rect", "class")[0].to_string()
    };
    assert_eq!(of(&svg, "n 0, n 0: −1"), "d16");
    assert_eq!(of(&svg, "n 0, n 1: 0"), "d32", "zero is the middle");
    assert_eq!(of(&svg, "n 0, n 2: 2"), "d64");
    assert_eq!(of(&svg, "n 1, n 0: not measured"), "empty");
    assert_eq!(of(&svg, "n 1, n 2: inf"), "empty");
    let svg = render(&heat(values, Scale::Sequential)).unwrap();
    assert_eq!((of(&svg, "n 0, n 0: −1"), of(&svg, "n 0, n 2: 2")), ("q0".into(), "q64".into()));
    assert!(["−1", "2"].iter().all(|end| svg.contains(&format!(">{end}</text>"))), "the legend says both ends");
    assert_eq!(svg.matches("<title>").count(), 6);
}

#[test]
fn tokens_keep_their_text_and_say_their_values() {
    let row = TokenRow {
        name: "d".into(),
        tokens: vec!["a".into(), " b\n".into(), "<c>".into()],
        values: vec![0.0, 1.0, f64::NAN],
        focus: Some(1),
    };
    let markup = render(&chart("t", "", Plot::Tokens { unit: "u".into(), rows: vec![row] })).unwrap();
    assert!(markup.contains(r#"<span class="q0" title="0">a</span>"#), "{markup}");
    assert!(markup.contains(r#"<mark class="q20" title="1"> b⏎</mark><br>"#), "{markup}");
    assert!(markup.contains(r#"<span class="empty" title="not measured">&lt;c&gt;</span>"#), "{markup}");
}

#[test]
fn the_same_chart_gives_the_same_bytes_and_needs_no_id() {
    for chart in all() {
        let first = render(&chart).unwrap();
        render(&sample::heat(Scale::Sequential)).unwrap();
        assert_eq!(first, render(&chart).unwrap(), "{}", chart.title);
        assert!(!first.contains(" id=") && !first.contains("url("), "{}", chart.title);
        assert!(!first.contains("NaN") && !first.contains("style="), "{}: {first}", chart.title);
        well_formed(&first).unwrap_or_else(|e| panic!("{}: {e}", chart.title));
    }
}

#[test]
fn classes_have_colours() {
    let style = style();
    for chart in all() {
        let markup = render(&chart).unwrap();
        for class in markup.split("class=\"").skip(1).flat_map(|c| c.split('"').next().unwrap().split(' ')) {
            let plain = ["dash0", "none"].contains(&class);
            assert!(plain || style.contains(&format!(".{class}")), "{class} of {}", chart.title);
        }
    }
}

#[test]
fn lightness_follows_the_value() {
    let style = style();
    let (light, dark) = style.split_once("@media").unwrap();
    let light_of = |theme: &str, letter: char, level: usize| {
        let hex = &theme.split_once(&format!("--{letter}{level}:#")).unwrap().1[..6];
        let byte = |i: usize| f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
        0.2126 * (byte(0) / 255.0).powf(2.2)
            + 0.7152 * (byte(2) / 255.0).powf(2.2)
            + 0.0722 * (byte(4) / 255.0).powf(2.2)
    };
    for level in 1..65 {
        assert!(light_of(light, 'q', level) < light_of(light, 'q', level - 1), "q{level} in the light");
        assert!(light_of(dark, 'q', level) > light_of(dark, 'q', level - 1), "q{level} in the dark");
    }
    for level in 1..=32 {
        for (theme, sign) in [(light, 1.0), (dark, -1.0)] {
            let down = |a, b| sign * (light_of(theme, 'd', a) - light_of(theme, 'd', b)) > 0.0;
            assert!(down(33 - level, 32 - level) && down(31 + level, 32 + level), "d{level}");
        }
    }
}

#[test]
fn hostile_text_stays_text() {
    let evil = "</title><script>alert(1)</script>\"'&\u{202e}\u{1b}";
    for mut chart in all() {
        chart.title = evil.into();
        match &mut chart.plot {
            Plot::Lines { x, series, .. } => (x.name, series[0].name) = (evil.into(), evil.into()),
            Plot::Bars { categories, series, .. } => (categories[0], series[0].name) = (evil.into(), evil.into()),
            Plot::Heat { rows, columns, unit, .. } => {
                (rows.name, columns.items[0], *unit) = (evil.into(), evil.into(), evil.into());
            }
            Plot::Histogram { x, .. } => x.name = evil.into(),
            Plot::Tokens { unit, rows } => {
                (*unit, rows[0].tokens[0], rows[0].name) = (evil.into(), evil.into(), evil.into())
            }
            Plot::Raster { x, unit, .. } => (x.name, *unit) = (evil.into(), evil.into()),
            Plot::Pictures { rows } => (rows[0].name, rows[0].pictures[0].note) = (evil.into(), evil.into()),
        }
        let markup = render(&chart).unwrap();
        assert!(!markup.contains("<script") && !markup.contains(['\u{202e}', '\u{1b}']), "{markup}");
        assert!(markup.contains("&lt;script&gt;") && markup.contains("\\u{202e}"), "{markup}");
        well_formed(&markup).unwrap();
    }
}

#[test]
fn a_raster_has_a_dot_where_a_unit_fired_and_refuses_units_that_are_none() {
    let raster = |dots: Vec<(f64, usize)>| {
        let plot = Plot::Raster { x: Axis::new("time (ms)"), unit: "neuron".into(), units: 3, dots };
        render(&chart("Spikes", "", plot))
    };
    let drawn = raster(vec![(0.0, 0), (5.0, 2), (9.0, 2)]).unwrap();
    well_formed(&drawn).unwrap();
    let path = drawn.split("raster s0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    let places: Vec<(f64, f64)> = path
        .split('M')
        .skip(1)
        .map(|dot| {
            let (x, y) = dot.split('v').next().unwrap().split_once(' ').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        })
        .collect();
    assert_eq!(places.len(), 3);
    assert!(places[0].0 < places[1].0 && places[1].0 < places[2].0, "time runs to the right: {places:?}");
    assert!(places[0].1 > places[1].1 && places[1].1 == places[2].1, "the first unit is at the bottom: {places:?}");
    assert!(drawn.contains("3 events of 3 units"));
    assert!(raster(vec![]).unwrap().contains("no event"));
    assert!(raster(vec![(1.0, 3)]).unwrap_err().to_string().contains("beyond 3 units"));
    let many: Vec<(f64, usize)> = (0..50_000).map(|t| (f64::from(t), 1)).collect();
    assert!(raster(many).unwrap().contains("One event in 3 of 50000 is drawn."));
}

#[test]
fn nothing_to_draw_is_said() {
    let empty = [
        lines(Axis::new("x"), Axis::new("y"), vec![]),
        lines(Axis::new("x"), Axis { log: true, ..Axis::new("y") }, vec![line("a", vec![(f64::NAN, 1.0)], 0.0)]),
        bars(Axis::new("y"), vec![]),
        bars(Axis::new("y"), vec![f64::NAN; 3]),
        heat(vec![], Scale::Sequential),
        heat(vec![vec![f64::NAN; 2]; 2], Scale::Diverging),
        chart("t", "", Plot::Histogram { x: Axis::new("x"), edges: vec![0.0], counts: vec![] }),
        chart("t", "", Plot::Histogram { x: Axis::new("x"), edges: vec![0.0, 1.0], counts: vec![0] }),
        chart("t", "", Plot::Tokens { unit: "u".into(), rows: vec![] }),
        chart("t", "", Plot::Pictures { rows: vec![] }),
    ];
    for chart in empty {
        let markup = render(&chart).unwrap();
        assert!(markup.contains("nothing was measured"), "{chart:?}\n{markup}");
        assert!(!markup.contains("NaN") && !markup.contains("inf"), "{markup}");
    }
}

#[test]
fn what_a_logarithmic_axis_cannot_show_is_counted() {
    let log = Axis { log: true, ..Axis::new("loss") };
    let points = vec![(0.0, 0.0), (1.0, 0.1), (2.0, -3.0), (3.0, 10.0)];
    let svg = render(&lines(Axis::new("x"), log.clone(), vec![line("a", points, 0.0)])).unwrap();
    assert_eq!(svg.matches("<circle").count(), 2);
    assert!(svg.contains("2 points at or below 0 cannot be drawn"), "{svg}");
    let svg = render(&bars(log, vec![0.0, 1.0, 100.0])).unwrap();
    assert!(svg.contains("1 value at or below 0"), "{svg}");
    let x = Axis { log: true, ..Axis::new("x") };
    let plot = Plot::Histogram { x, edges: vec![0.0, 1.0, 10.0], counts: vec![7, 2] };
    assert!(render(&chart("t", "", plot)).unwrap().contains("7 values in bins"));
}

#[test]
fn magnitudes_do_not_matter() {
    for scale in [1e-300, 1e-20, 1e-7, 1.0, 1e9, 1e300] {
        let points = (0..5).map(|i| (f64::from(i), f64::from(i) * scale)).collect();
        let svg = render(&lines(Axis::new("x"), Axis::new("y"), vec![line("a", points, 0.0)])).unwrap();
        let y: Vec<f64> = attributes(&svg, "circle", "cy").iter().map(|v| v.parse().unwrap()).collect();
        assert!(y[0] - y[4] > 150.0 && (y[0] + y[4] - 2.0 * y[2]).abs() < 0.3, "{scale}: {y:?}");
        let labels = svg.matches("text-anchor=\"end\"").count();
        assert!((3..=9).contains(&labels), "{scale}: {labels} marks on the axis\n{svg}");
    }
    for (low, high) in [(-f64::MAX, f64::MAX), (5.0, 5.0), (0.0, 0.0), (1e9, 1e9 + 1e-5), (f64::MIN_POSITIVE, 1.0)] {
        let points = vec![(0.0, low), (1.0, high)];
        for log in [false, true] {
            let y = Axis { log, ..Axis::new("y") };
            render(&lines(Axis::new("x"), y, vec![line("a", points.clone(), 0.0)])).unwrap();
        }
        render(&heat(vec![vec![low, high]], Scale::Diverging)).unwrap();
        render(&bars(Axis::new("y"), vec![low, high])).unwrap();
    }
}

#[test]
fn what_lies_outside_a_range_does_not_leave_the_chart() {
    let y = Axis::new("y").range(0.0, 1.0);
    let points = vec![(0.0, 0.5), (1.0, 1e12), (2.0, -1e300)];
    let svg = render(&lines(Axis::new("x"), y.clone(), vec![line("a", points, 0.0)])).unwrap();
    assert!(svg.matches("<svg").count() == 2, "the marks have a frame that cuts them off");
    let svg = render(&bars(y, vec![0.5, 1e12, -3.0])).unwrap();
    let heights: Vec<f64> = attributes(&svg, "rect", "height").iter().map(|v| v.parse().unwrap()).collect();
    assert!(heights.iter().all(|h| *h < 300.0), "{heights:?}");
}

#[test]
fn huge_charts_stay_small_and_say_so() {
    let peak = |i: usize| if i == 77_777 { 1000.0 } else { sample::noise(i) };
    let points: Vec<(f64, f64)> = (0..100_000).map(|i| (i as f64, peak(i))).collect();
    let series = (0..40).map(|i| line(&format!("curve {i}"), points.clone(), 0.0)).collect();
    let svg = render(&lines(Axis::new("step"), Axis::new("loss"), series)).unwrap();
    assert!(svg.len() < 400_000, "{}", svg.len());
    assert!(svg.contains("16 curves more are not drawn") && svg.contains("of up to 100000 points"), "{}", &svg[..3000]);
    assert!(svg.contains("curve 0: 1000 at 77777"), "a peak of one point is kept");

    let values: Vec<Vec<f64>> =
        (0..300).map(|i| (0..500).map(|j| if j < 250 { 1.0 } else { i as f64 }).collect()).collect();
    let svg = render(&heat(values, Scale::Sequential)).unwrap();
    assert!(svg.len() < 800_000, "{}", svg.len());
    assert!(svg.contains("Every cell is the mean of up to 5 × 8 values of 300 × 500"));
    assert!(svg.contains("<title>n 5–9, n 0–7: 1</title>") && svg.contains("<title>n 5–9, n 256–263: 7</title>"));

    let svg = render(&bars(Axis::new("y"), vec![1.0; 5000])).unwrap();
    assert!(svg.len() < 200_000 && svg.contains("The first 300 of 5000 groups are drawn"));

    let edges = (0..=10_000).map(f64::from).collect();
    let svg = render(&chart("t", "", Plot::Histogram { x: Axis::new("x"), edges, counts: vec![3; 10_000] })).unwrap();
    assert!(svg.len() < 200_000 && svg.contains("Every 40 of 10000 bins are joined"));
    assert!(svg.contains("<title>0 to 40: 120 (0.4 %)</title>"), "joined bins keep their counts");

    let row =
        TokenRow { name: "d".into(), tokens: vec!["word ".into(); 50_000], values: vec![1.0; 50_000], focus: None };
    let markup = render(&chart("t", "", Plot::Tokens { unit: "u".into(), rows: vec![row.clone(), row] })).unwrap();
    assert!(markup.len() < 400_000 && markup.contains("The first 4000 of 100000 tokens are shown"));
}

#[test]
fn parts_that_do_not_fit_are_refused_by_name() {
    let mut short_band = line("a", vec![(0.0, 1.0), (1.0, 1.0)], 0.1);
    short_band.band.pop();
    let mut short_bars = sample::bars();
    if let Plot::Bars { series, .. } = &mut short_bars.plot {
        series[0].values.pop();
    }
    let mut ragged = heat(vec![vec![1.0, 2.0]; 2], Scale::Sequential);
    if let Plot::Heat { values, .. } = &mut ragged.plot {
        values[1].pop();
    }
    let histogram = |edges: Vec<f64>, counts| chart("t", "", Plot::Histogram { x: Axis::new("x"), edges, counts });
    let row = TokenRow { name: "d".into(), tokens: names("", 2), values: vec![1.0; 2], focus: Some(2) };
    let axis = |low, high, log| Axis { log, ..Axis::new("loss") }.range(low, high);
    let ranged = |axis| lines(Axis::new("x"), axis, vec![line("a", vec![(0.0, 1.0)], 0.0)]);
    let wrong = [
        (lines(Axis::new("x"), Axis::new("y"), vec![short_band]), "2 points and 1 intervals"),
        (short_bars, "6 values and 7 intervals for 7 categories"),
        (ragged, "2 rows of 2 values"),
        (histogram(vec![0.0, 1.0], vec![1, 2]), "2 edges for 2 counts"),
        (histogram(vec![0.0, 0.0, 1.0], vec![1, 2]), "ascending"),
        (histogram(vec![0.0, f64::NAN], vec![1]), "finite"),
        (chart("t", "", Plot::Tokens { unit: String::new(), rows: vec![row] }), "focus 2"),
        (ranged(axis(1.0, 1.0, false)), "\"loss\" ranges from 1 to 1"),
        (ranged(axis(0.0, 1.0, true)), "0 < low < high"),
        (ranged(axis(f64::NAN, 1.0, false)), "finite"),
    ];
    for (chart, words) in wrong {
        let error = render(&chart).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(&format!("the chart \"{}\"", chart.title)), "{words}: {error}");
    }
}
