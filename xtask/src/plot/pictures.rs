//! The pictures of the chapter, and the figures in each.

use anyhow::{Result, bail};

use super::chart::{Chart, Group, Mark};
use super::results::{Entry, Results, Row, Shown, Unit, figure};

/// Some rows of the results under one title.
pub(super) struct Picture {
    pub(super) file: &'static str,
    title: &'static str,
    unit: &'static str,
    /// The benchmark's names of the figures.
    rows: &'static [&'static str],
}

const PROCESSOR_TIME: &str =
    "processor time of the server per message, as a multiple of ropewalk-epoll's in the same rounds";

pub(super) const PICTURES: [Picture; 3] = [
    Picture {
        file: "small-messages.svg",
        title: "Small messages: the kernel is the cost",
        unit: PROCESSOR_TIME,
        rows: &["echo/64/1", "echo/64/50", "echo/64/1000", "echo/1024/50", "pipelined/1024/50"],
    },
    Picture {
        file: "bulk.svg",
        title: "Bulk: copies are the cost",
        unit: PROCESSOR_TIME,
        rows: &["echo/16384/1", "echo/16384/50", "echo/16384/1000", "echo/102400/50", "echo/102400/1000"],
    },
    Picture {
        file: "many-connections.svg",
        title: "One active connection among many idle ones",
        unit: "cost of its messages, as a multiple of their cost among 10 connections",
        rows: &["crowd/64/100", "crowd/64/900", "crowd/64/19900"],
    },
];

impl Picture {
    /// Selects the picture's figures.
    ///
    /// # Errors
    /// If the results have none of them.
    pub(super) fn chart<'a>(&self, results: &'a Results) -> Result<Chart<'a>> {
        let wanted = self.rows.iter().filter_map(|name| results.rows.iter().find(|row| row.name == *name));
        let groups: Vec<Group<'_>> = wanted.map(group).filter(|group| !group.marks.is_empty()).collect();
        if groups.is_empty() {
            bail!("{} needs one of {}, and none was measured", self.file, self.rows.join(", "));
        }
        Ok(Chart { title: self.title, unit: self.unit, groups })
    }
}

fn group(row: &Row) -> Group<'_> {
    let mut marks: Vec<Mark> = row.entries.iter().filter_map(|entry| mark(row.unit, entry)).collect();
    // Figures that look the same are kept in the order of the tables.
    marks.sort_by_key(|mark| ((mark.summary.median * 100.0).round() as i64, mark.candidate));
    Group { title: &row.title, marks }
}

fn mark(unit: Unit, entry: &Entry) -> Option<Mark> {
    let (candidate, summary) = (entry.candidate, entry.multiple(unit)?);
    let figure = match entry.shown(unit) {
        Shown::Figure(own) if own != summary => format!("{:.2} ({})", summary.median, unit.with_suffix(own.median)),
        Shown::Figure(own) => figure(own.median),
        Shown::Multiple(ratio) => format!("{:.2}", ratio.median),
    };
    Some(Mark { candidate, summary, figure })
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;
    use crate::plot::results::tests::small;

    #[test]
    fn every_picture_names_each_candidate_of_its_rows() {
        let results = small();
        for picture in &PICTURES {
            let drawn = picture.chart(&results).unwrap().draw().unwrap();
            let document = Document::parse(&drawn).unwrap_or_else(|error| panic!("{}: {error}", picture.file));
            let texts: Vec<&str> = document
                .descendants()
                .filter(|node| node.has_tag_name("text"))
                .filter_map(|node| node.text())
                .collect();
            let rows: Vec<&Row> = results.rows.iter().filter(|row| picture.rows.contains(&row.name.as_str())).collect();
            assert!(texts.contains(&picture.title) && !rows.is_empty());
            for row in rows {
                assert!(texts.contains(&row.title.as_str()), "{}", row.title);
                for entry in &row.entries {
                    let named = texts.iter().any(|text| text.starts_with(&format!("{} ", entry.candidate)));
                    assert!(named, "{} in {}", entry.candidate, picture.file);
                }
            }
        }
    }

    #[test]
    fn no_text_leaves_its_picture() {
        for picture in &PICTURES {
            let drawn = picture.chart(&small()).unwrap().draw().unwrap();
            let document = Document::parse(&drawn).unwrap();
            let number = |node: Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
            let width = number(document.root_element(), "width");
            for node in document.descendants().filter(|node| node.has_tag_name("text")) {
                if node.attribute("class") == Some("label left") {
                    continue;
                }
                // The width of a letter of a wide font, on average.
                let letter = if node.attribute("class") == Some("title") { 10.0 } else { 7.0 };
                let end = number(node, "x") + letter * node.text().unwrap().chars().count() as f64;
                assert!(end < width, "{}: {:?} ends at {end}", picture.file, node.text());
            }
        }
    }

    #[test]
    fn a_picture_without_figures_is_an_error() {
        let mut results = small();
        results.rows.retain(|row| !row.name.starts_with("crowd"));
        let complaint = PICTURES[2].chart(&results).err().unwrap().to_string();
        assert!(complaint.contains("many-connections.svg") && complaint.contains("crowd/64/19900"), "{complaint}");
    }
}
