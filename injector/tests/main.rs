//! The library and the command, without network and privileges. One executable: linking one for each file took longer than
//! running them.

mod dist;
mod faults;
mod hostile;
mod profile;
mod promises;
mod ramps;
mod random;
mod recordings;
mod schema;
mod shell;
