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

pub(crate) fn check_all(_world: &World, _end: &End) {}

pub(crate) fn check_closed(_world: &World) {}
