//! The results of `cargo xtask bench`, as far as the book shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::candidate::Candidate;

/// All results of a run.
#[derive(Deserialize, Serialize)]
pub(super) struct Results {
    pub(super) machine: Machine,
    pub(super) rounds: usize,
    pub(super) window_ms: u64,
    pub(super) rows: Vec<Row>,
    /// The figures that were not measured, with the reasons.
    pub(super) left_out: Vec<String>,
}

/// The machine that was measured.
#[derive(Deserialize, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
}

/// One figure, for all candidates.
#[derive(Deserialize, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) unit: Unit,
    pub(super) entries: Vec<Entry>,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    NanosPerMessage,
    NanosToAnswer,
    NanosPerOperation,
    BytesPerConnection,
    InstructionsPerMessage,
    SystemCallsPerMessage,
    TimesOfFew,
}

/// One figure, for one candidate.
#[derive(Deserialize, Serialize)]
pub(super) struct Entry {
    pub(super) candidate: Candidate,
    pub(super) samples: Vec<f64>,
    #[serde(flatten)]
    pub(super) summary: Summary,
    /// Ratios to the samples of [`Candidate::RULER`] in the same rounds. Ratios to the other candidates are left out,
    /// because they are most of the file and not part of the book.
    #[serde(deserialize_with = "to_the_ruler")]
    pub(super) ratios: BTreeMap<Candidate, Summary>,
}

/// The median, the least and the greatest of some samples.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

impl Results {
    /// Replaces the figures that `later` measured again, and adds its new ones.
    ///
    /// # Errors
    /// If machine, rounds or window differ, because such figures cannot be compared.
    pub(super) fn replace(&mut self, later: Results) -> Result<()> {
        if (&self.machine, self.rounds, self.window_ms) != (&later.machine, later.rounds, later.window_ms) {
            bail!("the runs differ in machine, rounds or window: expected all three to be the same");
        }
        let again = |name: &str| later.rows.iter().any(|row| row.name == name);
        let first_word = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
        self.left_out.retain(|line| !again(&first_word(line)));
        for gap in later.left_out {
            if !self.left_out.contains(&gap) {
                self.left_out.push(gap);
            }
        }
        for row in later.rows {
            match self.rows.iter_mut().find(|known| known.name == row.name) {
                Some(known) => *known = row,
                None => self.rows.push(row),
            }
        }
        Ok(())
    }

    /// Reads a file of the benchmark.
    ///
    /// # Errors
    /// If the file is missing or was not written by the benchmark. The message has the line of the fault.
    pub(super) fn read(path: &Path) -> Result<Results> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {shown}, a file that `cargo xtask bench` writes"))?;
        Results::parse(&text).with_context(|| format!("{shown} is not what `cargo xtask bench` writes"))
    }

    fn parse(text: &str) -> Result<Results> {
        let results: Results = serde_json::from_str(text)?;
        if results.rows.iter().all(|row| row.entries.is_empty()) {
            bail!("it has no figures");
        }
        Ok(results)
    }

    /// Returns the file without figures that the book does not need.
    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Returns the candidates with a figure in one of these rows.
    pub(super) fn candidates<'a>(rows: impl IntoIterator<Item = &'a Row>) -> BTreeSet<Candidate> {
        rows.into_iter().flat_map(|row| &row.entries).map(|entry| entry.candidate).collect()
    }
}

impl Row {
    pub(super) fn entry(&self, candidate: Candidate) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.candidate == candidate)
    }
}

/// A figure as the tables and the pictures show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shown {
    Figure(Summary),
    /// The ratio to [`Candidate::RULER`] in the same rounds.
    Multiple(Summary),
}

impl Unit {
    /// Returns whether the unit drifts with the machine, so that only ratios of the same rounds can be compared.
    fn drifts(self) -> bool {
        matches!(self, Unit::NanosPerMessage | Unit::NanosToAnswer | Unit::NanosPerOperation)
    }
}

impl Entry {
    pub(super) fn shown(&self, unit: Unit) -> Shown {
        match self.ratios.get(&Candidate::RULER).filter(|_| unit.drifts()) {
            Some(ratio) => Shown::Multiple(*ratio),
            None => Shown::Figure(self.summary),
        }
    }

    /// Returns the position on an axis of multiples, or `None` if the ruler was not measured beside it.
    pub(super) fn multiple(&self, unit: Unit) -> Option<Summary> {
        match self.shown(unit) {
            Shown::Multiple(ratio) => Some(ratio),
            Shown::Figure(figure) if !unit.drifts() => Some(figure),
            Shown::Figure(_) if self.candidate == Candidate::RULER => {
                Some(Summary { median: 1.0, least: 1.0, greatest: 1.0 })
            }
            Shown::Figure(_) => None,
        }
    }
}

impl Summary {
    /// Returns half the distance between the extremes, as a share of the median.
    pub(super) fn spread(&self) -> f64 {
        (self.greatest - self.least) / 2.0 / self.median
    }
}

