//! Two layers, or a layer and a peer of another kind, that exchange bytes without a network.

mod certificates;
mod choosing;
mod cuts;
mod exchange;
mod refusing;
mod resuming;
mod wire;
