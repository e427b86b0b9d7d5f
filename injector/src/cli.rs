//! The command line: types, and what a shell offers to fill them.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;

use crate::{
    datapath::{AttachPolicy, Netns, XdpPolicy, control::Lapse},
    profile::{Direction, Distribution},
    units::{Bandwidth, DurationNs, Probability},
};

mod completions;
mod import;
mod judge;
mod man;
mod metrics;
mod remote;
mod scenario;
mod trace;
mod watch;

pub use self::{
    completions::{Completions, VARIABLE, answer},
    import::Import,
    judge::Judge,
    man::Man,
    metrics::Metrics,
    remote::Remote,
    scenario::Scenario,
    trace::{Fault, Trace},
    watch::Watch,
};

/// Packet-level network faults for Linux, in eBPF, with no proxy
///
/// Drops, delays, corrupts, duplicates, reorders and throttles real packets on any network interface,
/// in both directions, exactly as a profile asks, and leaves no trace when it ends.
#[derive(Debug, Parser)]
#[command(name = "injector", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// What applies to every command
    #[command(flatten)]
    pub global: Global,
}

const EXAMPLES: &str = "\
Examples:
  injector demo                                         see it work, on a private pair of namespaces
  injector run -i eth0 --delay 80ms --drop 1% --for 60s degrade an interface for a minute
  injector run flaky.yaml -i eth0 -- cargo test         run a test over a bad network
  injector apply flaky.yaml -i eth0 --for 10m           the same in the background
  injector doctor -i eth0                               can this machine do it?

Exit codes: 0 ok, 1 bug, 2 usage, 3 profile invalid, 4 not permitted or not supported,
5 conflict or target gone, 6 refused by the kernel and rolled back, 7 not what was expected,
130 after Ctrl-C";

/// What applies to every command.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Act inside this network namespace: a name of `ip netns`, a path, or pid:N
    #[arg(long, global = true, value_name = "NAME|PATH|pid:N",
        add = ArgValueCompleter::new(completions::namespaces))]
    pub netns: Option<Netns>,
    /// Act inside the network namespace of this container, on its only interface unless `-i` names another
    #[arg(long, global = true, value_name = "NAME|ID", conflicts_with = "netns",
        add = ArgValueCompleter::new(completions::containers))]
    pub container: Option<String>,
    /// Print JSON for programs: one document, or one line for each event
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more: before a run, every change that it will make
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Colour the output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Inject faults until Ctrl-C, or for as long as a command runs
    Run(Run),
    /// Inject faults in the background, or swap those that are
    Apply(Apply),
    /// Hold faults for `apply`
    #[command(hide = true)]
    Hold,
    /// Play scenarios: real software over bad networks, step by step
    Scenario(Scenario),
    /// Play one scenario for `scenario`
    #[command(hide = true)]
    Stage,
    /// Validate profiles, without privileges
    Check(Check),
    /// Make a profile of faults that were written for another tool
    Import(Import),
    /// Show what `run` would do, without doing it
    Plan(Plan),
    /// Show the fate of the first packets that a rule will match
    Predict(Predict),
    /// Show the runs on this machine, with their counters
    Status(Status),
    /// Watch the runs on this machine: what their rules do, and how fast
    Watch(Watch),
    /// Show the packets to which something happens, one by one
    Trace(Trace),
    /// End runs, and undo what killed ones left
    Clear(Clear),
    /// Find out whether this machine can do it, and what to do where it cannot
    Doctor(Doctor),
    /// Measure a private path before, during and after a profile
    Demo(Demo),
    /// List the built-in profiles, or show one
    Profiles(Profiles),
    /// Print the JSON Schema of a profile, for editors
    Schema,
    /// Print a script that lets a shell complete commands, options, profiles and interfaces
    Completions(Completions),
    /// Print the manual page, or write the pages of all commands into a directory
    Man(Man),
}

/// Inject faults until Ctrl-C, until the profile's phases are over, or as long as a command runs
#[derive(Debug, Args)]
#[command(after_help = "\
Faults are in force when it says so, and end with it. `injector profiles` lists the built-in profiles,
`injector schema` says what may stand in one of your own.