fn to_the_ruler<'de, D: Deserializer<'de>>(file: D) -> Result<BTreeMap<Candidate, Summary>, D::Error> {
    // Ratios that are not needed are not parsed: some are null, because they divide by zero, such as by uring's number
    // of calls.
    let mut all = BTreeMap::<Candidate, Value>::deserialize(file)?;
    let Some(ratio) = all.remove(&Candidate::RULER) else { return Ok(BTreeMap::new()) };
    let ratio = Summary::deserialize(ratio).map_err(D::Error::custom)?;
    Ok([(Candidate::RULER, ratio)].into())
}

/// Formats three significant digits, with commas between thousands.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => thousands(value),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let unit = 10f64.powf(value.abs().log10().floor() - 2.0);
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if left % 3 == 0 && out.ends_with(|before: char| before.is_ascii_digit()) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The results of a short run: a machine, four rows, and figures that are round numbers.
    pub(in crate::plot) const SMALL: &str = include_str!("small.json");

    pub(in crate::plot) fn small() -> Results {
        Results::parse(SMALL).unwrap()
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", Results::parse(text).err().expect("a complaint"))
    }

    #[test]
    fn kept_results_are_unchanged_when_read_again() {
        let kept = small().json().unwrap();
        assert_eq!(Results::parse(&kept).unwrap().json().unwrap(), kept);
        assert!(kept.contains("\"ropewalk-epoll\": {") && !kept.contains("\"raw-epoll\": {"), "{kept}");
        assert!(!kept.contains("verdicts"));
    }

    #[test]
    fn a_file_that_is_cut_off_or_lacks_a_field_says_where() {
        let cut = complaint(&SMALL[..SMALL.len() / 2]);
        assert!(cut.contains("EOF") && cut.contains("line"), "{cut}");
        let lacking = complaint(&SMALL.replace("\"rounds\"", "\"laps\""));
        assert!(lacking.contains("missing field `rounds`"), "{lacking}");
        let foreign = complaint(&SMALL.replace("times_of_few", "furlongs"));
        assert!(foreign.contains("furlongs") && foreign.contains("times_of_few"), "{foreign}");
        let stranger = complaint(&SMALL.replace("\"tokio\"", "\"nginx\""));
        assert!(stranger.contains("unknown variant `nginx`"), "{stranger}");
        let null = complaint(&SMALL.replacen("\"median\": 1600.0", "\"median\": null", 1));
        assert!(null.contains("null"), "{null}");
    }

    #[test]
    fn a_ratio_that_is_null_is_ignored() {
        let uring = SMALL.find("\"ropewalk-uring\": {").unwrap();
        let (before, after) = SMALL.split_at(uring);
        let figure = after.find("0.").unwrap();
        let digits = after[figure..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap();
        let text = format!("{before}{}null{}", &after[..figure], &after[figure + digits..]);
        assert_eq!(Results::parse(&text).unwrap().json().unwrap(), small().json().unwrap());
    }

    #[test]
    fn a_run_without_figures_makes_no_page() {
        let empty = r#"{"machine": {"kernel": "", "processor": "", "cores": 1}, "rounds": 1, "window_ms": 1, "rows": [],
                        "left_out": []}"#;
        assert_eq!(complaint(empty), "it has no figures");
    }

    #[test]
    fn an_error_names_a_missing_file() {
        let error = format!("{:#}", Results::read(Path::new("no/such.json")).err().unwrap());
        assert!(error.contains("no/such.json") && error.contains("cargo xtask bench"), "{error}");
    }

    #[test]
    fn later_figures_replace_earlier_ones() {
        let mut results = small();
        results.left_out.push("crowd/64/19900 of mio: no ports".to_owned());
        let mut later = small();
        later.rows.retain(|row| row.name == "crowd/64/19900");
        later.rows[0].entries.truncate(1);
        let mut unseen = small();
        unseen.rows.truncate(1);
        unseen.rows[0].name = "crowd/64/100".to_owned();
        results.replace(later).unwrap();
        results.replace(unseen).unwrap();
        let names: Vec<(&str, usize)> = results.rows.iter().map(|row| (row.name.as_str(), row.entries.len())).collect();
        let expected =
            [("echo/64/50", 5), ("echo/16384/50", 3), ("crowd/64/19900", 1), ("timers/fire", 2), ("crowd/64/100", 5)];
        assert_eq!(names, expected);
        assert_eq!(results.left_out, small().left_out, "the gap is filled, and no other is named twice");
    }

    #[test]
    fn runs_of_two_machines_are_not_joined() {
        let mut elsewhere = small();
        elsewhere.machine.cores += 1;
        assert!(small().replace(elsewhere).unwrap_err().to_string().contains("machine"));
    }

    #[test]
    fn a_figure_has_three_significant_digits() {
        let shown = [0.0, 0.934, 12.34, 999.6, 1604.0, 45_219.0, 1_234_567.0].map(figure);
        assert_eq!(shown, ["0.00", "0.93", "12.3", "1,000", "1,600", "45,200", "1,230,000"]);
    }
}
