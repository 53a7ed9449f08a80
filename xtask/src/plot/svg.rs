//! As much of SVG 1.1 as bars need, with text that stays text.

use std::fmt::Write as _;

/// A picture that is being written.
pub(super) struct Svg {
    elements: String,
    width: f64,
}

impl Svg {
    pub(super) fn new(width: f64) -> Svg {
        Svg { elements: String::new(), width }
    }

    /// A filled rectangle; whoever points at it reads `tip`.
    pub(super) fn bar(&mut self, [x, y, width, height]: [f64; 4], fill: &str, tip: &str) {
        let tip = escape(tip);
        let _ = writeln!(
            self.elements,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"><title>{tip}</title></rect>"#
        );
    }

    /// A line that looks as `class` says.
    pub(super) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let _ =
            writeln!(self.elements, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// Text with its base line at `y`, that looks as `class` says.
    pub(super) fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let text = escape(text);
        let _ = writeln!(self.elements, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
    }

    /// The whole, on a ground of its own: a page does not tell a picture whether it is dark.
    pub(super) fn finish(self, title: &str, height: f64) -> String {
        let Svg { elements, width } = self;
        let title = escape(title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n{elements}</svg>\n"
        )
    }
}

const STYLE: &str = "\
text { font: 12px system-ui, 'DejaVu Sans', Arial, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: bold; }
.group { font-size: 13px; font-weight: bold; }
.quiet { fill: #59636e; }
.tick { fill: #59636e; text-anchor: middle; }
.ground { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.whisker { stroke: #1f2328; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.quiet, .tick { fill: #9ba5b0; }
.ground { fill: #0d1117; }
.grid { stroke: #30363d; }
.whisker { stroke: #e6edf3; }
}
";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_would_take_for_its_own_is_written_as_text() {
        let mut svg = Svg::new(10.0);
        svg.text("quiet", [1.0, 2.0], "a < b & c > d");
        let drawn = svg.finish("<title>", 20.0);
        let document = roxmltree::Document::parse(&drawn).unwrap();
        let text = document.descendants().find(|node| node.has_tag_name("text")).unwrap();
        assert_eq!((text.text(), text.attribute("y")), (Some("a < b & c > d"), Some("2.0")));
        assert_eq!(document.root_element().first_element_child().unwrap().text(), Some("<title>"));
    }
}