Examples:
  injector run flaky.yaml -i eth0
  injector run flaky.yaml -i eth0 --watch
  injector run flaky.yaml -i eth0 -i eth1
  injector run geo-sat -i eth0 --for 10m
  injector run handover -i eth0 --phase outage
  injector run offline -i eth0 --confirm 30s
  injector run -i eth0 --delay 80ms --jitter 10ms --drop 1% --direction both
  injector run -i eth0 --rate 20mbit --delay 40ms --reorder 2%
  injector run -i eth0 --drop 5% --to 10.0.0.0/8:5432/tcp -- ./integration-tests
  injector run -i eth0 --drop 5% --only-command -- ./integration-tests
  injector run flaky.yaml --container web
  injector run flaky.yaml -i eth0 --expect 'db.drop=1%±0.3%' --expect-fired -- ./integration-tests")]
pub struct Run {
    /// What to inject, and where
    #[command(flatten)]
    pub faults: Faults,
    /// Swap the rules when the file is saved; an invalid profile leaves the old one in force, and
    /// one with phases is refused
    #[arg(long, requires = "profile", help_heading = None)]
    pub watch: bool,
    /// Print the plan, and touch nothing
    #[arg(long, help_heading = None)]
    pub dry_run: bool,
    /// Show at the end, for each rule, how its delays, the sizes of its packets and the gaps between those
    /// that were hit are distributed
    #[arg(long)]
    pub histograms: bool,
    /// Ask on the terminal whether the faults may stay, and end them unless Enter is pressed within
    /// this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration,
        conflicts_with = "command", help_heading = "Protection")]
    pub confirm: Option<Duration>,
    /// What to expect
    #[command(flatten)]
    pub judge: Judge,
    /// Touch only the packets of the command, and of all that it starts
    #[arg(long, requires = "command", conflicts_with = "wait_for_device", help_heading = None)]
    pub only_command: bool,
    /// Run this command; the faults last as long, and its exit status is the exit status
    #[arg(last = true, value_name = "COMMAND", help_heading = None)]
    pub command: Vec<OsString>,
}

/// Inject faults in the background, or swap those that are
#[derive(Debug, Args)]
#[command(after_help = "\
Returns when the faults are in force. A process in the background holds them; they end with it, with
`injector clear -i DEV`, after `--for`, or when the profile's phases are over. Where faults are in the
background already, their rules are swapped, all at once: no packet meets both, and none the old ones
after the return. --attach, --xdp, --lapse and --wait-for-device stay as they are then; --replace starts
anew.

Examples:
  injector apply flaky.yaml -i eth0
  injector apply handover -i eth0 --for 10m
  injector apply -i eth0 --delay 80ms --drop 1%
  injector clear -i eth0")]
pub struct Apply {
    /// What to inject, and where
    #[command(flatten)]
    pub faults: Faults,
}

/// What to inject, and where.
#[derive(Clone, Debug, Args)]
pub struct Faults {
    /// A file, `-` for standard input, or the name of a built-in profile
    #[arg(add = ArgValueCompleter::new(completions::profiles))]
    pub profile: Option<String>,
    /// The interface whose packets are meant; may be given again, or stand for several by a pattern, such as
    /// 'veth*': then their faults begin, change and end together
    #[arg(long = "interface", short, value_name = "DEV",
        add = ArgValueCompleter::new(completions::interfaces))]
    pub interfaces: Vec<String>,
    /// End after this time, also if this process is stopped or killed
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Start with this phase of the profile
    #[arg(long, value_name = "NAME", conflicts_with = "start_at")]
    pub phase: Option<String>,
    /// Start as if the profile's phases had been played for this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub start_at: Option<Duration>,
    /// Decide by this seed, in place of the profile's: the same one decides the same
    #[arg(long)]
    pub seed: Option<u64>,
    /// End the run that has the interface, if there is one, and take its place
    #[arg(long)]
    pub replace: bool,
    /// End, with exit code 5, as soon as others take a part of the run away: a program, the private pair
    #[arg(long)]
    pub strict: bool,
    /// Where there is no such interface, or it is deleted, wait until there is one of that name. --for
    /// counts meanwhile
    #[arg(long)]
    pub wait_for_device: bool,
    /// Whether rules are about the packets of the run's command alone
    #[arg(skip)]
    pub only_command: bool,
    /// Append a line to this file when faults start, change and end; else the systemd journal has them
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// Where to tell the counters
    #[command(flatten)]
    pub metrics: Metrics,
    /// A one-rule profile from flags
    #[command(flatten)]
    pub quick: Quick,
    /// How to attach
    #[command(flatten)]
    pub attach: Attach,
    /// End the faults when the process that holds them has not been heard for this time: 500ms to 1m
    #[arg(
        long,
        default_value = "5s",
        value_name = "TIME",
        help_heading = "Attaching"
    )]
    pub lapse: Lapse,
    /// What is kept from harm
    #[command(flatten)]
    pub protect: Protect,
}

