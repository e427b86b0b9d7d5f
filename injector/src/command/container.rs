//! `--container`: the network namespace of a container, and its only interface where none is named.

use netlink_packet_route::link::LinkLayerType;

use crate::{
    cli::{Apply, Clear, Cli, Command, Plan, Run},
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
    let only = |container: Option<Container>| container.as_ref().map(only_interface).transpose();
    match &mut cli.command {
        Command::Trace(args) if args.interface.is_empty() => {
            args.interface = only(container)?.ok_or_else(not_named)?;
        }
        Command::Run(Run { faults, .. }) | Command::Apply(Apply { faults, .. })
            if faults.interfaces.is_empty() =>
        {
            faults.interfaces.extend(only(container)?);
        }
        Command::Plan(Plan { interfaces, .. })
        | Command::Clear(Clear {
            interfaces,
            all: false,
            ..
        }) if interfaces.is_empty() => {
            interfaces.extend(only(container)?);
        }
        _ => {}
    }
    Ok(())
}

fn not_named() -> Failure {
    Failure::new(Code::Usage, "no interface is named")
        .hint("name it: `-i eth0`; `ip link` lists those that there are")
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
