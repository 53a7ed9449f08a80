//! Results as tables, bars and a file.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::accounting::Summary;
use crate::bars::{Bar, bars};
use crate::candidate::Candidate;
use crate::machine::Machine;
use crate::scenarios::{Metric, Unit};

/// All results of a run.
#[derive(Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) window_ms: u64,
    pub(crate) rows: Vec<Row>,
    /// The scenarios that were not measured, with the reasons.
    pub(crate) left_out: Vec<String>,
}

/// One figure, for all candidates.
#[derive(Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) metric: Metric,
    pub(crate) entries: Vec<Entry>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// One figure, for one candidate.
#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) candidate: Candidate,
    pub(crate) samples: Vec<f64>,
    #[serde(flatten)]
    pub(crate) summary: Summary,
    /// Ratios to the other candidates' samples of the same rounds.
    pub(crate) ratios: BTreeMap<&'static str, Summary>,
}

/// A bar and the figure that it limits.
#[derive(Serialize)]
pub(crate) struct Verdict {
    pub(crate) bar: Bar,
    pub(crate) measured: Summary,
    /// The figure of the raw loop, which is the best that can be reached. `None` if the bar itself names the raw loop.
    pub(crate) raw_loop: Option<f64>,
}

impl Row {
    /// Sums up each candidate's samples. A candidate without samples is left out.
    pub(crate) fn new(metric: Metric, samples: &[(Candidate, Vec<f64>)]) -> Row {
        let entries: Vec<Entry> = samples.iter().filter_map(|(who, own)| Entry::new(*who, own, samples)).collect();
        let ours = entries.iter().find(|entry| entry.candidate == Candidate::ROPEWALK);
        let verdicts = ours.map_or_else(Vec::new, |entry| {
            let raw = entries.iter().find(|entry| entry.candidate == Candidate::RawEpoll);
            bars(&metric.name).into_iter().filter_map(|bar| Verdict::new(bar, entry, raw)).collect()
        });
        Row { metric, entries, verdicts }
    }

    fn entry(&self, candidate: Candidate) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.candidate == candidate)
    }
}

impl Entry {
    fn new(candidate: Candidate, own: &[f64], all: &[(Candidate, Vec<f64>)]) -> Option<Entry> {
        let others = all.iter().filter(|(other, _)| *other != candidate);
        let ratios = others.filter_map(|(other, theirs)| Some((other.name(), Summary::of_ratios(own, theirs)?)));
        Some(Entry { candidate, samples: own.to_vec(), summary: Summary::of(own)?, ratios: ratios.collect() })
    }

    /// Returns the figure that a bar limits.
    fn against(&self, bar: Bar) -> Option<Summary> {
        bar.relative_to.map_or(Some(self.summary), |other| self.ratios.get(other.name()).copied())
    }
}

impl Verdict {
    /// Returns `None` if the candidate that the bar names was not measured.
    fn new(bar: Bar, ours: &Entry, raw: Option<&Entry>) -> Option<Verdict> {
        let measured = ours.against(bar)?;
        let raw_loop = raw.and_then(|raw| raw.against(bar)).map(|raw| raw.median);
        Some(Verdict { bar, measured, raw_loop })
    }

    /// Returns whether the median is within the limit.
    pub(crate) fn is_met(&self) -> bool {
        self.measured.median <= self.bar.at_most
    }

    fn words(&self) -> String {
        let excess = excess(self.measured.median - self.bar.at_most);
        match (self.is_met(), self.bar.is_goal) {
            (true, false) => "ok".to_owned(),
            (true, true) => "goal reached".to_owned(),
            (false, false) => format!("MISSED by {excess}"),
            (false, true) => format!("goal {excess} away"),
        }
    }
}

impl Results {
    /// Counts the missed bars, without goals.
    pub(crate) fn missed(&self) -> usize {
        let verdicts = self.rows.iter().flat_map(|row| &row.verdicts);
        verdicts.filter(|verdict| !verdict.is_met() && !verdict.bar.is_goal).count()
    }