/// A one-rule profile from flags.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Faults from flags, in place of a profile")]
pub struct Quick {
    /// Delay every packet, such as 80ms (one way)
    #[arg(long, value_name = "TIME")]
    pub delay: Option<DurationNs>,
    /// Vary the delay: uniformly by up to this, or by another --distribution
    #[arg(long, value_name = "TIME", requires = "delay")]
    pub jitter: Option<DurationNs>,
    /// How the delay varies: uniform, normal, pareto or paretonormal
    #[arg(long, value_name = "NAME", requires = "jitter")]
    pub distribution: Option<Distribution>,
    /// Drop packets with this probability, such as 1%
    #[arg(long, value_name = "PROBABILITY")]
    pub drop: Option<Probability>,
    /// Flip a bit with this probability
    #[arg(long, value_name = "PROBABILITY")]
    pub corrupt: Option<Probability>,
    /// Send packets twice with this probability
    #[arg(long, value_name = "PROBABILITY")]
    pub duplicate: Option<Probability>,
    /// Let packets overtake those that are delayed, with this probability
    #[arg(long, value_name = "PROBABILITY", requires = "delay")]
    pub reorder: Option<Probability>,
    /// Send packets one after the other, as a link of this bandwidth does, such as 20mbit
    #[arg(long, value_name = "BANDWIDTH")]
    pub rate: Option<Bandwidth>,
    /// Which packets: those that leave, those that arrive, or both
    #[arg(long, default_value = "egress", value_name = "egress|ingress|both")]
    pub direction: Direction,
    /// Only packets to this remote end (on ingress: from it), such as 10.0.0.0/8:5432/tcp
    #[arg(long, value_name = "[ADDRESS][:PORT][/PROTOCOL]")]
    pub to: Option<Remote>,
}

/// How to attach.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Attaching")]
pub struct Attach {
    /// How to get at the tc hooks, where packets leave and arrive
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    pub attach: AttachPolicy,
    /// Where ingress rules that only drop are decided: XDP costs least
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub xdp: XdpPolicy,
    /// Where the kernel has no fq, leave out what needs it: delay, reorder, rate and slot
    #[arg(long, value_enum, value_name = "delay")]
    pub allow_missing: Option<Missing>,
}

/// What faults may go without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Missing {
    /// What holds packets.
    Delay,
}

/// What is kept from harm, so that nobody is locked out.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Protection")]
pub struct Protect {
    /// Let rules touch the SSH connection that this is called from, ARP, IPv6 neighbour discovery and
    /// DHCP, and silence the default route's interface with no end in sight
    #[arg(long)]
    pub no_protect: bool,
}

/// Validate profiles, without privileges
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 3 where one is invalid, and says where, what was expected, and the nearest valid name.

