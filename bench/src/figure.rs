//! Figures: what was measured, by name, with one value a run; shown as a table or as JSON lines.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::number::count;

/// The figures of one measurement, and how far it is.
#[derive(Debug)]
pub(crate) struct Figures {
    all: Vec<Figure>,
    bar: ProgressBar,
    /// When each step began.
    steps: Mutex<Vec<(String, Instant)>>,
}

/// One figure over all runs.
#[derive(Debug)]
struct Figure {
    name: String,
    unit: &'static str,
    runs: Vec<f64>,
}

/// A figure as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    figure: &'a str,
    unit: &'a str,
    median: f64,
    min: f64,
    max: f64,
    runs: &'a [f64],
}

impl Figures {
    /// No figures yet.
    pub(crate) fn new() -> Self {
        // It draws itself only where standard error is a terminal.
        let bar = ProgressBar::no_length();
        let style =
            ProgressStyle::with_template("[{elapsed_precise}] {bar:24} {pos}/{len} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            all: Vec::new(),
            bar,
            steps: Mutex::default(),
        }
    }

    /// No figures yet, and nothing is drawn: for a warm-up.
    pub(crate) fn unseen() -> Self {
        Self {
            all: Vec::new(),
            bar: ProgressBar::hidden(),
            steps: Mutex::default(),
        }
    }

    /// Says how many steps there will be.
    pub(crate) fn expect_steps(&self, steps: u32) {
        self.bar.set_length(u64::from(steps));
    }

    /// Says what begins now: the next step.
    pub(crate) fn begin(&self, what: impl Into<std::borrow::Cow<'static, str>>) {
        let what = what.into();
        self.steps()
            .push((what.clone().into_owned(), Instant::now()));
        if !self.bar.message().is_empty() {
            self.bar.inc(1);
        }
        self.bar.set_message(what);
    }

    /// Says how the step goes on.
    pub(crate) fn note(&self, what: impl std::fmt::Display) {
        let message = self.bar.message();
        let step = message.split(" · ").next().unwrap_or_default();
        self.bar.set_message(format!("{step} · {what}"));
    }

    /// Adds one run's value of a figure.
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        match self.all.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.all.push(Figure {
                name,
                unit,
                runs: vec![value],
            }),
        }
    }

    /// A figure for a table: the median, and the range where there was more than one run.
    pub(crate) fn cell(&self, name: &str) -> Option<String> {
        let figure = self.all.iter().find(|figure| figure.name == name)?;
        let (median, min, max) = figure.summary();
        Some(if figure.runs.len() == 1 {
            shown(median)
        } else {
            format!("{} ({}–{})", shown(median), shown(min), shown(max))
        })
    }

    /// A figure's median, if it was measured.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let figure = self.all.iter().find(|figure| figure.name == name)?;
        Some(figure.summary().0)
    }

    /// Says that all is measured: nothing more is drawn.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn steps(&self) -> MutexGuard<'_, Vec<(String, Instant)>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells on standard error what took how long.
    fn tell_times(&self) {
        let steps = self.steps();
        let ends = steps.iter().skip(1).map(|(_, begun)| *begun);
        let ends = ends.chain([Instant::now()]);
        let took = steps
            .iter()
            .zip(ends)
            .map(|((what, begun), end)| format!("{what}: {:.1} s", (end - *begun).as_secs_f64()));
        eprintln!("{}", took.collect::<Vec<_>>().join(" · "));
    }

    /// Prints all figures on standard output.
    pub(crate) fn print(&self, as_json: bool) {
        self.finish();
        self.tell_times();
        if as_json {
            for figure in &self.all {
                println!("{}", figure.json());
            }
        } else {
            self.print_table();
        }
    }

    fn print_table(&self) {
        let header = ["figure", "median", "min", "max", "unit"].map(str::to_owned);
        let rows: Vec<[String; 5]> = std::iter::once(header)
            .chain(self.all.iter().map(Figure::row))
            .collect();
        let width = |column: usize| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or(0)
        };
        let (name, median, min, max) = (width(0), width(1), width(2), width(3));
        for [figure, mid, low, high, unit] in &rows {
            println!("{figure:name$}  {mid:>median$}  {low:>min$}  {high:>max$}  {unit}");
        }
        let runs = self.all.iter().map(|figure| count(figure.runs.len())).max();
        println!(
            "{} runs; every one was checked for loss, doubles and order",
            runs.unwrap_or(0)
        );
    }
}

impl Figure {
    /// Median, lowest and highest.
    fn summary(&self) -> (f64, f64, f64) {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        (median, low, high)
    }

    fn row(&self) -> [String; 5] {
        let (median, min, max) = self.summary();
        [
            self.name.clone(),
            shown(median),
            shown(min),
            shown(max),
            self.unit.to_owned(),
        ]
    }

    fn json(&self) -> String {
        let (median, min, max) = self.summary();
        let line = Line {
            figure: &self.name,
            unit: self.unit,
            median: rounded(median),
            min: rounded(min),
            max: rounded(max),
            runs: &self.runs.iter().copied().map(rounded).collect::<Vec<_>>(),
        };
        // Texts and numbers cannot fail to be written.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// Four decimals are more than any of these measurements has.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// A value for people: three digits at least, thousands set apart.
fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        size if size > 0.0 => 3,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(runs: &[f64]) -> Figure {
        Figure {
            name: "queue.drain".to_owned(),
            unit: "jobs/s",
            runs: runs.to_vec(),
        }
    }

    #[test]
    fn the_median_stands_between_the_lowest_and_the_highest_run() {
        assert_eq!(figure(&[3.0, 1.0, 2.0]).summary(), (2.0, 1.0, 3.0));
        assert_eq!(figure(&[4.0, 1.0, 2.0, 3.0]).summary(), (2.5, 1.0, 4.0));
        assert_eq!(figure(&[7.0]).summary(), (7.0, 7.0, 7.0));
    }

    #[test]
    fn a_line_of_json_has_all_runs() {
        assert_eq!(
            figure(&[1.5, 0.5, 2.0]).json(),
            r#"{"figure":"queue.drain","unit":"jobs/s","median":1.5,"min":0.5,"max":2.0,"runs":[1.5,0.5,2.0]}"#
        );
    }

    #[test]
    fn values_are_shown_with_three_digits_and_thousands_apart() {
        let all = [
            0.0,
            0.0123,
            0.294,
            7.256,
            61.68,
            999.0,
            1234.5,
            1_234_567.0,
            -1234.0,
        ];
        let expected = ["0", "0.012", "0.29", "7.26"].into_iter().chain([
            "61.7",
            "999",
            "1,234",
            "1,234,567",
            "-1,234",
        ]);
        for (value, text) in all.into_iter().zip(expected) {
            assert_eq!(shown(value), text);
        }
    }
}