    /// Formats all tables, for a terminal or for a page of the documentation.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut out = String::new();
        let Machine { kernel, processor, cores } = &self.machine;
        let (rounds, window) = (self.rounds, self.window_ms);
        let _ = writeln!(out, "{processor}, {cores} cores, {kernel}; medians of {rounds} rounds of {window} ms");
        for unit in Unit::ALL {
            let rows: Vec<&Row> =
                self.rows.iter().filter(|row| row.metric.unit == unit && !row.entries.is_empty()).collect();
            if !rows.is_empty() {
                let _ = write!(out, "\n{}\n\n{}", unit.heading(), figures(&rows).render(style));
            }
        }
        let bars = self.bars();
        if !bars.rows.is_empty() {
            let _ = write!(out, "\n{} against its bars\n\n{}", Candidate::ROPEWALK, bars.render(style));
        }
        for line in &self.left_out {
            let _ = writeln!(out, "\nnot measured: {line}");
        }
        out
    }

    fn bars(&self) -> Table {
        let header = ["", "measured", "from", "to", "", "raw loop", "at most", ""].map(String::from).into();
        let verdicts = self.rows.iter().flat_map(|row| row.verdicts.iter().map(move |verdict| (row, verdict)));
        let rows = verdicts.map(|(row, verdict)| {
            let Verdict { bar, measured, raw_loop } = verdict;
            let of = bar.relative_to.map_or_else(String::new, |other| format!("of {other}"));
            let [median, least, greatest] = [measured.median, measured.least, measured.greatest].map(figure);
            let raw = raw_loop.map_or_else(String::new, figure);
            vec![row.metric.title.clone(), median, least, greatest, of, raw, figure(bar.at_most), verdict.words()]
        });
        Table { header, rows: rows.collect() }
    }
}

impl Unit {
    const ALL: [Unit; 7] = [
        Unit::NanosPerMessage,
        Unit::NanosToAnswer,
        Unit::NanosPerOperation,
        Unit::InstructionsPerMessage,
        Unit::SystemCallsPerMessage,
        Unit::BytesPerConnection,
        Unit::TimesOfFew,
    ];

    fn heading(self) -> &'static str {
        match self {
            Unit::NanosPerMessage => "Processor time of the server per message, ns",
            Unit::NanosToAnswer => "From a request to the end of its answer, 99 of 100 take less, ns",
            Unit::NanosPerOperation => "Processor time of an operation, ns",
            Unit::InstructionsPerMessage => "User-space instructions per message",
            Unit::SystemCallsPerMessage => "System calls per message",
            Unit::BytesPerConnection => "Memory of an idle connection, bytes",
            Unit::TimesOfFew => {
                "Processor time of a message among many idle connections, as a multiple of that among few"
            }
        }
    }
}

/// Lists the candidates' medians with their spread, and as multiples of the first candidate.
fn figures(rows: &[&Row]) -> Table {
    let present = |candidate: &Candidate| rows.iter().any(|row| row.entry(*candidate).is_some());
    let candidates: Vec<Candidate> = Candidate::ALL.into_iter().filter(present).collect();
    let ruler = candidates[0];
    let mut header = vec![String::new()];
    for &candidate in &candidates {
        header.push(candidate.to_string());
        if candidate != ruler {
            header.push(format!("/{ruler}"));
        }
    }
    let lines = rows.iter().map(|row| {
        let cells = candidates.iter().flat_map(|&candidate| {
            let [figure, ratio] = cells(row.entry(candidate), ruler);
            std::iter::once(figure).chain((candidate != ruler).then_some(ratio))
        });
        std::iter::once(row.metric.title.clone()).chain(cells).collect()
    });
    Table { header, rows: lines.collect() }
}

fn cells(entry: Option<&Entry>, ruler: Candidate) -> [String; 2] {
    let Some(entry) = entry else { return [String::new(), String::new()] };
    let spread =
        if entry.samples.len() > 1 { format!(" ±{:.0}%", entry.summary.spread() * 100.0) } else { String::new() };
    let ratio = entry.ratios.get(ruler.name()).map_or_else(String::new, |ratio| format!("{:.2}", ratio.median));
    [format!("{}{spread}", figure(entry.summary.median)), ratio]
}

/// Formats the excess over a bar, like a figure. A miss is never shown as zero.
fn excess(value: f64) -> String {
    if value.abs() < 0.01 { format!("{value:.4}") } else { figure(value) }
}

/// Formats three significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The medium of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Terminal,
    Markdown,
}

struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn render(&self, style: Style) -> String {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut lines: Vec<String> = all().map(|row| line(row, &widths, style)).collect();
        if style == Style::Markdown {
            let rule: Vec<&str> = (0..widths.len()).map(|column| if column == 0 { "---" } else { "--:" }).collect();
            lines.insert(1, format!("| {} |", rule.join(" | ")));
        }
        lines.join("\n") + "\n"
    }
}

fn line(row: &[String], widths: &[usize], style: Style) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, &width))| match column {
        0 => format!("{cell:width$}"),
        _ => format!("{cell:>width$}"),
    });
    let cells: Vec<String> = cells.collect();
    match style {
        Style::Terminal => cells.join("  ").trim_end().to_owned(),
        Style::Markdown => format!("| {} |", cells.join(" | ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str) -> Metric {
        Metric { name: name.to_owned(), title: "a title".to_owned(), unit: Unit::NanosPerMessage }
    }

    fn results(rows: Vec<Row>) -> Results {
        let machine = Machine { kernel: "Linux".to_owned(), processor: "CPU".to_owned(), cores: 2 };
        Results { machine, rounds: 3, window_ms: 1, rows, left_out: vec!["syscalls: no strace".to_owned()] }
    }

    fn echo_row(ours: f64) -> Row {
        let samples = [
            (Candidate::RawEpoll, vec![1000.0, 2000.0]),
            (Candidate::Mio, vec![1000.0, 2000.0]),
            (Candidate::Tokio, vec![1100.0, 2200.0]),
            (Candidate::ROPEWALK, vec![1000.0 * ours, 2000.0 * ours]),
            (Candidate::Ropewalk("poll"), vec![]),
        ];
        Row::new(metric("echo/64/50"), &samples)
    }

    #[test]
    fn a_figure_beyond_its_bar_is_missed_by_the_difference() {
        let row = echo_row(1.07);
        let words: Vec<String> = row.verdicts.iter().map(Verdict::words).collect();
        assert_eq!(words, ["MISSED by 0.02", "ok", "goal 0.04 away"]);
        let raw: Vec<Option<f64>> = row.verdicts.iter().map(|verdict| verdict.raw_loop).collect();
        assert_eq!(raw, [Some(1.0), Some(1.0 / 1.1), None], "the raw loop has no ratio to itself");
        assert_eq!(results(vec![row]).missed(), 1);
        assert_eq!(results(vec![echo_row(1.0)]).missed(), 0);
    }

    #[test]
    fn a_near_miss_is_not_shown_as_zero() {
        assert_eq!(echo_row(1.0504).verdicts[0].words(), "MISSED by 0.0004");
        assert_eq!(echo_row(1.05).verdicts[0].words(), "ok");
    }

    #[test]
    fn a_bar_without_its_peer_has_no_verdict() {
        let samples = [(Candidate::Tokio, vec![1000.0]), (Candidate::ROPEWALK, vec![900.0])];
        let row = Row::new(metric("echo/64/50"), &samples);
        assert_eq!(row.verdicts.len(), 1);
        assert!(row.verdicts[0].is_met());
    }

    #[test]
    fn markdown_shows_the_same_cells_as_the_terminal() {
        let results = results(vec![echo_row(1.07)]);
        let terminal = results.render(Style::Terminal);
        let markdown = results.render(Style::Markdown);
        for cell in ["raw-epoll", "/raw-epoll", "1605 ±33%", "MISSED by 0.02", "not measured: syscalls: no strace"] {
            assert!(terminal.contains(cell), "{cell}\n{terminal}");
            assert!(markdown.contains(cell), "{cell}\n{markdown}");
        }
        assert!(!terminal.contains('|') && markdown.contains("| a title |"), "{markdown}");
        assert!(!terminal.contains("ropewalk-poll"), "a candidate without samples has no column");
    }

    #[test]
    fn results_keep_every_sample() {
        let json = serde_json::to_value(results(vec![echo_row(1.07)])).unwrap();
        assert_eq!(json["rows"][0]["name"], "echo/64/50");
        assert_eq!(json["rows"][0]["entries"][1]["samples"][1], 2000.0);
        assert_eq!(json["rows"][0]["entries"][2]["ratios"]["mio"]["median"], 1.1);
    }
}