Examples:
  injector check flaky.yaml
  injector check --json faults/*.yaml")]
pub struct Check {
    /// Files, `-` for standard input, or names of built-in profiles
    #[arg(required = true, add = ArgValueCompleter::new(completions::profiles))]
    pub profiles: Vec<String>,
}

/// Show what `run` would do, without doing it
#[derive(Debug, Args)]
pub struct Plan {
    /// A file, `-` for standard input, or the name of a built-in profile
    #[arg(add = ArgValueCompleter::new(completions::profiles))]
    pub profile: String,
    /// The interface whose packets are meant; may be given again, or be a pattern, such as 'veth*'
    #[arg(long = "interface", short, value_name = "DEV",
        add = ArgValueCompleter::new(completions::interfaces))]
    pub interfaces: Vec<String>,
    /// Decide by this seed, in place of the profile's: the same one decides the same
    #[arg(long)]
    pub seed: Option<u64>,
    /// How to attach
    #[command(flatten)]
    pub attach: Attach,
    /// What is kept from harm
    #[command(flatten)]
    pub protect: Protect,
}

/// Show the fate of the first packets that a rule will match
#[derive(Debug, Args)]
#[command(after_help = "\
The fate of a rule's n-th packet is a function of the seed, the rule and n alone, so that the
kernel decides exactly as is printed here. Packets are counted per direction, and anew whenever
a phase begins, so that a phase does the same to the same packets in every repetition.
What depends on time is not foretold: how long packets wait for a rate or a slot, and values
that change, of which the last ones are shown.

Examples:
  injector predict flaky.yaml --packets 20
  injector predict flaky.yaml --packets 1000 --rule db --json")]
pub struct Predict {
    /// A file, `-` for standard input, or the name of a built-in profile
    #[arg(add = ArgValueCompleter::new(completions::profiles))]
    pub profile: String,
    /// How many packets
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
    pub packets: u64,
    /// Only this phase of a profile that has phases
    #[arg(long, value_name = "NAME")]
    pub phase: Option<String>,
    /// Only this rule
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// Decide by this seed, in place of the profile's: the same one decides the same
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Show the runs on this machine, with their counters
#[derive(Debug, Args)]
pub struct Status {
    /// Only this interface
    #[arg(long, short, value_name = "DEV", add = ArgValueCompleter::new(completions::interfaces))]
    pub interface: Option<String>,
    /// Show also, for each rule, how its delays, the sizes of its packets and the gaps between those that
    /// were hit are distributed
    #[arg(long)]
    pub histograms: bool,
}

/// End runs, and undo what killed ones left
#[derive(Debug, Args)]
#[command(after_help = "\
Runs in the foreground end, too. What others have come to use since is left, and named.

Examples:
  injector clear -i eth0
  injector clear --all")]
pub struct Clear {
    /// Only this interface; may be given again, or be a pattern, such as 'veth*'
    #[arg(long = "interface", short, value_name = "DEV", required_unless_present_any = ["all", "container"],
        add = ArgValueCompleter::new(completions::interfaces))]
    pub interfaces: Vec<String>,
    /// Every interface: of the namespace that --netns names, or else of all namespaces of the machine
    #[arg(long, conflicts_with = "interfaces")]
    pub all: bool,
}

/// Find out whether this machine can do it, and what to do where it cannot
#[derive(Debug, Args)]
pub struct Doctor {
    /// Look at this interface too; may be given again, or be a pattern, such as 'veth*'
    #[arg(long = "interface", short, value_name = "DEV",
        add = ArgValueCompleter::new(completions::interfaces))]
    pub interfaces: Vec<String>,
}

/// Measure a private path before, during and after a profile
#[derive(Debug, Args)]
#[command(after_help = "\
The path is a pair of network namespaces that nobody else sees, and that is gone at the end.

Examples:
  injector demo
  injector demo lossy")]
pub struct Demo {
    /// A file, `-` for standard input, or the name of a built-in profile; a bit of everything where it is
    /// absent
    #[arg(add = ArgValueCompleter::new(completions::profiles))]
    pub profile: Option<String>,
}

/// List the built-in profiles, or show one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  injector profiles
  injector profiles show lte-good > mine.yaml")]
pub struct Profiles {
    /// What to show; the list if absent
    #[command(subcommand)]
    pub command: Option<ProfilesCommand>,
}

/// What to do with the built-in profiles.
#[derive(Debug, Subcommand)]
pub enum ProfilesCommand {
    /// Print a built-in profile, a start for one of your own
    Show {
        /// Its name
        #[arg(add = ArgValueCompleter::new(completions::builtins))]
        name: String,
    },
}
