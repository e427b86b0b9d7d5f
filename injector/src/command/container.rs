//! `--container`: the network namespace of a container, and its only interface where none is named.

use netlink_packet_route::link::LinkLayerType;

use crate::{
    cli::{Cli, Command},
    datapath::{
        Netns,
        containers::{self, Container},
        netlink::{Link, Netlink},
        undo::ALIAS_PREFIX,
    },
    error::{Code, Failure},
};

/// Has the command line say by namespace and interface what it says by container.
pub(super) fn resolve(cli: &mut Cli) -> Result<(), Failure> {
    let container = cli.global.container.as_deref().map(containers::find);
    let container = container.transpose()?;
    if let Some(container) = &container {
        let netns = container.netns();
        require_own(container, &netns)?;
        cli.global.netns = Some(netns);
    }
    match (interface(&mut cli.command), container) {
        (Some(named), Some(container)) if named.is_empty() => *named = only_interface(&container)?,
        (Some(named), None) if named.is_empty() => {
            return Err(Failure::new(Code::Usage, "which interface?")
                .hint("name it: `-i eth0`; `ip link` lists those that there are"));
        }
        _ => {}
    }
    Ok(())
}

/// The interface that a command needs; empty where none is named.
fn interface(command: &mut Command) -> Option<&mut String> {
    match command {
        Command::Run(args) => Some(&mut args.faults.interface),
        Command::Apply(args) => Some(&mut args.faults.interface),
        Command::Plan(args) => Some(&mut args.interface),
        Command::Trace(args) => Some(&mut args.interface),
        Command::Clear(args) if !args.all => Some(args.interface.get_or_insert_default()),
        _ => None,
    }
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

fn only_interface(container: &Container) -> Result<String, Failure> {
    let mut links = container.netns().run(|| Netlink::open()?.links())?;
    links.retain(is_anybodys);
    // Modules leave devices that are down in every namespace: `tunl0`, `sit0`.
    if links.iter().any(|link| link.is_up) {
        links.retain(|link| link.is_up);
    }
    match links.as_slice() {
        [link] => Ok(link.name.clone()),
        links => Err(many(container, links)),
    }
}

/// Whether it may be the container's: neither its loopback device nor a part of a run.
fn is_anybodys(link: &Link) -> bool {
    link.layer != LinkLayerType::Loopback && !link.alias.starts_with(ALIAS_PREFIX)
}

fn many(container: &Container, links: &[Link]) -> Failure {
    let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
    let name = &container.name;
    let message = match names.is_empty() {
        true => format!("container `{name}` has no interface but the loopback device"),
        false => format!(
            "container `{name}` has several interfaces: {}",
            names.join(", ")
        ),
    };
    Failure::new(Code::Conflict, message).hint("name the one that is meant: `-i DEV`")
}
