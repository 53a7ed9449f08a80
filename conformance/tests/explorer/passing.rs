//! Descriptors that ends of UNIX connections pass to each other.
//!
//! A descriptor is the reading end of a pipe that holds its label: the number of its sender, and its place among the
//! descriptors of that sender. The world keeps the writing ends, so that it can ask whether all copies are closed.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};

use ropewalk::Transport;
use ropewalk::sys::OwnedWaitable;
use rustix::pipe::pipe;

use crate::end::End;
use crate::world::World;

/// The writing end of a descriptor's pipe.
pub(crate) struct Witness(File);

/// Sends a descriptor with the next byte of the stream.
pub(crate) fn pass(world: &World, end: &End, transport: &Transport) {
    let Ok((descriptor, writer)) = pipe() else { return };
    let place = end.passed.borrow().len() as u64;
    let mut witness = File::from(writer);
    let labelled = witness.write_all(&[end.number.to_le_bytes(), place.to_le_bytes()].concat());
    world.expect(labelled.is_ok(), || "a pipe has no room".to_owned());
    world.witnesses.borrow_mut().push(Witness(witness));
    let is_unix = transport.peer().inet().is_none();
    let sent = transport.send_file_descriptor(descriptor);
    world.expect(sent.is_err() || is_unix && end.lives(), || format!("end {} passed a descriptor", end.number));
    if sent.is_ok() {
        world.note(|| format!("end {} passes descriptor {place} with byte {}", end.number, end.written.get()));
        end.passed.borrow_mut().push(end.written.get());
    }
}

/// Checks a descriptor that has arrived: it is the next one of its sender, and its byte has not been delivered.
pub(crate) fn receive(world: &World, end: &End, descriptor: OwnedWaitable) {
    let mut label = [0; 16];
    let read = File::from(descriptor).read_exact(&mut label);
    world.expect(read.is_ok(), || format!("end {} received an unknown descriptor", end.number));
    let number = |part: &[u8]| u64::from_le_bytes(part.try_into().expect("8 bytes"));
    let (sender, place) = (number(&label[..8]), number(&label[8..]));
    let name = || format!("descriptor {place} of end {sender}");
    world.note(|| format!("  {} before byte {}", name(), end.received.get()));
    let expected = end.taken.replace(place + 1);
    world.expect(place == expected, || format!("{} came instead of {expected}", name()));
    let byte = world.end(sender).and_then(|sender| sender.passed.borrow().get(place as usize).copied());
    let is_early = byte.is_some_and(|byte| byte >= end.received.get());
    world.expect(is_early, || format!("{} came after its byte {byte:?}", name()));
}

/// Checks that the descriptors of all bytes that have arrived here have arrived as well.
pub(crate) fn check_all(world: &World, end: &End) {
    let Some(sender) = end.peer().and_then(|number| world.end(number)).filter(|_| end.takes_descriptors()) else {
        return;
    };
    let missing = sender.passed.borrow().iter().skip(end.taken.get() as usize).any(|byte| *byte < end.received.get());
    world.expect(!missing, || format!("end {} lacks descriptors of end {}", end.number, sender.number));
}

/// Checks that all copies of all descriptors are closed. Nothing of the reactor or the network is left.
pub(crate) fn check_closed(world: &World) {
    for Witness(mut writer) in world.witnesses.take() {
        let outcome = writer.write_all(b"?");
        let is_closed = outcome.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        world.expect(is_closed, || "a descriptor is still open".to_owned());
    }
}
