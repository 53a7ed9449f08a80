//! The sum of two events of a path.

use super::event::FileEvent;

/// Returns the event that describes both, the later one last. `None` if the path is as before.
pub(super) fn merged(before: &FileEvent, event: FileEvent) -> Option<FileEvent> {
    Some(match (before, event) {
        (FileEvent::Created(_), FileEvent::Removed(_)) => return None,
        // A new name stays new, whatever has happened to it since.
        (FileEvent::Created(_), FileEvent::Created(path) | FileEvent::Changed(path) | FileEvent::Attributes(path)) => {
            FileEvent::Created(path)
        }
        (FileEvent::Removed(_), FileEvent::Attributes(path)) => FileEvent::Removed(path),
        (_, FileEvent::Created(path)) => FileEvent::Changed(path),
        (FileEvent::Changed(_), FileEvent::Attributes(path)) => FileEvent::Changed(path),
        (_, event) => event,
    })
}

#[cfg(test)]
mod tests {
    use FileEvent::{Attributes, Changed, Created, Removed};

    use super::*;

    type Kind = fn(std::path::PathBuf) -> FileEvent;

    #[test]
    fn two_events_of_a_path_have_a_sum() {
        let table: [(Kind, Kind, Option<Kind>); 12] = [
            (Created, Created, Some(Created)),
            (Created, Changed, Some(Created)),
            (Created, Attributes, Some(Created)),
            (Created, Removed, None),
            (Changed, Created, Some(Changed)),
            (Changed, Attributes, Some(Changed)),
            (Changed, Removed, Some(Removed)),
            (Removed, Created, Some(Changed)),
            (Removed, Changed, Some(Changed)),
            (Removed, Attributes, Some(Removed)),
            (Attributes, Changed, Some(Changed)),
            (Attributes, Removed, Some(Removed)),
        ];
        for (before, event, sum) in table {
            let of = |kind: Kind| kind("a".into());
            assert_eq!(merged(&of(before), of(event)), sum.map(of), "{} {}", of(before), of(event));
        }
    }
}
