//! The part of SVG 1.1 that dots and lines need. Text is written as text, not as shapes.

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

    /// Draws a filled circle with a tool tip.
    pub(super) fn dot(&mut self, [x, y]: [f64; 2], radius: f64, fill: &str, tip: &str) {
        let tip = escape(tip);
        let _ = writeln!(
            self.elements,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}" fill="{fill}"><title>{tip}</title></circle>"#
        );
    }

    /// Draws a line in the style of `class`.
    pub(super) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let _ =
            writeln!(self.elements, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// Writes text with its base line at `y`, in the style of `class`.
    pub(super) fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let text = escape(text);
        let _ = writeln!(self.elements, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
    }

    /// Returns the whole picture. It has its own background, because the background of its page is not known.
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
.ruler { stroke: #8c959f; stroke-width: 1.5; }
.whisker { stroke: #8c959f; stroke-width: 1.5; }
.label, .group { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; }
.left { text-anchor: end; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.quiet, .tick { fill: #9ba5b0; }
.ground { fill: #0d1117; }
.grid { stroke: #30363d; }
.ruler, .whisker { stroke: #6e7681; }
.label, .group { stroke: #0d1117; }
}
";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_of_xml_are_escaped() {
        let mut svg = Svg::new(10.0);
        svg.text("quiet", [1.0, 2.0], "a < b & c > d");
        let drawn = svg.finish("<title>", 20.0);
        let document = roxmltree::Document::parse(&drawn).unwrap();
        let text = document.descendants().find(|node| node.has_tag_name("text")).unwrap();
        assert_eq!((text.text(), text.attribute("y")), (Some("a < b & c > d"), Some("2.0")));
        assert_eq!(document.root_element().first_element_child().unwrap().text(), Some("<title>"));
    }
}
