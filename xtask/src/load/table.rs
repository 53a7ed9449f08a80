//! The figures as Markdown: a row for each figure, a column for each reactor.

use std::fmt::Write as _;

use super::results::{Bar, Figure, Results};
use crate::plot::Machine;

/// Writes the part of the chapter between the comments.
pub(super) fn markdown(results: &Results) -> String {
    let Results { machine: Machine { kernel, processor, cores }, date, quick, figures, failures } = results;
    let size = if *quick { "a quick run" } else { "a complete run" };
    let mut out = format!("Measured on {date}: {size} on {processor}, {cores} cores, {kernel}.");
    let missed = figures.iter().filter(|figure| !figure.is_met()).count();
    let _ = match missed {
        0 => write!(out, " All {} figures meet their bars.\n\n", figures.len()),
        _ => write!(out, " {missed} of {} figures miss their bars; they are bold.\n\n", figures.len()),
    };
    let reactors = unlike(figures.iter().map(|figure| figure.reactor.as_str()));
    let columns: String = reactors.iter().map(|reactor| format!(" {reactor} |")).collect();
    let _ = writeln!(out, "| scenario | figure | bar |{columns}");
    let _ = writeln!(out, "|---|---|--:|{}", "--:|".repeat(reactors.len()));
    let rows = unlike(figures.iter().map(|figure| (figure.scenario.as_str(), figure.title.as_str())));
    for (scenario, title) in rows {
        let of_row = |reactor: &str| {
            figures.iter().find(|it| it.scenario == scenario && it.title == title && it.reactor == reactor)
        };
        let cells: String =
            reactors.iter().map(|reactor| format!(" {} |", of_row(reactor).map_or("".into(), cell))).collect();
        let bar =
            reactors.iter().find_map(|reactor| of_row(reactor)).map_or_else(String::new, |figure| bar(figure.bar));
        let _ = writeln!(out, "| {scenario} | {title} | {bar} |{cells}");
    }
    for failure in failures {
        let _ = write!(out, "\nNot measured: {failure}.\n");
    }
    out
}

/// Returns the items without repetitions, in the order of their first occurrence.
fn unlike<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut found, item| {
        if !found.contains(&item) {
            found.push(item);
        }
        found
    })
}

fn bar(bar: Bar) -> String {
    match bar {
        Bar::AtMost(most) => format!("≤ {most}"),
        Bar::Exactly(exact) => exact.to_string(),
    }
}

fn cell(figure: &Figure) -> String {
    let decimals = if figure.measured.fract() == 0.0 { 0 } else { 1 };
    // A near miss is never shown as the bar itself.
    let measured = match figure.bar {
        Bar::AtMost(most) if !figure.is_met() && figure.measured < most + 0.1 => figure.measured.to_string(),
        _ => format!("{:.decimals$}", figure.measured),
    };
    if figure.is_met() { measured } else { format!("**{measured}**") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(reactor: &str, title: &str, measured: f64, bar: Bar) -> Figure {
        let [scenario, reactor, title] = ["idle", reactor, title].map(str::to_owned);
        Figure { scenario, reactor, title, measured, bar, is_timed: false }
    }

    fn results(figures: Vec<Figure>) -> Results {
        let machine = Machine { kernel: "Linux".to_owned(), processor: "CPU".to_owned(), cores: 2 };
        Results { machine, date: "Monday".to_owned(), quick: false, figures, failures: Vec::new() }
    }

    #[test]
    fn each_figure_has_a_row() {
        let exact = Bar::Exactly(0.0);
        let figures = vec![
            figure("epoll", "wake-ups", 0.0, exact),
            figure("epoll", "memory, MB", 20.04, Bar::AtMost(20.0)),
            figure("poll", "wake-ups", 3.0, exact),
        ];
        let page = markdown(&results(figures));
        let expected = [
            "Measured on Monday: a complete run on CPU, 2 cores, Linux. 2 of 3 figures miss their bars; they are bold.",
            "",
            "| scenario | figure | bar | epoll | poll |",
            "|---|---|--:|--:|--:|",
            "| idle | wake-ups | 0 | 0 | **3** |",
            "| idle | memory, MB | ≤ 20 | **20.04** |  |",
        ];
        assert_eq!(page.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_scenario_that_failed_is_named() {
        let mut results = results(vec![figure("epoll", "wake-ups", 0.0, Bar::Exactly(0.0))]);
        results.failures.push("crowd on poll: no ports".to_owned());
        let page = markdown(&results);
        assert!(
            page.contains("All 1 figures meet") && page.ends_with("\nNot measured: crowd on poll: no ports.\n"),
            "{page}"
        );
    }
}
