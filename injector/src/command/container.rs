//! The network namespace of a container that is named.

use crate::{
    cli::Global,
    datapath::{
        Netns,
        containers::{self, Container},
    },
    error::{Code, Failure},
};

/// Has the command line say by namespace what it says by container.
pub(super) fn resolve(global: &mut Global) -> Result<(), Failure> {
    if let Some(name) = &global.container {
        global.netns = Some(netns(name)?);
    }
    Ok(())
}

/// The network namespace of a container.
pub(super) fn netns(name: &str) -> Result<Netns, Failure> {
    let container = containers::find(name)?;
    let netns = container.netns();
    require_own(&container, &netns)?;
    Ok(netns)
}

/// Refuses a container without a network of its own, where everybody's packets would be hit.
fn require_own(container: &Container, netns: &Netns) -> Result<(), Failure> {
    if !netns.id()?.may_be(&Netns::Current.id()?) {
        return Ok(());
    }
    let name = &container.name;
    let message = format!(
        "container `{name}` has no network of its own: it is in the namespace of this process"
    );
    Err(Failure::new(Code::Conflict, message).hint(format!(
        "name an interface in place of the container, and say in the profile whose packets are meant: `match: \
         {{container: {name}}}`"
    )))
}
