//! What the experiment shows.

use super::damage::Borne;
use super::{Curriculum, Damaged, Found, Learned, PAIR, Passed, Task};
use crate::analysis::measure::{Estimate, Figures, mean};
use crate::analysis::reservoir::over_networks;
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Better, Block, Cell, Chart, Column, Judged, Report, Table};

/// A number of a network under damage, with its name.
type NamedOf = (&'static str, fn(&Borne) -> f64);

impl Found {
    fn of(&self, task: Task, curriculum: Curriculum, held: bool) -> impl Iterator<Item = &Learned> {
        let same =
            move |l: &&Learned| l.arm.task == task && l.arm.curriculum == curriculum && l.arm.held.is_some() == held;
        self.learned.iter().filter(same)
    }

    /// Epochs until N was passed, network by network; the limit where it was not.
    fn epochs(&self, task: Task, curriculum: Curriculum, held: bool) -> Vec<f64> {
        let until = self.plan.options.until;
        let of = |l: &Learned| l.reached(until).unwrap_or(self.plan.options.epochs) as f64;
        self.of(task, curriculum, held).map(of).collect()
    }

    /// A number of every network at the last level that it passed.
    fn last(&self, task: Task, which: usize, of: impl Fn(&Passed) -> f64) -> Vec<f64> {
        self.of(task, PAIR[which], false).filter_map(|l| l.passed.last()).map(of).collect()
    }

    /// How much a number grew from the first level to the last.
    fn growth(&self, task: Task, which: usize, of: impl Fn(&Passed) -> f64) -> Estimate {
        let networks = self.of(task, PAIR[which], false);
        let ends = networks.filter_map(|l| l.passed.first().zip(l.passed.last()));
        over_networks(&ends.map(|(first, last)| of(last) - of(first)).collect::<Vec<_>>())
    }

    /// A number of both networks of every pair: one head, many, and the difference.
    fn borne(&self, task: Task, of: impl Fn(&Borne) -> f64) -> [Estimate; 3] {
        let pairs: Vec<[f64; 2]> =
            self.damaged.iter().filter(|d| d.task == task).map(|d| [of(&d.borne[0]), of(&d.borne[1])]).collect();
        let each = |value: &dyn Fn(&[f64; 2]) -> f64| over_networks(&pairs.iter().map(value).collect::<Vec<_>>());
        [each(&|p| p[0]), each(&|p| p[1]), each(&|p| p[1] - p[0])]
    }

    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        self.plan.tasks.iter().flat_map(|task| self.verdicts_of(*task)).collect()
    }

    fn verdicts_of(&self, task: Task) -> Vec<Judged> {
        let (name, until) = (task.name(), self.plan.options.until);
        let [one, many] = PAIR.map(|c| self.epochs(task, c, false));
        let [one_held, many_held] = PAIR.map(|c| self.epochs(task, c, true));
        let ratios = |a: &[f64], b: &[f64]| -> Estimate {
            over_networks(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>())
        };
        let faster = ratios(&many, &one);
        let slowed = [ratios(&one_held, &one), ratios(&many_held, &many)];
        let [tau_one, tau_many] = [0, 1].map(|which| over_networks(&self.last(task, which, |p| p.tau.mean)));
        let grown = self.growth(task, 0, |p| p.tau.mean);
        let grown_net = [0, 1].map(|which| self.growth(task, which, |p| p.net.mean));
        let [grown_one, grown_many] = [0, 1].map(|which| self.growth(task, which, |p| p.single.mean).value);
        let beyond = over_networks(&self.last(task, 1, |p| p.net.mean - p.tau.mean));
        let beyond_single = over_networks(&self.last(task, 1, |p| p.single.mean - p.tau.mean));
        let [kept_one, kept_many] = [0, 1].map(|which| over_networks(&self.last(task, which, smaller)));
        let guess = over_networks(&self.last(task, 0, |p| {
            mean(&p.knows.iter().filter(|k| k.0 < p.n).map(|k| task.guess(k.0)).collect::<Vec<_>>())
        }));
        let [silent_one, silent_many, silent] = self.borne(task, |b| b.intact - silenced(b));
        let [moved_one, moved_many, moved] = self.borne(task, |b| b.intact - strewn(&b.weights));
        let [frozen_one, frozen_many, frozen] = self.borne(task, |b| b.intact - strewn(&b.held));
        vec![
            judged(
                format!("{name}: many heads reach N = {until} in fewer epochs than one head"),
                faster.ends().1 < 1.0,
                &[("one head", mean(&one)), ("many", mean(&many)), ("many / one", faster.value)],
            ),
            judged(
                format!("{name}: the mean tau of one head grows with N"),
                grown.ends().0 > 0.0,
                &[("growth", grown.value), ("tau at the last N", tau_one.value)],
            ),
            judged(
                format!("{name}: the mean tau of many heads stays below 2, and below that of one head"),
                tau_many.ends().1 < 2.0 && tau_many.value < tau_one.value,
                &[("many", tau_many.value), ("one head", tau_one.value)],
            ),
            judged(
                format!("{name}: the mean tau_net grows with N for one head and for many"),
                grown_net.iter().all(|g| g.ends().0 > 0.0),
                &[
                    ("growth, one head", grown_net[0].value),
                    ("growth, many", grown_net[1].value),
                    ("one head, single exponentials", grown_one),
                    ("many, single exponentials", grown_many),
                ],
            ),
            judged(
                format!("{name}: the mean tau_net of many heads is longer than their tau"),
                beyond.ends().0 > 0.0,
                &[("tau_net - tau", beyond.value), ("of single exponentials", beyond_single.value)],
            ),
            judged(
                format!("{name}: one head forgets smaller N (within 0.15 of a guess), many do not (above 0.95)"),
                kept_one.value < guess.value + 0.15 && kept_many.ends().0 > 0.95,
                &[("one head", kept_one.value), ("many", kept_many.value), ("guess", guess.value)],
            ),
            judged(
                format!("{name}: silenced units cost one head more than many"),
                silent.ends().1 < 0.0,
                &[("one head", silent_one.value), ("many", silent_many.value)],
            ),
            judged(
                format!("{name}: moved weights cost one head more than many"),
                moved.ends().1 < 0.0,
                &[("one head", moved_one.value), ("many", moved_many.value)],
            ),
            judged(
                format!("{name}: frozen time constants cost one head more than many"),
                frozen.ends().1 < 0.0,
                &[("one head", frozen_one.value), ("many", frozen_many.value)],
            ),
            judged(
                format!(
                    "{name}: with tau held at 1 one head takes twice as long or stalls, many hardly change (a quarter)"
                ),
                slowed[0].value >= 2.0 && (slowed[1].value - 1.0).abs() <= 0.25,
                &[("one head, times longer", slowed[0].value), ("many, times longer", slowed[1].value)],
            ),
        ]
    }
}

