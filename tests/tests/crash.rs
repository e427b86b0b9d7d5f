//! Killed at any moment: faults end, `clear` finds all that is left, and nobody loses a packet for it.

use std::{
    fs,
    io::Write as _,
    process::Stdio,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use injector_common::random::Stream;
use injector_tests::{
    Injector, Lab,
    clock::wait_until,
    directory::Directory,
    injector, kernel,
    residue::{Programs, Snapshot},
    tool,
    udp::{Flow, Report},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Longer than the lease, by what an emulated processor may stand still.
const LAPSE: Duration = Duration::from_secs(12);
/// What the rules drop.
const DROPPED: u16 = 5000;
/// What no rule matches.
const UNMATCHED: u16 = 5001;
/// What the rules match, and what arrives all the same.
const CARRIED: u16 = 5002;
const STAGES: [Stage; 4] = [Stage::Start, Stage::Phases, Stage::Reload, Stage::Stop];

/// Which part of a run's life is cut short.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Start,
    Phases,
    Reload,
    Stop,
}

/// A moment at which a run is killed.
#[derive(Clone, Copy, Debug)]
struct Moment {
    number: u64,
    stage: Stage,
    way: &'static str,
    /// Whether the device has a clsact of somebody else's.
    has_clsact: bool,
    /// How far into the stage, of its usual length.
    share: f64,
}

impl Moment {
    fn new(number: u64, chance: &Stream) -> Self {
        let ways: &[&str] = if kernel::has_tcx() {
            &["tcx", "clsact"]
        } else {
            &["clsact"]
        };
        // Every stage with each way, with and without a clsact.
        let turn = number as usize / STAGES.len();
        Self {
            number,
            stage: STAGES[number as usize % STAGES.len()],
            way: ways[turn % ways.len()],
            has_clsact: turn / ways.len() % 2 == 1,
            share: chance.up_to(number + 1, 1_000_000) as f64 / 1e6,
        }
    }

    /// Lives up to the moment, and dies. Returns what the process held open.
    fn pass(self, lab: &Lab, usual_start: Duration) -> Programs {
        let pause = |usual: Duration| thread::sleep(usual.mul_f64(self.share));
        match self.stage {
            Stage::Start => {
                let mut child = injector::command()
                    .arg("--netns")
                    .arg(lab.a.netns.path())
                    .args(["run", "-", "-i", "eth0", "--attach", self.way])
                    .stdin(Stdio::piped())
                    .spawn()
                    .expect("start a run");
                let mut stdin = child.stdin.take().expect("a pipe");
                stdin.write_all(rules(1).as_bytes()).expect("write to it");
                drop(stdin);
                pause(usual_start.mul_f64(1.2));
                let held = killed(Pid::from_raw(child.id() as i32));
                child.wait().expect("wait for the run");
                held
            }
            Stage::Phases => {
                let run = self.start(lab, &phases(), &[]);
                pause(Duration::from_millis(200));
                end(run)
            }
            Stage::Reload => {
                let directory = Directory::new(&format!("crash-{}", self.number));
                let path = directory.file("profile.yaml");
                fs::write(&path, rules(1)).expect("write a profile");
                let run = self.start(lab, "", &[path.to_str().expect("UTF-8"), "--watch"]);
                fs::write(&path, rules(2)).expect("save it");
                pause(Duration::from_millis(40));
                end(run)
            }
            Stage::Stop => {
                let run = self.start(lab, &rules(1), &[]);
                run.signal(Signal::SIGTERM);
                pause(Duration::from_millis(80));
                end(run)
            }
        }
    }

    fn start(self, lab: &Lab, profile: &str, args: &[&str]) -> Injector {
        let args: Vec<&str> = ["--attach", self.way].iter().chain(args).copied().collect();
        Injector::start_with(&lab.a, profile, &args)
    }
}

fn end(run: Injector) -> Programs {
    let held = killed(run.pid());
    run.wait();
    held
}

/// Kills the process. It is stopped first, for the sake of what it holds open at that moment.
fn killed(process: Pid) -> Programs {
    kill(process, Signal::SIGSTOP).expect("stop the run");
    let held = Programs::of_process(process);
    kill(process, Signal::SIGKILL).expect("kill the run");
    held
}

/// Rules of which some lift packets that are delivered all the same.
fn rules(seed: u64) -> String {
    format!("name: rules\nseed: {seed}\nrules: [{}]\n", list())
}

fn phases() -> String {
    let phase = |name| format!("{{name: {name}, for: 20ms, rules: [{}]}}", list());
    format!(
        "name: phases\nseed: 1\nrepeat: forever\nphases: [{}, {}]\n",
        phase("first"),
        phase("second")
    )
}

fn list() -> String {
    let carried = if kernel::can_delay() {
        "delay: 5ms"
    } else {
        "drop: 0.0000001%"
    };
    [(DROPPED, "drop: 100%"), (CARRIED, carried)]
        .map(|(port, fault)| {
            format!("{{direction: both, match: {{protocol: udp, dst_port: {port}}}, {fault}}}")
        })
        .join(", ")
}

/// Asserts that a flow that nobody meant to harm arrived.
#[track_caller]
fn assert_whole(report: &Report, what: &str) {
    assert_eq!(report.errors, Vec::<String>::new(), "{what}");
    let unwanted = (report.lost(), report.duplicated(), report.damaged());
    assert_eq!(unwanted, Default::default(), "{what}: lost, twice, damaged");
}

/// Kills a run at the moment, under traffic, and asserts all that a killed run promises.
fn survive(moment: Moment, usual_start: Duration) {
    let lab = Lab::new();
    if moment.has_clsact {
        lab.a.run(|| tool::tc("qdisc add dev eth0 clsact"));
    }
    let before = Snapshot::of(&lab.a.netns);
    let traffic = traffic(usual_start);
    let held = thread::scope(|scope| {
        let flows = [UNMATCHED, CARRIED].map(|port| {
            let (lab, flow) = (&lab, traffic.clone().port(port));
            scope.spawn(move || flow.send(&lab.a, &lab.b))
        });
        let held = moment.pass(&lab, usual_start);
        let died = Instant::now();
        let over = || {
            let probe = Flow::new(3).port(DROPPED).linger(Duration::from_millis(30));
            probe.send(&lab.a, &lab.b).lost().is_empty()
        };
        let limit = if moment.way == "tcx" {
            Duration::ZERO
        } else {
            LAPSE
        };
        assert!(
            wait_until(limit, over),
            "still faults {:?} after the end",
            died.elapsed()
        );
        let [unmatched, carried] = flows.map(|flow| flow.join().expect("a flow"));
        // Adding clsact to a busy device and deleting it loses a packet or two, whoever does it.
        if moment.way == "tcx" || moment.has_clsact {
            assert_whole(&unmatched, "no rule's");
            assert_whole(&carried, "carried");
        }
        held
    });
    let cleared = injector::call(&lab.a.netns, &["clear", "--all"]);
    let said = String::from_utf8_lossy(&cleared.stderr).into_owned();
    assert!(cleared.status.success(), "{said}");
    before.assert_same(&lab.a.netns);
    held.assert_gone();
    for port in [DROPPED, CARRIED] {
        let flow = Flow::new(20).port(port).linger(Duration::from_millis(50));
        flow.send(&lab.a, &lab.b).assert_untouched();
        flow.send(&lab.b, &lab.a).assert_untouched();
    }
}

/// Datagrams that usually outlast the run; few where the processor is emulated, and busy.
fn traffic(usual_start: Duration) -> Flow {
    let gap = Duration::from_millis(if kernel::is_guest() { 20 } else { 2 });
    let life = 3 * usual_start + Duration::from_millis(400);
    Flow::new((life.as_micros() / gap.as_micros()) as u64).gap(gap)
}

/// How long a run takes to start here.
fn usual_start() -> Duration {
    let lab = Lab::new();
    let begin = Instant::now();
    let run = Injector::start(&lab.a, &rules(1));
    let usual = begin.elapsed();
    run.stop();
    usual
}

/// 100 moments, 8 where the processor is emulated, or `INJECTOR_TEST_CRASHES`.
fn count() -> u64 {
    let default = if kernel::is_guest() { 8 } else { 100 };
    let wanted = std::env::var("INJECTOR_TEST_CRASHES").ok();
    wanted.map_or(default, |count| count.parse().expect("a number"))
}

/// How many at the same time: most of it is waiting for leases to run out.
fn lanes() -> usize {
    if kernel::is_guest() { 1 } else { 8 }
}

fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok();
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    given.map_or(now.as_nanos() as u64, |seed| seed.parse().expect("a seed"))
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_that_clear_does_not_find() {
    let seed = seed();
    eprintln!("TEST_SEED={seed}");
    let chance = Stream::new(seed);
    let usual_start = usual_start();
    eprintln!("a start takes {usual_start:?}");
    let moments = Mutex::new(0..count());
    let next = || moments.lock().expect("the moments").next();
    thread::scope(|scope| {
        for _ in 0..lanes() {
            scope.spawn(|| {
                while let Some(number) = next() {
                    let moment = Moment::new(number, &chance);
                    eprintln!("{moment:?}");
                    survive(moment, usual_start);
                }
            });
        }
    });
}
