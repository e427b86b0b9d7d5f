//! The process that holds the faults of `apply`: a run in the background, whose rules others may swap.
//!
//! It is told what to do over a socket on its standard input, once, and then over one in
//! `/run/injector`, by the same messages.

use std::{
    env,
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsFd as _,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::mpsc as channel,
    thread,
};

use clap::Parser as _;
use nix::{libc, unistd::dup2_stdin};
use tokio::{runtime::Runtime, sync::mpsc};

use super::{
    Outcome, container,
    control::{self, InForce, Reply, Request, Waiting},
    guard::Guard,
    place::Place,
    run::{
        Chosen, Ends, Entry, Influences, Play, Prepared, Signals, Stage, Telemetry, Wish, enter,
        open_audit,
    },
};
use crate::{
    cli::{Cli, Command, Faults, Global, Metrics},
    datapath::{Session, journal, undo::Undo},
    error::{Code, Failure},
    observe::audit::Who,
    plan::Needs,
};

/// Holds what standard input asks for, until it ends.
pub(super) fn hold() -> Outcome {
    close_inherited();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asker = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let not_asked = || {
        Failure::new(Code::Usage, "nobody asks for faults on standard input")
            .hint("`injector apply` starts this command by itself")
    };
    let who = control::peer(&asker).map_err(|_| not_asked())?;
    let request = control::receive::<Request>(&asker, Some(control::AT_HAND))?;
    let (Some(who), Some(request)) = (who, request) else {
        return Err(not_asked());
    };
    let mut asker = Some(asker);
    let played = Order::new(request).and_then(|order| play(order, &who, &mut asker, &runtime));
    match (played, asker) {
        (Err(failure), Some(asker)) => refuse(&asker, failure),
        (played, _) => played,
    }
}

