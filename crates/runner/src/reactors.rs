//! The output of `--help-reactors`.

use ropewalk::ReactorInfo;

/// Returns a line for each reactor. An unavailable one is marked with `!`, and the reason follows its description.
pub(crate) fn table(reactors: &[ReactorInfo]) -> String {
    let width = reactors.iter().map(|reactor| reactor.name.len()).max().unwrap_or(0);
    let line = |reactor: &ReactorInfo| match &reactor.unavailable {
        None => format!(" {:width$}  {}\n", reactor.name, reactor.description),
        Some(why) => format!("!{:width$}  {} ({why})\n", reactor.name, reactor.description),
    };
    reactors.iter().map(line).collect()
}