/// Mean accuracy on N smaller than the last one; NaN where there is none.
fn smaller(p: &Passed) -> f64 {
    mean(&p.knows.iter().filter(|k| k.0 < p.n).map(|k| k.1).collect::<Vec<_>>())
}

/// Mean accuracy over numbers of silenced units.
fn silenced(b: &Borne) -> f64 {
    mean(&b.silenced.iter().map(|s| s.1).collect::<Vec<_>>())
}

/// Mean accuracy over sizes.
fn strewn(sizes: &[(f64, f64)]) -> f64 {
    mean(&sizes.iter().map(|s| s.1).collect::<Vec<_>>())
}

fn judged(name: String, holds: bool, figures: &[(&str, f64)]) -> Judged {
    Judged::claim(name, holds, 3, figures)
}

/// What is told of damage beside charts.
const BORNE: [NamedOf; 6] = [
    ("intact", |b| b.intact),
    ("slow unit silenced", |b| b.slow),
    ("fast unit silenced", |b| b.fast),
    ("units silenced (mean)", silenced),
    ("weights moved (mean)", |b| strewn(&b.weights)),
    ("tau frozen at its mean", |b| b.levelled),
];

impl Figures for Found {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for task in &self.plan.tasks {
            let task_name = task.name().to_lowercase();
            for (which, name) in ["one", "many"].into_iter().enumerate() {
                let key = |what: &str| format!("{task_name}.{name}.{what}");
                figures.push((key("epochs"), mean(&self.epochs(*task, PAIR[which], false))));
                figures.push((key("epochs.held"), mean(&self.epochs(*task, PAIR[which], true))));
                figures.push((key("tau"), mean(&self.last(*task, which, |p| p.tau.mean))));
                figures.push((key("tau_net"), mean(&self.last(*task, which, |p| p.net.mean))));
                figures.push((key("tau_net.single"), mean(&self.last(*task, which, |p| p.single.mean))));
                figures.push((key("smaller"), mean(&self.last(*task, which, smaller))));
                for (what, of) in BORNE {
                    let what = what.replace(' ', "_").replace(['(', ')'], "");
                    figures.push((key(&what), self.borne(*task, of)[which].value));
                }
            }
        }
        figures
    }
}

