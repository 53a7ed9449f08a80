//! Every provider against the specifications of the interfaces that it offers.

use ropewalk_conformance::{Subject, conformance};

conformance!(simulated = Subject::simulated(); core, time, tcp);
#[cfg(unix)]
conformance!(select = Subject::named("select"); core, time, tcp);
#[cfg(unix)]
conformance!(poll = Subject::named("poll"); core, time, tcp);
#[cfg(target_os = "linux")]
conformance!(epoll = Subject::named("epoll"); core, time, tcp);
