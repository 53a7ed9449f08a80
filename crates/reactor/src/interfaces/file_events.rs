//! Watching files and directories: `INotify` of `twisted.internet.inotify`.

use super::Interface;
use crate::error::Result;
use crate::files::{FileEvent, FileWatcher, WatchOptions};
use crate::kernel::Reactor;

impl Reactor {
    /// Creates a watcher of files and directories, which calls `action` on the reactor's thread with each batch of
    /// events. It watches nothing at first.
    ///
    /// The number of events in a turn is bounded, and so is the number that waits. When more happen, they are dropped,
    /// and [`FileEvent::Lost`] is reported instead of them. A panic in `action` is logged, and the watcher continues.
    /// The end of a run stops the watcher.
    ///
    /// A program can have about a hundred watchers. One watcher watches many paths.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use ropewalk::Reactor;
    /// use ropewalk::files::{FileEvent, WatchOptions};
    ///
    /// # let directory = std::env::temp_dir().join(format!("ropewalk-watch-files-{}", std::process::id()));
    /// # std::fs::create_dir(&directory).unwrap();
    /// # let settings = directory.join("settings.toml");
    /// # let changed = FileEvent::Changed(settings.clone());
    /// let reactor = Reactor::new()?;
    /// let watcher = reactor.watch_files(WatchOptions::new(), move |reactor, events| {
    ///     if events.contains(&changed) {
    ///         println!("reading the settings again");
    ///         reactor.stop().unwrap();
    ///     }
    /// })?;
    /// watcher.add_file(&settings)?;
    /// std::fs::write(&settings, "colour = 'green'").unwrap();
    /// reactor.run()?;
    /// # std::fs::remove_dir_all(directory).unwrap();
    /// # }
    /// # Ok::<(), ropewalk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) when the system or the provider does not report changes of
    /// files. [`Error::Io`](crate::Error::Io) when the system allows no more watchers: the message names the limit.
    pub fn watch_files(
        &self,
        options: WatchOptions,
        action: impl FnMut(&Reactor, &[FileEvent]) + 'static,
    ) -> Result<FileWatcher> {
        self.require(Interface::FileEvents)?;
        FileWatcher::new(self, options, action)
    }
}
