//! Bars from left to right: a group for each scenario, a colour for each candidate, whiskers for the spread.
//!
//! ```text
//!   Title
//!   what the bars count
//!   # one  # another  # a third                 the legend
//!   echo 64 B x 50                              a group
//!   ==============|-|  1,600                    from nothing to the median; from the least sample to the greatest
//!   =================|---|  2,000
//!   0        1,000       2,000
//! ```

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::candidate::Candidate;
use super::results::{Summary, figure};
use super::scale::Scale;
use super::svg::Svg;

const WIDTH: f64 = 800.0;
const MARGIN: f64 = 28.0;
/// Right of the longest bar, for its number.
const NUMBER: f64 = 70.0;
const BAR: f64 = 13.0;
const ROW: f64 = 16.0;
/// From a group's first bar up to where the group before it ends.
const HEADING: f64 = 34.0;
const LEGEND_COLUMN: f64 = 180.0;

/// A picture in figures.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What the bars count.
    pub(super) counts: &'a str,
    pub(super) groups: Vec<Group<'a>>,
}

/// The bars of one scenario.
pub(super) struct Group<'a> {
    pub(super) title: &'a str,
    pub(super) bars: Vec<(Candidate, Summary)>,
}

impl Chart<'_> {
    /// # Errors
    /// There is no bar, or one of nothing or less than nothing.
    pub(super) fn draw(&self) -> Result<String> {
        let scale = self.scale()?;
        let mut svg = Svg::new(WIDTH);
        svg.text("title", [MARGIN, 30.0], self.title);
        let kind =
            if matches!(scale, Scale::Logarithmic { .. }) { "; each line is ten times the one before" } else { "" };
        svg.text("quiet", [MARGIN, 50.0], &format!("{}{kind}", self.counts));
        let top = self.legend(&mut svg, 72.0);
        let bottom = top + self.groups.iter().map(|group| HEADING + ROW * group.bars.len() as f64).sum::<f64>() + 6.0;
        grid(&mut svg, scale, top, bottom);
        let mut y = top;
        for group in &self.groups {
            svg.text("group", [MARGIN, y + HEADING - 8.0], group.title);
            y += HEADING;
            for (candidate, summary) in &group.bars {
                draw_bar(&mut svg, scale, y, group.title, *candidate, *summary);
                y += ROW;
            }
        }
        Ok(svg.finish(self.title, bottom + 30.0))
    }

    fn scale(&self) -> Result<Scale> {
        let bars = || self.groups.iter().flat_map(|group| group.bars.iter().map(move |bar| (group, bar)));
        if let Some((group, (candidate, summary))) = bars().find(|(_, (_, summary))| summary.least <= 0.0) {
            bail!("{:?}: {} of {candidate} in {:?} cannot be a bar", self.title, summary.least, group.title);
        }
        let least = bars().map(|(_, (_, summary))| summary.least).fold(f64::INFINITY, f64::min);
        let greatest = bars().map(|(_, (_, summary))| summary.greatest).fold(0.0, f64::max);
        if greatest == 0.0 {
            bail!("{:?}: nothing of it was measured", self.title);
        }
        Ok(Scale::covering(least, greatest))
    }

    /// As many to a line as fit; returns where it ends.
    fn legend(&self, svg: &mut Svg, top: f64) -> f64 {
        let present: BTreeSet<Candidate> =
            self.groups.iter().flat_map(|group| &group.bars).map(|(candidate, _)| *candidate).collect();
        let columns = ((WIDTH - 2.0 * MARGIN) / LEGEND_COLUMN) as usize;
        let mut bottom = top;
        for (index, candidate) in present.into_iter().enumerate() {
            let x = MARGIN + LEGEND_COLUMN * (index % columns) as f64;
            bottom = top + 20.0 * (index / columns) as f64;
            svg.bar([x, bottom - 10.0, 12.0, 12.0], candidate.colour(), candidate.name());
            svg.text("name", [x + 18.0, bottom], candidate.name());
        }
        bottom
    }
}

fn along(scale: Scale, figure: f64) -> f64 {
    MARGIN + scale.place(figure) * (WIDTH - 2.0 * MARGIN - NUMBER)
}

