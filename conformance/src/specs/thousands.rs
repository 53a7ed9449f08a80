//! More connections than select(2) can watch.

use crate::scenario::Performance;
use crate::specifications;

specifications! {
    thousands;

    fn a_thousand_connections_at_once_are_all_served(subject: &Subject) {
        // The HOWTO on choosing a reactor: select is the one with a limit. In a process of its own, for its descriptors.
        let mut thousand = Performance::begin(subject, "thousand");
        thousand.expect(&["all are there", "1000 answers"]);
        thousand.ends();
    }
}
