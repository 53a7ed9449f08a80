//! Splits the output of a process into lines of bounded length.

/// A line that a monitored process has written.
///
/// ```
/// use ropewalk::application::ProcessMonitor;
///
/// let monitor = ProcessMonitor::new()
///     .on_output(|line| println!("{} | {}", line.process, String::from_utf8_lossy(line.text)));
/// assert!(monitor.processes().is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OutputLine<'a> {
    /// The name of the process.
    pub process: &'a str,
    /// The child's descriptor: 1 for standard output, 2 for standard error.
    pub fd: u32,
    /// The bytes of the line, without its end.
    pub text: &'a [u8],
    /// Whether the line is longer than the limit, so that its rest follows as a line of its own.
    pub is_cut: bool,
}

/// Joins the chunks of one stream, and cuts them at line feeds. Keeps at most `max` bytes.
pub(super) struct LineSplitter {
    partial: Vec<u8>,
    max: usize,
}

impl LineSplitter {
    pub(super) fn new(max: usize) -> LineSplitter {
        LineSplitter { partial: Vec::new(), max: max.max(1) }
    }

    /// Calls `found` with each line that `data` completes, and whether it was cut.
    pub(super) fn feed(&mut self, mut data: &[u8], mut found: impl FnMut(&[u8], bool)) {
        while !data.is_empty() {
            let room = self.max - self.partial.len();
            match data.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.emit(&data[..end], false, &mut found);
                    data = &data[end + 1..];
                }
                None if data.len() > room => {
                    self.emit(&data[..room], true, &mut found);
                    data = &data[room..];
                }
                None => {
                    self.partial.extend_from_slice(data);
                    return;
                }
            }
        }
    }

    /// Calls `found` with a last line that has no end.
    pub(super) fn finish(&mut self, mut found: impl FnMut(&[u8], bool)) {
        if !self.partial.is_empty() {
            self.emit(&[], false, &mut found);
        }
    }

    fn emit(&mut self, rest: &[u8], is_cut: bool, found: &mut impl FnMut(&[u8], bool)) {
        if self.partial.is_empty() {
            return found(rest, is_cut);
        }
        self.partial.extend_from_slice(rest);
        found(&self.partial, is_cut);
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(max: usize, chunks: &[&str]) -> Vec<String> {
        let mut splitter = LineSplitter::new(max);
        let mut lines = Vec::new();
        let mut keep = |line: &[u8], is_cut: bool| {
            lines.push(format!("{}{}", String::from_utf8_lossy(line), if is_cut { "~" } else { "" }));
        };
        chunks.iter().for_each(|chunk| splitter.feed(chunk.as_bytes(), &mut keep));
        splitter.finish(&mut keep);
        lines
    }

    #[test]
    fn lines_are_joined_across_chunks() {
        assert_eq!(split(10, &["a\nb", "c", "\n\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(split(10, &[]), [""; 0]);
    }

    #[test]
    fn long_lines_are_cut_at_the_limit() {
        assert_eq!(split(3, &["abc\nabcd\n"]), ["abc", "abc~", "d"]);
        assert_eq!(split(3, &["ab", "c", "\n", "ab", "cdefg", "h\n"]), ["abc", "abc~", "def~", "gh"]);
        assert_eq!(split(3, &["abcabc"]), ["abc~", "abc"]);
    }
}
