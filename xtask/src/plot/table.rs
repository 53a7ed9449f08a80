//! The figures as Markdown: a table for each unit, with the machine and the method above them.

use std::fmt::Write as _;

use super::results::{Entry, Machine, Results, Row, Shown, Summary, Unit, figure};

/// The units that differ between reactors. Timers and calls from threads are the same on each reactor.
const UNITS: [Unit; 6] = [
    Unit::NanosPerMessage,
    Unit::NanosToAnswer,
    Unit::TimesOfFew,
    Unit::BytesPerConnection,
    Unit::SystemCallsPerMessage,
    Unit::InstructionsPerMessage,
];

/// Writes the part of the chapter between the comments.
pub(super) fn markdown(results: &Results) -> String {
    let Results { machine: Machine { kernel, processor, cores }, rounds, window_ms, rows, left_out } = results;
    let mut out = format!("Measured on: {processor}, {cores} cores, {kernel}; {rounds} rounds of {window_ms} ms.\n");
    for unit in UNITS {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.unit == unit && !row.entries.is_empty()).collect();
        if !rows.is_empty() {
            let _ = write!(out, "\n**{}**\n\n{}", unit.heading(), table(unit, &rows));
        }
    }
    if !left_out.is_empty() {
        let _ = write!(out, "\nNot measured: {}.\n", gaps(left_out).join("; "));
    }
    out
}

/// Joins the candidates that lack a figure for the same reason: `METRIC of CANDIDATE: REASON` in the file.
fn gaps(left_out: &[String]) -> Vec<String> {
    let mut gaps: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for line in left_out {
        let parts = line.split_once(" of ").and_then(|(metric, rest)| Some((metric, rest.split_once(": ")?)));
        let (metric, (candidate, reason)) = parts.unwrap_or((line, ("", "")));
        match gaps.iter_mut().find(|gap| (gap.0, gap.1) == (metric, reason)) {
            Some((_, _, candidates)) => candidates.push(candidate),
            None => gaps.push((metric, reason, vec![candidate])),
        }
    }
    let words = |(metric, reason, candidates): (&str, &str, Vec<&str>)| match reason {
        "" => metric.to_owned(),
        _ => format!("{metric} of {}: {reason}", candidates.join(", ")),
    };
    gaps.into_iter().map(words).collect()
}

impl Unit {
    /// Formats a figure with its unit, unless the heading has the unit.
    pub(super) fn with_suffix(self, value: f64) -> String {
        match self {
            Unit::NanosPerMessage | Unit::NanosToAnswer | Unit::NanosPerOperation => format!("{} ns", figure(value)),
            _ => figure(value),
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Unit::NanosPerMessage => "Processor time of the server for a message",
            Unit::NanosToAnswer => "Latency, 99th percentile",
            Unit::NanosPerOperation => "Processor time of an operation",
            Unit::BytesPerConnection => "Memory of an idle connection in bytes, without the kernel's",
            Unit::InstructionsPerMessage => "User-space instructions for a message",
            Unit::SystemCallsPerMessage => "System calls for a message",
            Unit::TimesOfFew => "Cost of a message among many idle connections, as a multiple of the cost among few",
        }
    }
}

fn table(unit: Unit, rows: &[&Row]) -> String {
    let candidates = Results::candidates(rows.iter().copied());
    let mut out = String::from("| |");
    for candidate in &candidates {
        let _ = write!(out, " {} |", candidate.name().trim_start_matches("ropewalk-"));
    }
    let _ = write!(out, "\n|---|{}\n", "--:|".repeat(candidates.len()));
    for row in rows {
        let cells: String =
            candidates.iter().map(|candidate| format!(" {} |", cell(unit, row.entry(*candidate)))).collect();
        let _ = writeln!(out, "| {} |{cells}", row.title);
    }
    out
}

fn cell(unit: Unit, entry: Option<&Entry>) -> String {
    let Some(entry) = entry else { return "-".to_owned() };
    match entry.shown(unit) {
        Shown::Multiple(ratio) => multiple(ratio),
        Shown::Figure(summary) => unit.with_suffix(summary.median) + &spread(summary),
    }
}

/// Formats a ratio: bold if below 1 in every round, italic if above 1 in every round.
fn multiple(ratio: Summary) -> String {
    let shown = format!("{:.2}", ratio.median);
    let emphasis = match ratio {
        Summary { greatest, .. } if greatest < 1.0 => "**",
        Summary { least, .. } if least > 1.0 => "*",
        Summary { .. } => "",
    };
    format!("{emphasis}{shown}{emphasis}{}", spread(ratio))
}

/// Formats the spread. The text is empty if all samples are equal, as for exact counts.
fn spread(summary: Summary) -> String {
    if summary.least == summary.greatest { String::new() } else { format!(" ±{:.0}%", summary.spread() * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::results::tests::small;

    fn lines(results: &Results) -> Vec<String> {
        markdown(results).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn times_are_multiples_of_the_first_column() {
        let expected = [
            "Measured on: A <processor> & more, 2 cores, Linux 6.1; 3 rounds of 60 ms.",
            "**Processor time of the server for a message**",
            "| | epoll | uring | poll | tokio | raw-epoll |",
            "|---|--:|--:|--:|--:|--:|",
            "| echo 64 B x 50 | 1,600 ns ±5% | **0.88** ±2% | 1.01 ±2% | *1.25* ±2% | 1.00 ±2% |",
            "| echo 16 KiB x 50 | 5,000 ns ±5% | *1.60* ±2% | - | - | *1.20* ±2% |",
            "**Cost of a message among many idle connections, as a multiple of the cost among few**",
            "| | epoll | poll | raw-epoll |",
            "|---|--:|--:|--:|",
            "| 1 among 19,900, of 1 among 10 | 1.02 ±5% | 400 ±5% | 1.00 ±5% |",
            "Not measured: syscalls/64/64/all (add --syscalls).",
        ];
        assert_eq!(lines(&small()), expected);
    }

    #[test]
    fn candidates_with_the_same_gap_are_joined() {
        let lines = ["a/1 (add --a)", "b/2 of mio: no ports", "b/2 of tokio: no ports", "b/2 of poll: a crash"];
        let expected = ["a/1 (add --a)", "b/2 of mio, tokio: no ports", "b/2 of poll: a crash"];
        assert_eq!(gaps(&lines.map(str::to_owned)), expected);
    }

    #[test]
    fn an_exact_count_has_no_spread() {
        let mut results = small();
        results.rows.retain(|row| row.unit == Unit::TimesOfFew);
        results.rows[0].unit = Unit::SystemCallsPerMessage;
        for entry in &mut results.rows[0].entries {
            entry.summary = Summary { median: 2.0, least: 2.0, greatest: 2.0 };
        }
        assert!(lines(&results).contains(&"| 1 among 19,900, of 1 among 10 | 2.00 | 2.00 | 2.00 |".to_owned()));
    }
}