fn grid(svg: &mut Svg, scale: Scale, top: f64, bottom: f64) {
    for tick in scale.ticks() {
        let x = along(scale, tick);
        svg.line("grid", [x, top + HEADING - 4.0], [x, bottom]);
        svg.text("tick", [x, bottom + 16.0], &tick_label(tick));
    }
}

/// A tick is round: its digits are all of it.
fn tick_label(tick: f64) -> String {
    if tick >= 100.0 { figure(tick) } else { format!("{}", (tick * 1000.0).round() / 1000.0) }
}

fn draw_bar(svg: &mut Svg, scale: Scale, y: f64, group: &str, candidate: Candidate, summary: Summary) {
    let Summary { median, least, greatest } = summary;
    let [from, to] = [least, greatest].map(|figure| along(scale, figure));
    let number = figure(median);
    let tip = format!("{candidate}, {group}: {number} ({} to {})", figure(least), figure(greatest));
    svg.bar([MARGIN, y, along(scale, median) - MARGIN, BAR], candidate.colour(), &tip);
    let middle = y + BAR / 2.0;
    svg.line("whisker", [from, middle], [to, middle]);
    for end in [from, to] {
        svg.line("whisker", [end, middle - 3.0], [end, middle + 3.0]);
    }
    svg.text("number", [to + 6.0, y + BAR - 2.5], &number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::Document;

    fn summary(median: f64) -> Summary {
        Summary { median, least: median * 0.9, greatest: median * 1.2 }
    }

    fn chart<'a>(bars: &[(Candidate, f64)]) -> Chart<'a> {
        let bars = bars.iter().map(|(candidate, median)| (*candidate, summary(*median))).collect();
        Chart { title: "A title", counts: "nanoseconds", groups: vec![Group { title: "echo 64 B x 50", bars }] }
    }

    /// Left ends and widths of the bars with these tips, in the order of the picture.
    fn widths(drawn: &str) -> Vec<f64> {
        let document = Document::parse(drawn).unwrap();
        let bars = document.descendants().filter(|node| node.has_tag_name("rect"));
        let of_group =
            bars.filter(|node| node.descendants().any(|tip| tip.text().is_some_and(|tip| tip.contains(": "))));
        of_group.map(|node| node.attribute("width").unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn a_bar_is_as_long_as_its_median_and_the_number_is_printed_behind_the_whisker() {
        let drawn = chart(&[(Candidate::RopewalkEpoll, 1000.0), (Candidate::Tokio, 2000.0)]).draw().unwrap();
        let widths = widths(&drawn);
        assert_eq!(widths.len(), 2);
        assert!((widths[1] / widths[0] - 2.0).abs() < 0.01, "{widths:?}");
        let document = Document::parse(&drawn).unwrap();
        let number = document.descendants().rfind(|node| node.attribute("class") == Some("number")).unwrap();
        assert_eq!(number.text(), Some("2,000"));
        let whiskers = document.descendants().filter(|node| node.attribute("class") == Some("whisker"));
        let end = whiskers.filter_map(|node| node.attribute("x2")?.parse().ok()).fold(0.0, f64::max);
        let x: f64 = number.attribute("x").unwrap().parse().unwrap();
        assert!(x > end && x < WIDTH - MARGIN, "{x} behind {end}");
    }

    #[test]
    fn a_figure_four_hundred_times_another_leaves_both_to_be_seen() {
        let drawn = chart(&[(Candidate::RopewalkEpoll, 1.0), (Candidate::RopewalkPoll, 400.0)]).draw().unwrap();
        let widths = widths(&drawn);
        assert!(widths[0] > 50.0 && widths[1] < WIDTH, "{widths:?}");
        assert!(drawn.contains("each line is ten times the one before"));
    }

    #[test]
    fn nothing_and_less_than_nothing_are_no_bars() {
        let complaint = |bars: &[(Candidate, f64)]| chart(bars).draw().unwrap_err().to_string();
        assert!(complaint(&[]).contains("nothing of it was measured"));
        let zero = complaint(&[(Candidate::Mio, 0.0)]);
        assert!(zero.contains("mio") && zero.contains("echo 64 B x 50"), "{zero}");
    }
}
