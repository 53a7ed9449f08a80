//! The support matrix as a Markdown page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};

/// Results by interface (rows) and provider (columns).
#[derive(Default)]
pub(crate) struct Matrix<'a> {
    specifications: BTreeMap<&'a str, BTreeSet<&'a str>>,
    cells: BTreeMap<(&'a str, &'a str), Cell>,
    providers: BTreeSet<&'a str>,
    /// By interface and sentence: whether each provider passed, over every kind of socket.
    once: BTreeMap<(&'a str, &'a str), BTreeMap<&'a str, bool>>,
}

/// The interface that repeats the specifications of others over UNIX sockets.
const REPEATED: &str = "unix_streams";

#[derive(Default)]
struct Cell {
    passed: u32,
    total: u32,
}

impl<'a> Matrix<'a> {
    /// Counts results. Tests that are not specifications (`provider::interface::sentence`) are left out.
    pub(crate) fn of(results: impl Iterator<Item = (&'a str, bool)>) -> Matrix<'a> {
        let mut matrix = Matrix::default();
        for (name, passed) in results {
            if let Some(specification) = parse(name) {
                matrix.count(specification, passed);
            }
        }
        matrix
    }

    fn count(&mut self, (provider, interface, sentence): (&'a str, &'a str, &'a str), passed: bool) {
        self.providers.insert(provider);
        self.specifications.entry(interface).or_default().insert(sentence);
        let cell = self.cells.entry((interface, provider)).or_default();
        cell.total += 1;
        cell.passed += u32::from(passed);
        let repeated = sentence.split_once("::").filter(|_| interface == REPEATED);
        let outcome = self.once.entry(repeated.unwrap_or((interface, sentence))).or_default().entry(provider);
        *outcome.or_insert(true) &= passed;
    }

    /// # Errors
    /// If there is no specification: an empty page would look like a result.
    pub(crate) fn markdown(&self, introduction: &str, circumstances: &str) -> Result<String> {
        if self.cells.is_empty() {
            bail!("the suite has no specification named provider::interface::sentence");
        }
        let mut page = format!("{introduction}\n{circumstances}\n\n");
        let columns: String = self.providers.iter().map(|provider| format!(" {provider} |")).collect();
        let _ = writeln!(page, "| interface | specifications |{columns}");
        let _ = writeln!(page, "|---|--:|{}", "--:|".repeat(self.providers.len()));
        for (interface, sentences) in &self.specifications {
            let _ = writeln!(page, "| {interface} | {} |{}", sentences.len(), self.row(interface));
        }
        let _ = writeln!(page, "| all, each once | {} |{}", self.once.len(), self.totals());
        Ok(page)
    }

    fn row(&self, interface: &str) -> String {
        let cell = |provider: &&str| match self.cells.get(&(interface, *provider)) {
            Some(Cell { passed, total }) => format!(" {passed}/{total} |"),
            None => " - |".to_owned(),
        };
        self.providers.iter().map(cell).collect()
    }

    fn totals(&self) -> String {
        let of_provider = |provider: &&str| {
            let outcomes: Vec<bool> =
                self.once.values().filter_map(|outcomes| outcomes.get(provider).copied()).collect();
            format!(" {}/{} |", outcomes.iter().filter(|passed| **passed).count(), outcomes.len())
        };
        self.providers.iter().map(of_provider).collect()
    }
}

fn parse(name: &str) -> Option<(&str, &str, &str)> {
    let (provider, rest) = name.split_once("::")?;
    let (interface, sentence) = rest.split_once("::")?;
    Some((provider, interface, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_has_a_row() {
        let results = [
            ("poll::tcp::a_peer_is_heard", true),
            ("epoll::tcp::a_peer_is_heard", true),
            ("epoll::tcp::bytes_arrive_once", false),
            ("epoll::unix::a_mode_is_kept", true),
            ("poll::unix_streams::tcp::a_peer_is_heard", false),
            ("no_specification", true),
        ];
        let page = Matrix::of(results.into_iter()).markdown("# Title\n", "Run on a system.").unwrap();
        assert!(page.contains("\n\nRun on a system.\n\n|"), "{page}");
        let table: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
        let expected = [
            "| interface | specifications | epoll | poll |",
            "|---|--:|--:|--:|",
            "| tcp | 2 | 1/2 | 1/1 |",
            "| unix | 1 | 1/1 | - |",
            "| unix_streams | 1 | - | 0/1 |",
            "| all, each once | 3 | 2/3 | 0/1 |",
        ];
        assert_eq!(table[..expected.len()], expected);
    }

    #[test]
    fn an_empty_suite_makes_no_page() {
        assert!(Matrix::of([("tests", true)].into_iter()).markdown("", "").is_err());
    }
}
