//! The page of the figures.

use super::{Measurement, Round};

const INTRODUCTION: &str = "\
# Figures of host loops

<!-- Written by `cargo xtask hosts --figures`; changes by hand are lost. -->

The costs of a reactor [inside another loop](host-loops.md), beside those of its own loop. `run` is `Reactor::run` without a
host. `poll` is a loop that waits by poll(2). `message` is a loop that sleeps until it gets a message, while the provider
waits in a thread. `glib` is the main loop of GTK 4, GTK 3, GTK 2 and wxWidgets, `tk` is the loop of Tcl, `frame` is a loop
that draws frames and sleeps until it gets a message, and `sdl2` has the queue of SDL. With select, and with every provider
in `frame` and `sdl2`, the provider of a host waits in a thread.

Each figure was measured in a process of its own. A round measures all of them once, in the order of the table, and a
cell shows the median of the rounds. The number in parentheses is the median of the ratios to `run` with the same provider
in the same round. Compare these ratios, because the absolute numbers depend on the machine. A dash means that the loop
has no such figure.

- *Idle*: the context switches of all threads in 10 seconds, with a listening port, an idle connection, and a delayed call
  that is due in an hour.
- *Call*: the median lateness of a delayed call of 1 ms that code of the host sets between two turns. With `run`, a
  callback sets the call.
- *Thread*: the median time until a `call_from_thread` runs. The loop sleeps before each call.
- *Echo*: the rounds in a second of one client, which sends 64 bytes over TCP and waits for the echo.
- *System calls*: the system calls of the loop's thread for each of these messages, counted by strace. Those of a thread
  in which the provider waits are not counted.
- *Redraws*: a timer of the host requests a redraw every 10 ms, while 8 clients send blocks of 64 KiB and wait for the
  echo. The cell shows how many of the requests were drawn in a redraw of their own, and the worst delay of a redraw.
- *Storm*: the worst lateness of delayed calls of 10 ms, while four sources of the host are always ready and each
  works for 100 µs.
";

/// The loop that the others are compared with.
const RULER: &str = "run";

/// A column of the table.
struct Column {
    /// The figure, as the program names it.
    figure: &'static str,
    heading: &'static str,
    /// The number of decimals and the unit of each number of the figure.
    units: &'static [(usize, &'static str)],
    /// Whether the ratio to [`RULER`] is shown.
    is_compared: bool,
}

const COLUMNS: [Column; 7] = [
    Column { figure: "idle", heading: "Idle", units: &[(0, "")], is_compared: false },
    Column { figure: "call", heading: "Call", units: &[(0, " µs")], is_compared: true },
    Column { figure: "thread", heading: "Thread", units: &[(0, " µs")], is_compared: true },
    Column { figure: "echo", heading: "Echo", units: &[(0, "/s")], is_compared: true },
    Column { figure: "calls", heading: "System calls", units: &[(2, "")], is_compared: true },
    Column { figure: "redraw", heading: "Redraws", units: &[(0, " %"), (1, " ms")], is_compared: false },
    Column { figure: "storm", heading: "Storm", units: &[(1, " ms")], is_compared: false },
];

/// Returns the page. `circumstances` is the line with the date and the system of the run.
pub(super) fn markdown(list: &[Measurement], rounds: &[Round], circumstances: &str) -> String {
    let count = rounds.len();
    let headings = COLUMNS.map(|column| column.heading).join(" | ");
    let mut text = format!("{INTRODUCTION}\n{circumstances} Rounds: {count}.\n\n");
    text.push_str(&format!("| Loop | Provider | {headings} |\n|---|---|{}\n", "---:|".repeat(COLUMNS.len())));
    for (host, provider) in rows(list) {
        let cells = COLUMNS.map(|column| Samples { list, rounds, host, provider }.cell(&column)).join(" | ");
        text.push_str(&format!("| `{host}` | {provider} | {cells} |\n"));
    }
    text
}

