//! Dots on a logarithmic axis: a group for each scenario, sorted, with the name and the figure beside each dot.
//!
//! ```text
//!   Title
//!   the unit of the figures
//!   echo 64 B x 50                              a group
//!     --o-- ropewalk-uring 0.78                 from the least to the greatest ratio, with the median
//!                |  o ropewalk-epoll 1.00 (4,880 ns)
//!                | -o- tokio 1.02
//!      0.8      1.0      1.2
//! ```

use anyhow::{Result, bail};

use super::candidate::Candidate;
use super::results::{Summary, figure};
use super::scale::Scale;
use super::svg::Svg;

const WIDTH: f64 = 800.0;
const MARGIN: f64 = 28.0;
const ROW: f64 = 17.0;
/// The height from the end of a group to the first row of the next.
const HEADING: f64 = 32.0;
const DOT: f64 = 4.5;
/// The space between a whisker and its label.
const GAP: f64 = 9.0;
/// The width of a letter of a wide font, on average.
const LETTER: f64 = 7.0;

/// The contents of a picture.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// The unit of the figures.
    pub(super) unit: &'a str,
    pub(super) groups: Vec<Group<'a>>,
}

/// The dots of one scenario, the least figure first.
pub(super) struct Group<'a> {
    pub(super) title: &'a str,
    pub(super) marks: Vec<Mark>,
}

/// One dot.
pub(super) struct Mark {
    pub(super) candidate: Candidate,
    pub(super) summary: Summary,
    /// The figure as text.
    pub(super) figure: String,
}

impl Chart<'_> {
    /// Draws the picture.
    ///
    /// # Errors
    /// If there are no figures, or if a figure is not positive.
    pub(super) fn draw(&self) -> Result<String> {
        let scale = self.scale()?;
        let mut svg = Svg::new(WIDTH);
        svg.text("title", [MARGIN, 30.0], self.title);
        svg.text("quiet", [MARGIN, 50.0], self.unit);
        svg.text("quiet", [MARGIN, 66.0], "dot: median; line: least to greatest; logarithmic axis");
        let top = 72.0;
        let bottom = top + self.groups.iter().map(|group| HEADING + ROW * group.marks.len() as f64).sum::<f64>() + 8.0;
        grid(&mut svg, scale, top, bottom);
        let mut y = top;
        for group in &self.groups {
            svg.text("group", [MARGIN, y + HEADING - 9.0], group.title);
            y += HEADING;
            for mark in &group.marks {
                mark.draw(&mut svg, scale, y + ROW / 2.0, group.title);
                y += ROW;
            }
        }
        Ok(svg.finish(self.title, bottom + 30.0))
    }

    fn scale(&self) -> Result<Scale> {
        let marks = || self.groups.iter().flat_map(|group| group.marks.iter().map(move |mark| (group, mark)));
        if let Some((group, mark)) = marks().find(|(_, mark)| mark.summary.least <= 0.0) {
            let Mark { candidate, summary, .. } = mark;
            bail!("{:?}: {} of {candidate} in {:?} is not positive", self.title, summary.least, group.title);
        }
        let least = marks().map(|(_, mark)| mark.summary.least).fold(f64::INFINITY, f64::min);
        let greatest = marks().map(|(_, mark)| mark.summary.greatest).fold(0.0, f64::max);
        if greatest == 0.0 {
            bail!("{:?}: nothing of it was measured", self.title);
        }
        Ok(Scale::covering(least, greatest))
    }
}

fn along(scale: Scale, figure: f64) -> f64 {
    MARGIN + scale.place(figure) * (WIDTH - 2.0 * MARGIN)
}

fn grid(svg: &mut Svg, scale: Scale, top: f64, bottom: f64) {
    for tick in scale.ticks() {
        let x = along(scale, tick);
        let class = if (tick - 1.0).abs() < 1e-9 { "ruler" } else { "grid" };
        svg.line(class, [x, top + HEADING - 4.0], [x, bottom]);
        svg.text("tick", [x, bottom + 16.0], &tick_label(tick));
    }
}

/// Formats a tick, which is round, with all its digits.
fn tick_label(tick: f64) -> String {
    if tick >= 100.0 { figure(tick) } else { format!("{}", (tick * 1000.0).round() / 1000.0) }
}

impl Mark {
    fn draw(&self, svg: &mut Svg, scale: Scale, middle: f64, group: &str) {
        let Mark { candidate, summary: Summary { median, least, greatest }, figure: shown } = self;
        let [from, at, to] = [*least, *median, *greatest].map(|figure| along(scale, figure));
        let tip = format!("{candidate}, {group}: {shown} ({} to {})", figure(*least), figure(*greatest));
        svg.line("whisker", [from, middle], [to, middle]);
        svg.dot([at, middle], DOT, candidate.colour(), &tip);
        let label = format!("{candidate} {shown}");
        let right = to.max(at + DOT) + GAP;
        if right + LETTER * label.chars().count() as f64 <= WIDTH {
            svg.text("label", [right, middle + 4.0], &label);
        } else {
            svg.text("label left", [from.min(at - DOT) - GAP, middle + 4.0], &label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::{Document, Node};

    fn chart<'a>(marks: &[(Candidate, f64)]) -> Chart<'a> {
        let mark = |(candidate, median): &(Candidate, f64)| Mark {
            candidate: *candidate,
            summary: Summary { median: *median, least: median * 0.9, greatest: median * 1.2 },
            figure: format!("{median:.2}"),
        };
        let marks = marks.iter().map(mark).collect();
        Chart { title: "A title", unit: "multiples", groups: vec![Group { title: "echo 64 B x 50", marks }] }
    }

    fn number(node: Node<'_, '_>, name: &str) -> f64 {
        node.attribute(name).unwrap().parse().unwrap()
    }

    fn dots(document: &Document<'_>) -> Vec<f64> {
        let dots = document.descendants().filter(|node| node.has_tag_name("circle"));
        dots.map(|node| number(node, "cx")).collect()
    }

    #[test]
    fn each_dot_has_its_name_beside_it() {
        let drawn = chart(&[(Candidate::RopewalkUring, 0.78), (Candidate::Tokio, 1.02)]).draw().unwrap();
        let document = Document::parse(&drawn).unwrap();
        let label = document.descendants().find(|node| node.attribute("class") == Some("label")).unwrap();
        assert_eq!(label.text(), Some("ropewalk-uring 0.78"));
        let distance = number(label, "x") - dots(&document)[0];
        assert!(distance > DOT, "{distance}");
    }

    #[test]
    fn a_label_that_would_leave_the_picture_is_left_of_its_dot() {
        let drawn = chart(&[(Candidate::RopewalkEpoll, 1.0), (Candidate::RopewalkPoll, 400.0)]).draw().unwrap();
        let document = Document::parse(&drawn).unwrap();
        let left = document.descendants().find(|node| node.attribute("class") == Some("label left")).unwrap();
        assert_eq!(left.text(), Some("ropewalk-poll 400.00"));
        assert!(number(left, "x") < dots(&document)[1]);
    }

    #[test]
    fn only_positive_figures_can_be_drawn() {
        let complaint = |marks: &[(Candidate, f64)]| chart(marks).draw().unwrap_err().to_string();
        assert!(complaint(&[]).contains("nothing of it was measured"));
        let zero = complaint(&[(Candidate::Mio, 0.0)]);
        assert!(zero.contains("mio") && zero.contains("echo 64 B x 50"), "{zero}");
    }
}