impl Report for Found {
    fn blocks(&self) -> Vec<Block> {
        let (plan, options) = (&self.plan, &self.plan.options);
        let networks = if plan.seeds == 1 { "one network".to_string() } else { format!("{} networks", plan.seeds) };
        let mut blocks = vec![Block::text(format!(
            "{networks} per task and order; {} units, batches of {}, epochs of {} updates (SGD, rate {}, momentum 0.1, \
             gradients of norm 2 at most), at most {} epochs. A level is passed when its heads answer 98 % of {} new sequences, \
             on average and at the largest N. Intervals are Student's, 95 %, over networks.",
            options.neurons,
            options.batch,
            options.updates,
            options.rate,
            options.epochs,
            options.tests * options.batch
        ))];
        for task in &plan.tasks {
            blocks.push(Block::heading(format!("N-{}", task.name())));
            blocks.push(self.progress(*task));
            blocks.push(Block::Table(self.reached(*task)));
            blocks.push(self.scales(*task));
            blocks.push(Block::Table(self.levels(*task)));
            blocks.extend(self.histograms(*task));
            blocks.push(Block::text(
                "What a network still knows of every N up to its last, with the head that learned it; the guesser knows of a \
                 sequence only how likely its ones are.",
            ));
            blocks.push(self.knows(*task));
            if self.damaged.iter().any(|d| d.task == *task) {
                blocks.extend(self.damage(*task));
            }
        }
        blocks
    }
}

/// The name of an arm.
fn name(learned: &Learned) -> String {
    match learned.arm.held {
        None => learned.arm.curriculum.name(),
        Some(tau) => format!("{}, tau held at {tau}", learned.arm.curriculum.name()),
    }
}

fn line(name: String, points: Vec<(f64, f64)>, reference: bool) -> Line {
    Line { name, points, band: Vec::new(), reference }
}

fn lines(title: String, caption: String, x: Axis, y: Axis, series: Vec<Line>) -> Block {
    Block::Chart(Chart { title, caption, plot: Plot::Lines { x, y, series } })
}

impl Found {
    /// The first seed's networks of a task.
    fn first(&self, task: Task) -> impl Iterator<Item = &Learned> {
        self.learned.iter().filter(move |l| l.arm.task == task && l.arm.seed == self.plan.seed)
    }

    fn progress(&self, task: Task) -> Block {
        let one = |l: &Learned| {
            let points = l.epochs.iter().enumerate().map(|(i, e)| ((i + 1) as f64, e.n as f64)).collect();
            line(name(l), points, l.arm.held.is_some())
        };
        lines(
            format!("N-{}: what is being learned", task.name()),
            "The largest N of the level, by epoch; the first network of each order. A line ends with the last N, or at the limit."
                .to_string(),
            Axis::new("epoch"),
            Axis::new("N"),
            self.first(task).map(one).collect(),
        )
    }

