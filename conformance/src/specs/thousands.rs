//! More connections than select(2) can watch.

use crate::scenario::Performance;
use crate::specifications;

specifications! {
    thousands;

    fn a_thousand_simultaneous_connections_are_served(subject: &Subject) {
        // The HOWTO on choosing a reactor: only select has a limit. The scenario runs in a separate process, because
        // the descriptor limit belongs to a process.
        let mut thousand = Performance::begin(subject, "thousand");
        thousand.expect(&["all are there", "1000 answers"]);
        thousand.ends();
    }
}
