//! The beginnings of the pages.

pub(super) const PROVIDERS: &str = "\
# Support matrix

<!-- Written by `cargo xtask matrix` from the conformance suite's results; changes by hand are lost. -->

One suite of specifications runs on every event provider. A cell shows how many of an interface's specifications passed
on that provider, and how many apply to it. A dash means that none does, most often because it lacks the interface. The
columns with `loop` are reactors inside a host loop: one that waits by poll(2), one that ticks without sleeping, and one
that gets messages while the provider waits in a thread. The loops of [toolkits](toolkit-matrix.md) have a page of their
own. The row `unix_streams` repeats specifications of other rows over UNIX sockets. The sum counts each of them once.

Connecting to the fastest of several addresses (happy eyeballs) is specified twice: `races` and `lookups` in virtual time,
and `real_races` on real sockets. The row `refusals` specifies the errors of a provider that watches no descriptors.
";

pub(super) const TOOLKITS: &str = "\
# Support matrix of toolkits

<!-- Written by `cargo xtask hosts --matrix` from the conformance suite's results; changes by hand are lost. -->

The suite of the [support matrix](support-matrix.md), with the reactor inside the loop of a toolkit. A column is named after
the toolkit and the event provider. `glib` is the main loop of GTK 4, GTK 3, GTK 2 and wxWidgets, `tk` is the loop of Tcl,
`frame` is a loop that draws frames and sleeps until it gets a message, and `sdl2` has the queue of SDL. With select, and
with every provider in `frame` and `sdl2`, the provider waits in a thread. A dash means that none of an interface's
specifications is run: fewer of them are run where the provider, or the host, is one more of the same kind.
";
