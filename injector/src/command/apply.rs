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
    print, print_json,
    run::{Chosen, Prepared, open_audit},
};
use crate::{
    cli::{Apply, Faults, Global},
    datapath::{
        self, Error, Netns, capability, clear,
        journal::{self, Place, Record},
        netlink::Netlink,
        netns::NetnsId,
        target::Target,
    },
    error::{Code, Failure},
    observe::{audit::Who, format, report},
    profile::Source,
};

#[derive(Serialize)]
struct Answer<'a, T> {
    schema: &'static str,
    /// `in_force` or `waiting`.
    state: &'static str,
    #[serde(flatten)]
    faults: &'a T,
}

impl<'a, T> Answer<'a, T> {
    const fn new(state: &'static str, faults: &'a T) -> Self {
        Self {
            schema: "injector.apply/v1",
            state,
            faults,
        }
    }
}

pub(super) fn apply(args: &Apply, global: &Global) -> Outcome {
    let faults = &args.faults;
    let request = request(faults, global)?;
    capability::require(&capability::RUN)?;
    let netns = global.netns();
    let (id, place) = match place(&netns, &faults.interface) {
        Err(Error::NoDevice { device, .. }) if faults.wait_for_device => {
            (netns.id()?, Place::Absent(device))
        }
        place => {
            let (id, ifindex) = place?;
            (id, Place::Device(ifindex))
        }
    };
    // Only to know now whether it can be.
    open_audit(faults, Who::this_process())?;
    if faults.replace {
        clear::stop_holder(&netns, &faults.interface)?;
    }
    match ask(&request, id, &place)? {
        Reply::InForce(in_force) => say(&in_force, global),
        Reply::Waiting(waiting) => say_waiting(&waiting, global),
        Reply::Failed(failure) => Err(failure),
    }
}

/// What to ask for, having made sure that it makes sense.
fn request(faults: &Faults, global: &Global) -> Result<Request, Failure> {
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
    let guard = Guard::new(faults.protect, &faults.interface, ssh, global)?;
    let prepared = Prepared::new(chosen, faults.seed, faults, &guard)?;
    let arguments = env::args_os().skip(1).map(|argument| {
        argument.into_string().map_err(|argument| {
            let message = format!("`{}` is not UTF-8", argument.display());
            Failure::new(Code::Usage, message)
        })
    });
    Ok(Request {
        schema: control::SCHEMA.into(),
        arguments: arguments.collect::<Result<_, _>>()?,
        directory: env::current_dir()?,
        stdin,
        ssh,
        seed: prepared.first().seed,
    })
}

/// The device, as others know it.
pub(super) fn place(netns: &Netns, device: &str) -> datapath::Result<(NetnsId, u32)> {
    let target = netns.run(|| Target::find(&Netlink::open()?, netns, device))?;
    Ok((netns.id()?, target.link.index))
}

/// Asks the process that holds the device, or starts one.
fn ask(request: &Request, netns: NetnsId, place: &Place) -> Result<Reply, Failure> {
    /// How soon to look again where somebody is just starting or ending.
    const STEP: Duration = Duration::from_millis(50);
    /// How long that may take, on a busy machine or with packets that are held.
    const PATIENCE: Duration = Duration::from_secs(180);
    let give_up = Instant::now() + PATIENCE;
    loop {
        let holder = living(netns, place)?;
        match &holder {
            // One that waits takes no orders.
            Some(holder) if !holder.background || matches!(place, Place::Absent(_)) => {
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
fn living(netns: NetnsId, place: &Place) -> Result<Option<Record>, Failure> {
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

fn say(in_force: &InForce, global: &Global) -> Outcome {
    if global.json {
        print_json(&Answer::new("in_force", in_force))?;
        return Ok(0);
    }
    if global.quiet {
        return Ok(0);
    }
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
    print(&format!(
        "{device}: faults {what}: profile {profile}, seed {seed}, {}; held by pid {pid}{}\n\
         {device}: protected: {}\n\
         {}`{}` ends them\n",
        hooks.join(", "),
        end.unwrap_or_default(),
        report::protected(&in_force.protected),
        lines,
        clearing(device, global),
    ))
}

fn say_waiting(waiting: &Waiting, global: &Global) -> Outcome {
    if global.json {
        print_json(&Answer::new("waiting", waiting))?;
        return Ok(0);
    }
    if global.quiet {
        return Ok(0);
    }
    let Waiting {
        device,
        profile,
        seed,
        pid,
    } = waiting;
    print(&format!(
        "{device}: waiting for the device: profile {profile}, seed {seed}; held by pid {pid}\n\
         `{}` ends that\n",
        clearing(device, global),
    ))
}

/// What ends faults in the background.
fn clearing(device: &str, global: &Global) -> String {
    match &global.netns {
        Some(Netns::Path { name, .. }) => format!("injector clear -i {device} --netns {name}"),
        _ => format!("injector clear -i {device}"),
    }
}