    fn reached(&self, task: Task) -> Table {
        let columns = vec![
            Column::new("order"),
            Column::new("furthest N").better(Better::More),
            Column::new(format!("epochs to N = {}", self.plan.options.until)).better(Better::Less),
            Column::new("networks that reached it").better(Better::More),
        ];
        let mut arms: Vec<(Curriculum, bool)> = self.plan.curricula.iter().map(|c| (*c, false)).collect();
        arms.extend(PAIR.map(|c| (c, true)));
        let row = |(curriculum, held): (Curriculum, bool)| {
            let own: Vec<&Learned> = self.of(task, curriculum, held).collect();
            let furthest = over_networks(&own.iter().map(|l| l.furthest() as f64).collect::<Vec<_>>());
            let there = own.iter().filter(|l| l.reached(self.plan.options.until).is_some()).count();
            vec![
                Cell::text(own.first().map_or_else(String::new, |l| name(l))),
                furthest.cell(1),
                over_networks(&self.epochs(task, curriculum, held)).cell(1),
                Cell::text(format!("{there} of {}", own.len())),
            ]
        };
        Table { columns, rows: arms.into_iter().map(row).collect() }
    }

    fn scales(&self, task: Task) -> Block {
        let mut series = Vec::new();
        for learned in self.first(task).filter(|l| l.arm.held.is_none() && PAIR.contains(&l.arm.curriculum)) {
            let points = |of: fn(&Passed) -> f64| learned.passed.iter().map(|p| (p.n as f64, of(p))).collect();
            series.push(line(format!("{}: tau", name(learned)), points(|p| p.tau.mean), true));
            series.push(line(format!("{}: tau_net", name(learned)), points(|p| p.net.mean), false));
        }
        lines(
            format!("N-{}: timescales of units and of the network", task.name()),
            "Means over units at the end of every level, in steps; tau_net is the slower constant of the autocorrelation, from the fit \
             of one or two exponentials that Akaike's criterion prefers (it prefers two too often: the table has single ones)."
                .to_string(),
            Axis::new("N"),
            Axis::new("steps"),
            series,
        )
    }

    fn levels(&self, task: Task) -> Table {
        let columns = [
            "order",
            "N",
            "epoch",
            "tau",
            "sd",
            "tau_net",
            "sd",
            "median",
            "one exponential",
            "population",
            "dimension",
        ];
        let number = |value: f64| Cell::Number { value, digits: 2 };
        let mut rows = Vec::new();
        for learned in self.first(task) {
            for p in &learned.passed {
                rows.push(vec![
                    Cell::text(name(learned)),
                    Cell::count(p.n as u64),
                    Cell::count(p.epoch as u64),
                    number(p.tau.mean),
                    number(p.tau.sd),
                    number(p.net.mean),
                    number(p.net.sd),
                    number(p.net.median),
                    number(p.single.mean),
                    number(p.population),
                    Cell::count(p.dimension as u64),
                ]);
            }
        }
        Table { columns: columns.map(Column::new).to_vec(), rows }
    }

    /// Time constants of units at the last level of the pair's first networks.
    fn histograms(&self, task: Task) -> Vec<Block> {
        let edges: Vec<f64> = (0..=20).map(|i| 1.0 + 0.1 * f64::from(i)).collect();
        let mut blocks = Vec::new();
        for learned in self.first(task).filter(|l| l.arm.held.is_none() && PAIR.contains(&l.arm.curriculum)) {
            let Some((tau, _)) = &learned.last else { continue };
            let mut counts = vec![0u64; edges.len() - 1];
            for tau in tau {
                counts[(((tau - 1.0) / 0.1) as usize).min(edges.len() - 2)] += 1;
            }
            blocks.push(Block::Chart(Chart {
                title: format!("N-{}, {}: time constants after N = {}", task.name(), name(learned), learned.furthest()),
                caption: "Units; the last bin holds all that are longer. They began uniform in 1..2.".to_string(),
                plot: Plot::Histogram { x: Axis::new("tau (steps)"), edges: edges.clone(), counts },
            }));
        }
        blocks
    }

