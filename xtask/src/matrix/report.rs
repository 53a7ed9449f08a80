//! Reads the reports of cargo-nextest: results from its JUnit file, names from its list.

use anyhow::{Context, Result};
use serde_json::Value;

/// Returns every test of a JUnit report with its outcome, `true` if it passed.
pub(crate) fn results(junit: &str) -> Result<Vec<(String, bool)>> {
    let document = roxmltree::Document::parse(junit).context("nextest's JUnit report")?;
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let result = |case: roxmltree::Node<'_, '_>| {
        let failed = case.children().any(|child| child.has_tag_name("failure") || child.has_tag_name("error"));
        Some((case.attribute("name")?.to_owned(), !failed))
    };
    Ok(cases.filter_map(result).collect())
}

/// Returns the tests that `cargo nextest list --message-format json` would run.
pub(crate) fn listed(json: &str) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(json).context("nextest's list")?;
    let suites = list["rust-suites"].as_object().context("nextest's list has no rust-suites")?;
    let cases = suites.values().filter_map(|suite| suite["testcases"].as_object()).flatten();
    Ok(cases.filter(|(_, case)| case["filter-match"]["status"] == "matches").map(|(name, _)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_with_a_failure_or_an_error_did_not_pass() {
        let junit = r#"<testsuites><testsuite name="s">
            <testcase name="epoll::tcp::a"/>
            <testcase name="epoll::tcp::b"><failure type="test failure">no</failure></testcase>
            <testcase name="poll::tcp::a"><error type="timeout"/></testcase>
        </testsuite></testsuites>"#;
        let expected = [("epoll::tcp::a", true), ("epoll::tcp::b", false), ("poll::tcp::a", false)];
        assert_eq!(results(junit).unwrap(), expected.map(|(name, passed)| (name.to_owned(), passed)));
    }

    #[test]
    fn tests_that_would_not_run_are_not_listed() {
        let json = r#"{"rust-suites": {"one": {"testcases": {
            "a": {"filter-match": {"status": "matches"}},
            "b": {"filter-match": {"status": "mismatch", "reason": "ignored"}}
        }}}}"#;
        assert_eq!(listed(json).unwrap(), ["a"]);
    }
}
