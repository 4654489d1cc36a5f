//! The site table says what happens.

use optrode::hook::{Axis, Repeats};
use optrode::models::{Network, Side};

use crate::common::{batch, goldens, pass, see, text};

const ROWS: usize = 3;
const POSITIONS: usize = 6;

#[test]
fn every_declared_site_is_visited_once_with_the_declared_axes_and_sizes() {
    let tokens = batch(&[text(1, 4), text(2, POSITIONS), text(3, 2)], Side::Right);
    for (name, net) in goldens() {
        let mut all = pass(&["**"], &[]);
        all.records[0].repeats = Repeats::Stack;
        let seen = see(&net, &tokens, &all);
        assert_eq!(seen.records.tensors.len(), net.sites().len(), "{name}");
        for (_, site) in net.sites().iter() {
            let recorded = &seen.records.tensors[&site.name];
            let size = |(axis, size): (&Axis, &Option<usize>)| match axis {
                Axis::Batch => ROWS,
                Axis::Pos | Axis::Query | Axis::Key => POSITIONS,
                _ => size.unwrap_or_else(|| panic!("{name}: {} has an axis of no size", site.name)),
            };
            let sizes: Vec<usize> = site.axes.iter().zip(&site.sizes).map(size).collect();
            let visits = 1;
            assert_eq!(recorded.tensor.dims(), [vec![visits], sizes].concat(), "{name}: {}", site.name);
            assert_eq!(recorded.axes, [vec![Axis::Time], site.axes.clone()].concat());
        }
    }
}

/// A site that may use values of earlier ones must indeed come after them.
#[test]
fn sites_are_visited_in_the_order_of_the_table() {
    let tokens = batch(&[text(1, 4)], Side::Right);
    for (name, net) in goldens() {
        let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = order.clone();
        let registry = optrode::hook::Registry::elementary().with_fn("log", move |x, cx| {
            log.lock().unwrap().push(cx.site.name.clone());
            Ok(x.clone())
        });
        let edits = [crate::common::edit("**", serde_json::json!({"op": "log"}))];
        let input = optrode::models::Input::Tokens(tokens.clone());
        optrode::models::execute::observe(&net, &input, &pass(&[], &edits), &registry).unwrap();
        let declared: Vec<String> = net.sites().iter().map(|(_, s)| s.name.clone()).collect();
        assert_eq!(*order.lock().unwrap(), declared, "{name}");
    }
}