/// Closes what this process was born with, but for its standard streams: locks and pipes of others.
fn close_inherited() {
    // SAFETY: nothing has been opened yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

fn refuse(asker: &UnixStream, failure: Failure) -> Outcome {
    let code = failure.code as u8;
    control::send(asker, &Reply::Failed(failure))?;
    Ok(code)
}

/// A request, understood.
struct Order {
    faults: Faults,
    global: Global,
    guard: Guard,
    /// For one interface.
    prepared: Vec<Prepared>,
}

impl Order {
    fn new(request: Request) -> Result<Self, Failure> {
        if request.schema != control::SCHEMA {
            let message = format!(
                "the faults are held by another version of injector, which knows `{}` and not `{}`",
                control::SCHEMA,
                request.schema
            );
            return Err(Failure::new(Code::Conflict, message)
                .hint("`--replace` ends that process, and starts one of this version"));
        }
        // Relative paths are those of whoever asks; this process is nowhere, to keep nothing mounted.
        let there = env::set_current_dir(&request.directory);
        there.map_err(|error| {
            let directory = request.directory.display();
            Failure::new(Code::Usage, format!("cannot enter {directory}: {error}"))
        })?;
        let order = Self::read(request);
        env::set_current_dir("/")?;
        order
    }

    fn read(request: Request) -> Result<Self, Failure> {
        let arguments = ["injector".to_owned()].into_iter().chain(request.arguments);
        let cli = Cli::try_parse_from(arguments);
        let mut cli = cli.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
        container::resolve(&mut cli.global)?;
        let Command::Apply(apply) = cli.command else {
            return Err(Failure::new(Code::Usage, "only `apply` can be held"));
        };
        let mut faults = apply.faults;
        faults.audit = faults.audit.map(std::path::absolute).transpose()?;
        let metrics = &mut faults.metrics.file;
        *metrics = metrics.take().map(std::path::absolute).transpose()?;
        // Whoever asks has seen to that.
        faults.replace = false;
        let global = Global {
            json: false,
            quiet: true,
            ..cli.global
        };
        let chosen = Chosen::from(&faults, request.stdin, &global)?;
        let mut places = Place::of_run(&chosen.profile, &faults, &global)?.into_iter();
        let place = places.find(|place| place.to_string() == request.at);
        let place = place.ok_or_else(|| {
            let message = format!("`{}` is gone", request.at);
            Failure::new(Code::Conflict, message)
        })?;
        let guard = Guard::new(faults.protect, place, request.ssh)?;
        let prepared = Prepared::all(chosen, Some(request.seed), &faults, [&guard])?;
        Ok(Self {
            faults,
            global,
            guard,
            prepared,
        })
    }
}

/// Plays what was ordered, on one device after the other where that is wanted. Whoever asked is told once,
/// and gone then.
fn play(order: Order, who: &Who, asker: &mut Option<UnixStream>, runtime: &Runtime) -> Outcome {
    let (faults, global, mut prepared) = (&order.faults, &order.global, order.prepared);
    let ends = prepared[0].total().is_some();
    let place = order.guard.place().clone();
    let stage = Stage::new(faults, global, order.guard, Needs::ANY, ends)?.in_background();
    let stages = [stage];
    let mut telemetry = Telemetry::open(&faults.metrics, runtime)?;
    let mut influences = Influences {
        ends: Ends::new(Signals::in_background(runtime)?),
        watch: None,
        wishes: None,
    };
    loop {
        let audit = open_audit(faults, who.clone())?;
        let waits = |prepared: &Prepared| tell(asker, &Reply::Waiting(waiting(prepared, &place)));
        let mut ready = match enter(&stages, prepared, &mut influences.ends, runtime, waits)? {
            Entry::Ready(ready) => ready,
            Entry::Ended(..) => return Ok(Code::Ok as u8),
        };
        let server = Server::start(&mut ready[0].session, &mut influences)?;
        let mut play = Play::begin(ready, &stages, audit, telemetry)?;
        if let Err(failure) = tell(asker, &Reply::from(in_force(&play, false))) {
            play.stop(&failure.message, |_| false)?;
            return Err(failure);
        }
        let played = runtime.block_on(play.play(&mut influences));
        // Who asks now has to start anew.
        drop(influences.wishes.take());
        server.end();
        let reason = match &played {
            Ok(ending) => ending.reason().to_owned(),
            Err(failure) => failure.message.clone(),
        };
        let rest = play.stop(&reason, |_| true)?;
        if !(played?.is_absence() && faults.wait_for_device) {
            return Ok(Code::Ok as u8);
        }
        (prepared, telemetry) = (rest.prepared, rest.telemetry);
    }
}

/// Tells whoever asked what has come of it, unless that was done before.
fn tell(asker: &mut Option<UnixStream>, reply: &Reply) -> Result<(), Failure> {
    let Some(asker) = asker.take() else {
        return Ok(());
    };
    // Otherwise it has been killed meanwhile: nobody would know.
    control::send(&asker, reply)
        .and_then(|()| detach())
        .map_err(|_| Failure::new(Code::Unexpected, "apply was killed"))?;
    let _ = asker.shutdown(std::net::Shutdown::Both);
    Ok(())
}

fn waiting(prepared: &Prepared, place: &Place) -> Waiting {
    let plan = prepared.first();
    Waiting {
        profile: plan.profile.clone(),
        seed: plan.seed,
        device: place.device.clone(),
        pid: std::process::id(),
    }
}

/// Lets go of the socket on standard input.
fn detach() -> io::Result<()> {
    Ok(dup2_stdin(File::open("/dev/null")?)?)
}

/// Takes the orders of those who want other rules.
struct Server(PathBuf);

impl Server {
    /// Takes them on a thread, for as long as the session lasts.
    fn start(session: &mut Session, influences: &mut Influences) -> Result<Self, Failure> {
        let Some(record) = session.record() else {
            return Err(Failure::new(Code::Unexpected, "the run has no record"));
        };
        let path = journal::socket_of(record.netns, record.ifindex);
        session.note(Undo::DeleteSocket { path: path.clone() })?;
        let listener = bind(&path).map_err(|error| {
            let message = format!("cannot listen on {}: {error}", path.display());
            Failure::new(Code::Refused, message)
        })?;
        let (sender, wishes) = mpsc::channel(1);
        thread::spawn(move || serve(&listener, &sender));
        influences.wishes = Some(wishes);
        Ok(Self(path))
    }

    /// Ends the thread, which finds that nobody listens to it any more.
    fn end(self) {
        // Where that fails, somebody else has deleted the socket.
        let _ = UnixStream::connect(&self.0);
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // The device's record is ours, and so is the name.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves one after the other, for as long as the run plays.
fn serve(listener: &UnixListener, wishes: &mpsc::Sender<Wish>) {
    for stream in listener.incoming().flatten() {
        // Who cannot be understood, or is gone, needs no answer.
        let _ = serve_one(&stream, wishes);
        if wishes.is_closed() {
            return;
        }
    }
}

fn serve_one(stream: &UnixStream, wishes: &mpsc::Sender<Wish>) -> io::Result<()> {
    let Some(who) = control::peer(stream)? else {
        return Ok(());
    };
    let Some(request) = control::receive::<Request>(stream, Some(control::AT_HAND))? else {
        return Ok(());
    };
    let (sender, reply) = channel::channel();
    let wish: Wish = Box::new(move |play| {
        // The receiver waits below.
        let _ = sender.send(Reply::from(swap(play, request, who)));
    });
    // Where the run ends meanwhile, there is no answer: the faults that it held are over.
    if wishes.blocking_send(wish).is_ok()
        && let Ok(reply) = reply.recv()
    {
        control::send(stream, &reply)?;
    }
    Ok(())
}

/// Puts other rules into force.
fn swap(play: &mut Play<'_>, request: Request, who: Who) -> Result<InForce, Failure> {
    let order = Order::new(request)?;
    require_same_place(play, &order)?;
    require_same_metrics(play, &order)?;
    let prepared = &order.prepared[0];
    let guard = order.guard.of_run(prepared.total().is_some())?;
    guard.require_end(&prepared.plans)?;
    let audit = match &order.faults.audit {
        Some(_) => open_audit(&order.faults, who)?,
        None => play.audit_mut().in_the_name_of(who)?,
    };
    let former = std::mem::replace(play.audit_mut(), audit);
    if let Err(failure) = play.swap(order.prepared) {
        *play.audit_mut() = former;
        return Err(failure);
    }
    in_force(play, true)
}

/// That the request is about the device that is held: a device of another namespace may have had its
/// number before.
fn require_same_place(play: &Play<'_>, order: &Order) -> Result<(), Failure> {
    let (id, ifindex) = super::apply::identify(order.guard.place())?;
    match play.session().record() {
        Some(record) if record.netns.may_be(&id) && record.ifindex == ifindex => Ok(()),
        _ => Err(Failure::new(Code::Conflict, "another device is held here")),
    }
}

/// That the metrics stay where they are: the place was made sure of before the first faults came into force.
fn require_same_metrics(play: &Play<'_>, order: &Order) -> Result<(), Failure> {
    let wanted = &order.faults.metrics;
    if *wanted == Metrics::default() || wanted == play.metrics_args() {
        return Ok(());
    }
    let message = "metrics are told where the first `apply` said, or not at all";
    Err(Failure::new(Code::Conflict, message)
        .hint("leave `--metrics` and `--metrics-file` away, or start anew with `--replace`"))
}

fn in_force(play: &Play<'_>, swapped: bool) -> Result<InForce, Failure> {
    let session = play.session();
    let Some(record) = session.record() else {
        return Err(Failure::new(Code::Unexpected, "the run has no record"));
    };
    Ok(InForce {
        profile: record.profile.clone(),
        seed: record.seed,
        device: record.device.clone(),
        ifindex: record.ifindex,
        attached: record.attached.clone(),
        protected: record.protected.clone(),
        left_out: record.left_out.clone(),
        notes: record.notes.clone(),
        pid: record.pid,
        swapped,
        ends_in_ms: session.term()?.ends_in_ms,
    })
}
