//! Systems whose connections carry no descriptors.

use ropewalk::Transport;
use ropewalk::sys::OwnedWaitable;

use crate::end::End;
use crate::world::World;

pub(crate) struct Witness;

pub(crate) fn pass(_world: &World, _end: &End, _transport: &Transport) {}

pub(crate) fn receive(world: &World, _end: &End, _descriptor: OwnedWaitable) {
    world.expect(false, || "a descriptor was invented".to_owned());
}

pub(crate) fn check_all(world: &World, end: &End) {
    world.expect(end.taken.get() == 0, || format!("end {} took descriptors", end.number));
}

pub(crate) fn check_closed(world: &World) {
    world.expect(world.witnesses.take().is_empty(), || "a descriptor was passed".to_owned());
}
