//! `injector apply`

use std::{
    env, io,
    os::unix::{net::UnixStream, process::CommandExt as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::unistd::setsid;
use serde::Serialize;

use super::{
    Outcome,
    control::{self, InForce, Reply, Request, Waiting},
    guard::Guard,
    place::Place,
    print, print_json,
    run::{Chosen, Prepared, open_audit},
    together::RolledBack,
};
use crate::{
    cli::{Apply, Faults, Global},
    datapath::{
        self, Error, Netns, capability, clear,
        journal::{self, Place as Held, Record},
        netlink::Netlink,
        netns::NetnsId,
        target::Target,
    },
    error::{Code, Failure},
    observe::{audit::Who, format, report},
    profile::Source,
};

#[derive(Serialize)]
struct Several<'a> {
    schema: &'static str,
    applied: Vec<Answer<'a>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    #[serde(flatten)]
    state: State<'a>,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum State<'a> {
    InForce(&'a InForce),
    Waiting(&'a Waiting),
}

impl<'a> Answer<'a> {
    /// `None` of what has failed.
    fn of(reply: &'a Reply) -> Option<Self> {
        let state = match reply {
            Reply::InForce(in_force) => State::InForce(in_force),
            Reply::Waiting(waiting) => State::Waiting(waiting),
            Reply::Failed(_) => return None,
        };
        let schema = "injector.apply/v1";
        Some(Self { schema, state })
    }
}

pub(super) fn apply(args: &Apply, global: &Global) -> Outcome {
    let faults = &args.faults;
    let orders = orders(faults, global)?;
    capability::require(&capability::RUN)?;
    // Only to know now whether it can be.
    open_audit(faults, Who::this_process())?;
    if faults.replace {
        for Order { place, .. } in &orders {
            clear::stop_holder(&place.netns, &place.device)?;
        }
    }
    let replies = ask_all(&orders)?;
    if global.json {
        say_json(&replies)?;
    } else if !global.quiet {
        let texts: String = replies.iter().map(|reply| text(reply, global)).collect();
        print(&texts)?;
    }
    Ok(Code::Ok as u8)
}

/// What to ask for, and of whom.
struct Order {
    place: Place,
    netns: NetnsId,
    held: Held,
    request: Request,
}

impl Order {
    fn new(place: Place, faults: &Faults, request: Request) -> Result<Self, Failure> {
        let (netns, held) = match identify(&place) {
            Err(Error::NoDevice { device, .. }) if faults.wait_for_device => {
                (place.netns.id()?, Held::Absent(device))
            }
            found => {
                let (id, ifindex) = found?;
                (id, Held::Device(ifindex))
            }
        };
        Ok(Self {
            request: Request {
                at: place.to_string(),
                ..request
            },
            place,
            netns,
            held,
        })
    }
}

/// What to ask for on each interface, having made sure that it makes sense.
fn orders(faults: &Faults, global: &Global) -> Result<Vec<Order>, Failure> {
    let stdin = match faults.profile.as_deref() {
        Some(argument @ "-") => {
            let source = Source::open(argument);
            let source = source.map_err(|error| super::invalid_profile(&error, global))?;
            Some(source.text().to_owned())
        }
        _ => None,
    };
    let chosen = Chosen::from(faults, stdin.clone(), global)?;
    if !chosen.profile.expect.is_empty() {
        global.say("what the profile expects is not judged in the background: `run` does that");
    }
    let ssh = Guard::ssh(faults.protect, global);
    let places = Place::of_run(&chosen.profile, faults, global)?;
    let guards = Guard::all(faults.protect, &places, ssh)?;
    let prepared = Prepared::all(chosen, faults.seed, faults, &guards)?;
    let arguments = env::args_os().skip(1).map(|argument| {
        argument.into_string().map_err(|argument| {
            let message = format!("`{}` is not UTF-8", argument.display());
            Failure::new(Code::Usage, message)
        })
    });
    let request = Request {
        schema: control::SCHEMA.into(),
        arguments: arguments.collect::<Result<_, _>>()?,
        directory: env::current_dir()?,
        stdin,
        at: String::new(),
        ssh,
        seed: prepared[0].first().seed,
    };
    let alone = places.len() == 1;
    let mut orders = Vec::new();
    for place in places {
        match Order::new(place.clone(), faults, request.clone()) {
            Ok(order) => orders.push(order),
            Err(failure) if alone => return Err(failure),
            Err(failure) => return Err(RolledBack::default().failure(&place, failure)),
        }
    }
    Ok(orders)
}

/// Asks for all, one after the other. Where one fails, those before it end, the last first, but for those whose
/// rules were swapped: their former ones are nowhere any more.
fn ask_all(orders: &[Order]) -> Result<Vec<Reply>, Failure> {
    let mut replies = Vec::new();
    for order in orders {
        let failure = match ask(&order.request, order.netns, &order.held) {
            Ok(Reply::Failed(failure)) | Err(failure) => failure,
            Ok(reply) => {
                replies.push(reply);
                continue;
            }
        };
        if orders.len() == 1 {
            return Err(failure);
        }
        let rolled_back = RolledBack {
            untried: orders.len() - replies.len() - 1,
            ..roll_back(&replies, orders)
        };
        return Err(rolled_back.failure(&order.place, failure));
    }
    Ok(replies)
}

/// Ends those that were started, the last first.
fn roll_back(replies: &[Reply], orders: &[Order]) -> RolledBack {
    let mut rolled_back = RolledBack::default();
    for (reply, Order { place, .. }) in replies.iter().zip(orders).rev() {
        if matches!(reply, Reply::InForce(in_force) if in_force.swapped) {
            rolled_back
                .kept
                .push(format!("{place}: it has the new rules"));
            continue;
        }
        match clear::stop_holder(&place.netns, &place.device) {
            Ok(()) => rolled_back.undone.push(place.to_string()),
            Err(error) => rolled_back.kept.push(format!("{place}: {error}")),
        }
    }
    rolled_back
}

/// The device, as others know it.
pub(super) fn identify(place: &Place) -> datapath::Result<(NetnsId, u32)> {
    let Place { netns, device, .. } = place;
    let target = netns.run(|| Target::find(&Netlink::open()?, netns, device))?;
    Ok((netns.id()?, target.link.index))
}

/// Asks the process that holds the device, or starts one.
fn ask(request: &Request, netns: NetnsId, place: &Held) -> Result<Reply, Failure> {
    /// How soon to look again where somebody is just starting or ending.
    const STEP: Duration = Duration::from_millis(50);
    /// How long that may take, on a busy machine or with packets that are held.
    const PATIENCE: Duration = Duration::from_secs(180);
    let give_up = Instant::now() + PATIENCE;
    loop {
        let holder = living(netns, place)?;
        match &holder {
            // One that waits takes no orders.
            Some(holder) if !holder.background || matches!(place, Held::Absent(_)) => {
                return Err(holder.busy().into());
            }
            Some(holder) => {
                if let Some(reply) = ask_holder(request, holder)? {
                    return Ok(reply);
                }
            }
            None => match start(request)? {
                // Somebody else was faster.
                Reply::Failed(failure)
                    if failure.code == Code::Conflict && living(netns, place)?.is_some() => {}
                reply => return Ok(reply),
            },
        }
        if let Some(holder) = holder
            && Instant::now() > give_up
        {
            return Err(holder.busy().into());
        }
        thread::sleep(STEP);
    }
}

/// The run that has the device.
fn living(netns: NetnsId, place: &Held) -> Result<Option<Record>, Failure> {
    let found = journal::record_of(netns, place)?;
    Ok(found.and_then(|(record, alive)| alive.then_some(record)))
}

/// Asks for a swap; `None` where the process has not begun to listen, or is ending.
fn ask_holder(request: &Request, holder: &Record) -> Result<Option<Reply>, Failure> {
    /// How long a swap may take, on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    let failed = |error: io::Error| {
        let message = format!(
            "the process with pid {}, which holds `{}`, does not answer: {error}",
            holder.pid, holder.device
        );
        Failure::new(Code::Conflict, message).hint("`--replace` ends it, and starts anew")
    };
    let path = journal::socket_of(holder.netns, holder.ifindex);
    let stream = match UnixStream::connect(path) {
        Err(error) if is_absence(&error) => return Ok(None),
        stream => stream.map_err(failed)?,
    };
    match control::send(&stream, request) {
        Err(error) if is_absence(&error) => return Ok(None),
        sent => sent.map_err(failed)?,
    }
    control::receive(&stream, Some(PATIENCE)).map_err(failed)
}

/// Whether nobody is at the other end.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    [BrokenPipe, ConnectionRefused, ConnectionReset, NotFound].contains(&error.kind())
}

/// Starts a process that holds what is asked for.
fn start(request: &Request) -> Result<Reply, Failure> {
    let (ours, theirs) = UnixStream::pair()?;
    // The link leads to this very program, also where its file has been replaced.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("injector")
        .arg("hold")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    // SAFETY: the call is async-signal-safe.
    unsafe {
        command.pre_exec(|| setsid().map(|_| ()).map_err(io::Error::from));
    }
    let mut holder = command.spawn()?;
    // It has the other end alone now, so that we notice its death.
    drop(command);
    control::send(&ours, request)?;
    // Should it die, the socket is closed.
    let reply = control::receive(&ours, None)?;
    match reply {
        Some(reply @ (Reply::InForce(_) | Reply::Waiting(_))) => Ok(reply),
        failed => {
            let status = holder.wait()?;
            failed.ok_or_else(|| {
                let message = format!("the process that was to hold the faults died: {status}");
                Failure::new(Code::Unexpected, message)
            })
        }
    }
}

/// One document: of one interface, or of several.
fn say_json(replies: &[Reply]) -> Result<(), Failure> {
    let answers: Vec<_> = replies.iter().filter_map(Answer::of).collect();
    match &answers[..] {
        [only] => print_json(only),
        _ => print_json(&Several {
            schema: "injector.applied/v1",
            applied: answers,
        }),
    }
}

fn text(reply: &Reply, global: &Global) -> String {
    match reply {
        Reply::InForce(in_force) => in_force_text(in_force, global),
        Reply::Waiting(waiting) => waiting_text(waiting, global),
        Reply::Failed(failure) => format!("{failure}\n"),
    }
}

fn in_force_text(in_force: &InForce, global: &Global) -> String {
    let InForce {
        device,
        profile,
        seed,
        pid,
        ..
    } = in_force;
    let hooks = in_force.attached.iter();
    let hooks: Vec<_> = hooks.map(|a| format!("{} by {}", a.hook, a.via)).collect();
    let what = if in_force.swapped { "changed" } else { "on" };
    let end = in_force.ends_in_ms.map(|ms| {
        let left = format::remaining(ms);
        format!("; they end in {left}")
    });
    let notes = in_force.notes.iter().map(|note| format!("note: {note}"));
    let lines = report::left_out(&in_force.left_out)
        .into_iter()
        .chain(notes);
    let lines: String = lines.map(|line| format!("{device}: {line}\n")).collect();
    format!(
        "{device}: faults {what}: profile {profile}, seed {seed}, {}; held by pid {pid}{}\n\
         {device}: protected: {}\n\
         {}`{}` ends them\n",
        hooks.join(", "),
        end.unwrap_or_default(),
        report::protected(&in_force.protected),
        lines,
        clearing(device, global),
    )
}

fn waiting_text(waiting: &Waiting, global: &Global) -> String {
    let Waiting {
        device,
        profile,
        seed,
        pid,
    } = waiting;
    format!(
        "{device}: waiting for the device: profile {profile}, seed {seed}; held by pid {pid}\n\
         `{}` ends that\n",
        clearing(device, global),
    )
}

/// What ends faults in the background.
fn clearing(device: &str, global: &Global) -> String {
    match &global.netns {
        Some(Netns::Path { name, .. }) => format!("injector clear -i {device} --netns {name}"),
        _ => format!("injector clear -i {device}"),
    }
}
