//! The results of the load tests, as far as the book shows them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::plot::Machine;

/// All figures of a run.
#[derive(Deserialize, Serialize)]
pub(super) struct Results {
    pub(super) machine: Machine,
    /// The date of the run, as HTTP writes it.
    pub(super) date: String,
    pub(super) quick: bool,
    pub(super) figures: Vec<Figure>,
    /// The scenarios that failed, with their errors.
    pub(super) failures: Vec<String>,
}

/// One figure on one reactor.
#[derive(Deserialize, Serialize)]
pub(super) struct Figure {
    pub(super) scenario: String,
    pub(super) reactor: String,
    pub(super) title: String,
    pub(super) measured: f64,
    pub(super) bar: Bar,
    /// Whether the figure depends on the speed of the machine.
    pub(super) is_timed: bool,
}

/// The limit of a figure.
#[derive(Clone, Copy, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bar {
    AtMost(f64),
    Exactly(f64),
}

impl Results {
    /// Reads a file of the load tests.
    ///
    /// # Errors
    /// If the file is missing or was not written by the load tests. The message has the line of the fault.
    pub(super) fn read(path: &Path) -> Result<Results> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {shown}, a file that `cargo xtask load` writes"))?;
        serde_json::from_str(&text).with_context(|| format!("{shown} is not what `cargo xtask load` writes"))
    }

    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl Figure {
    pub(super) fn is_met(&self) -> bool {
        match self.bar {
            Bar::AtMost(bar) => self.measured <= bar,
            Bar::Exactly(bar) => self.measured == bar,
        }
    }
}