    fn knows(&self, task: Task) -> Block {
        let free = self.first(task).filter(|l| l.arm.held.is_none());
        let mut series: Vec<Line> = free
            .filter_map(|l| Some((name(l), l.passed.last()?)))
            .map(|(name, p)| line(name, p.knows.iter().map(|(n, right)| (*n as f64, *right)).collect(), false))
            .collect();
        let guess = (2..=self.plan.options.until).map(|n| (n as f64, task.guess(n))).collect();
        series.push(line("guesser".to_string(), guess, true));
        lines(
            format!("N-{}: what is still known", task.name()),
            "Accuracy of the first network of each order after its last level.".to_string(),
            Axis::new("N"),
            Axis::new("accuracy").range(0.4, 1.0),
            series,
        )
    }

    fn damage(&self, task: Task) -> Vec<Block> {
        let own: Vec<&Damaged> = self.damaged.iter().filter(|d| d.task == task).collect();
        let ns: Vec<String> = own.iter().map(|d| d.n.to_string()).collect();
        let mut blocks = vec![Block::text(format!(
            "Damage to the networks of one head and of many at the largest N that both have passed (N = {}): accuracy of the head \
             of that N over {} steps of ten sequences. Units are silenced by an edit of rnn.hook_state, time constants frozen by \
             one of rnn.hook_tau.",
            ns.join(", "),
            self.plan.damage.steps
        ))];
        let curve = |of: &dyn Fn(&Borne) -> Vec<(f64, f64)>| -> Vec<Line> {
            let which = |which: usize| {
                let all: Vec<Vec<(f64, f64)>> = own.iter().map(|d| of(&d.borne[which])).collect();
                let at = |i: usize| over_networks(&all.iter().map(|c| c[i].1).collect::<Vec<_>>());
                let shared = 0..all.iter().map(Vec::len).min().unwrap_or(0);
                let estimates: Vec<(f64, Estimate)> = shared.map(|i| (all[0][i].0, at(i))).collect();
                let banded = own.len() > 1;
                Line {
                    name: PAIR[which].name(),
                    points: estimates.iter().map(|(x, e)| (*x, e.value)).collect(),
                    band: if banded { estimates.iter().map(|(_, e)| e.ends()).collect() } else { Vec::new() },
                    reference: false,
                }
            };
            [0, 1].map(which).to_vec()
        };
        let chart = |title: &str, x: Axis, of: &dyn Fn(&Borne) -> Vec<(f64, f64)>| {
            let y = Axis::new("accuracy").range(0.4, 1.0);
            lines(format!("N-{}: {title}", task.name()), "Mean over draws and networks.".to_string(), x, y, curve(of))
        };
        let from_intact = |b: &Borne, rest: Vec<(f64, f64)>| [vec![(0.0, b.intact)], rest].concat();
        blocks.push(chart("units silenced", Axis::new("units at 0"), &|b| {
            from_intact(b, b.silenced.iter().map(|(n, right)| (*n as f64, *right)).collect())
        }));
        blocks.push(chart("weights moved", Axis::new("share of their norm"), &|b| from_intact(b, b.weights.clone())));
        blocks.push(chart("time constants lengthened", Axis::new("share of their norm"), &|b| {
            from_intact(b, b.tau.clone())
        }));
        blocks.push(chart("time constants frozen at a value", Axis::new("tau"), &|b| b.held.clone()));
        blocks.push(chart("fresh readouts of frozen states", Axis::new("N"), &|b| {
            b.beyond.iter().map(|(n, right)| (*n as f64, *right)).collect()
        }));
        let more = |name: &str| Column::new(name).better(Better::More);
        let columns = vec![Column::new("accuracy"), more("one head"), more("many heads"), Column::new("many - one")];
        let row = |(name, of): &NamedOf| {
            let [one, many, apart] = self.borne(task, of);
            vec![Cell::text(*name), one.cell(3), many.cell(3), apart.cell(3)]
        };
        blocks.push(Block::Table(Table { columns, rows: BORNE.iter().map(row).collect() }));
        blocks
    }
}
