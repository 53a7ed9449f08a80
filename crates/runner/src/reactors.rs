//! `--help-reactors`.

use ropewalk::ReactorInfo;

/// A line for each reactor: its name and what it is, or `!name` and why it does not work here.
pub(crate) fn table(reactors: &[ReactorInfo]) -> String {
    let width = reactors.iter().map(|reactor| reactor.name.len()).max().unwrap_or(0);
    let line = |reactor: &ReactorInfo| match &reactor.unavailable {
        None => format!(" {:width$}  {}\n", reactor.name, reactor.description),
        Some(why) => format!("!{:width$}  {} ({why})\n", reactor.name, reactor.description),
    };
    reactors.iter().map(line).collect()
}