/// Returns the rows in the order of their first measurement.
fn rows(list: &[Measurement]) -> Vec<(&str, &str)> {
    let mut rows: Vec<(&str, &str)> = list.iter().map(|one| (one.host.as_str(), one.provider.as_str())).collect();
    rows.dedup();
    rows
}

/// The samples of a row.
#[derive(Clone, Copy)]
struct Samples<'a> {
    list: &'a [Measurement],
    rounds: &'a [Round],
    host: &'a str,
    provider: &'a str,
}

impl Samples<'_> {
    fn cell(&self, column: &Column) -> String {
        let Some(index) = self.index(column.figure) else {
            return "-".to_owned();
        };
        let numbers = column.units.iter().enumerate().map(|(place, (decimals, unit))| {
            let samples = self.rounds.iter().filter_map(|round| Some(*round[index].as_ref()?.get(place)?));
            median(samples.collect()).map(|number| format!("{number:.decimals$}{unit}"))
        });
        let Some(numbers) = numbers.collect::<Option<Vec<String>>>() else {
            return "failed".to_owned();
        };
        let ratio = if column.is_compared { self.ratio(column.figure) } else { None };
        numbers.join(", ") + &ratio.map(|ratio| format!(" ({ratio:.2})")).unwrap_or_default()
    }

    /// Returns the median of the ratios to [`RULER`] in the same rounds.
    fn ratio(&self, figure: &str) -> Option<f64> {
        if self.host == RULER {
            return None;
        }
        let (ours, rulers) = (self.index(figure)?, Samples { host: RULER, ..*self }.index(figure)?);
        let first = |round: &Round, index: usize| round[index].as_ref()?.first().copied();
        let ratios = self.rounds.iter().filter_map(|round| Some(first(round, ours)? / first(round, rulers)?));
        median(ratios.collect())
    }

    fn index(&self, figure: &str) -> Option<usize> {
        self.list
            .iter()
            .position(|one| (&*one.host, &*one.provider, &*one.figure) == (self.host, self.provider, figure))
    }
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(host: &str, figure: &str) -> Measurement {
        Measurement { host: host.into(), provider: "epoll".into(), figure: figure.into() }
    }

    #[test]
    fn a_ratio_compares_figures_of_the_same_round() {
        // The machine was three times as fast in the last round.
        let list = [measurement("run", "echo"), measurement("glib", "echo"), measurement("glib", "redraw")];
        let round = |run: f64, glib: f64| vec![Some(vec![run]), Some(vec![glib]), Some(vec![100.0, 6.25])];
        let rounds = [round(40_000.0, 30_000.0), round(41_000.0, 32_000.0), round(120_000.0, 90_000.0)];
        let text = markdown(&list, &rounds, "Run on a day on a system.");
        let (introduction, table) = text.split_at(INTRODUCTION.len());
        assert_eq!(introduction, INTRODUCTION);
        let expected = "
Run on a day on a system. Rounds: 3.

| Loop | Provider | Idle | Call | Thread | Echo | System calls | Redraws | Storm |
|---|---|---:|---:|---:|---:|---:|---:|---:|
| `run` | epoll | - | - | - | 41000/s | - | - | - |
| `glib` | epoll | - | - | - | 32000/s (0.75) | - | 100 %, 6.2 ms | - |
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_figure_that_failed_in_every_round_is_named() {
        let text = markdown(&[measurement("run", "idle")], &[vec![None], vec![None]], "");
        assert!(text.ends_with("| `run` | epoll | failed | - | - | - | - | - | - |\n"), "{text}");
    }

    #[test]
    fn a_round_that_failed_is_left_out() {
        let text = markdown(&[measurement("run", "idle")], &[vec![None], vec![Some(vec![2.0])]], "");
        assert!(text.ends_with("| `run` | epoll | 2 | - | - | - | - | - | - |\n"), "{text}");
    }
}
