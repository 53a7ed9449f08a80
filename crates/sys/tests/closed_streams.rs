//! A program that was started without standard streams starts children. It has a process of its own, because it closes
//! them.

#![cfg(target_os = "linux")]

use std::time::Duration;

use ropewalk_sys::{ChildDescriptor, EventProvider, PipeEnd, Received, SpawnPlan, providers};

/// Returns what the script writes to its descriptor 3.
fn third(provider: &mut dyn EventProvider, script: &str, standard: impl Fn(u32) -> ChildDescriptor) -> String {
    let mut plan = SpawnPlan::new("sh");
    plan.arguments.extend(["-c".into(), script.into()]);
    plan.descriptors.extend((0..3).map(|number| (number, standard(number))));
    plan.descriptors.insert(3, ChildDescriptor::Pipe(PipeEnd::Reader));
    let spawned = provider.processes().unwrap().spawn(&plan).unwrap();
    let key = spawned.pipes.iter().find(|pipe| pipe.number == 3).unwrap().key;
    provider.streams().unwrap().set_reading(key, true).unwrap();
    let (mut all, mut scratch, mut events) = (Vec::new(), [0; 4096], Vec::new());
    loop {
        match provider.streams().unwrap().receive(key, &mut scratch).unwrap() {
            Received::Filled(count) | Received::Drained(count) => all.extend_from_slice(&scratch[..count]),
            Received::Eof => return String::from_utf8(all).unwrap(),
            _ => provider.wait(Some(Duration::from_secs(10)), &mut events).unwrap(),
        }
    }
}

#[test]
fn a_closed_standard_stream_is_inherited_as_null() {
    let mut open: Vec<_> = providers().iter().map(|known| (known.open)().unwrap()).collect();
    // SAFETY: the number is that of standard error, which is open.
    let errors = unsafe { libc::dup(2) };
    for number in 0..3 {
        // SAFETY: nothing in this process uses the standard streams until they are back.
        unsafe { libc::close(number) };
    }
    let mut found = Vec::new();
    for provider in &mut open {
        let links = "(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2) >&3; :";
        found.push(third(&mut **provider, links, ChildDescriptor::Inherited));
        // Pipes must not get the numbers 0 to 2 here, or the child would inherit them.
        let pipes = |number| ChildDescriptor::Pipe(if number == 0 { PipeEnd::Writer } else { PipeEnd::Reader });
        found.push(third(&mut **provider, "echo fine >&3", pipes));
    }
    for number in 0..3 {
        // SAFETY: `errors` is open, and the numbers are free.
        unsafe { libc::dup2(errors, number) };
    }
    let expected = ["/dev/null\n/dev/null\n/dev/null\n", "fine\n"];
    assert_eq!(found, expected.repeat(found.len() / 2));
}
