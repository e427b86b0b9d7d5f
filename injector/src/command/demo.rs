//! `injector demo`

mod asked;
mod bulk;
mod datagrams;
mod echo;
mod measure;
mod progress;
mod setting;
mod snmp;
mod text;

use std::{thread, time::Duration};

use serde::Serialize;

use self::{asked::Asked, measure::Measured, progress::Progress, setting::Setting};
use super::{Outcome, load_profile, print, print_json, signals::Signals, work_out};
use crate::{
    cli::{Demo, Global},
    datapath::{
        Error, Netns, Options, Session,
        capability::{self, Capability},
        counters::Snapshot,
        journal::{self, RecordedRule},
        netlink::Netlink,
        private_path::{self, DEVICE, End, PrivatePath},
        probe,
        undo::ALIAS_PREFIX,
    },
    error::{Code, Failure},
    observe::report::Achieved,
    plan::{Needs, Plan},
    profile::{self, Course, Profile},
};

/// What is shown where no profile is named.
const FAULTS: &str = "drop: 2%, corrupt: 1%, duplicate: 1%";
/// What is added to it where the kernel can delay.
const DELAY: &str = "{time: 40ms, jitter: 5ms}";

/// Everything that was found.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    profile: String,
    seed: u64,
    kernel: String,
    /// What the default profile has and this kernel has not.
    left_out: Option<&'static str>,
    asked: Asked,
    before: Measured,
    during: Measured,
    after: Measured,
    #[serde(flatten)]
    achieved: Achieved,
    /// Whether nothing of ours was found on the path afterwards.
    removed: bool,
}

impl Answer {
    /// The measurements, in order.
    fn phases(&self) -> [&Measured; 3] {
        [&self.before, &self.during, &self.after]
    }
}

pub(super) fn demo(args: &Demo, global: &Global) -> Outcome {
    if global.netns.is_some() {
        let message = "`--netns` does not apply to `demo`, which builds namespaces of its own";
        return Err(Failure::new(Code::Usage, message));
    }
    let named = args.profile.as_deref();
    let named = named.map(|name| load_profile(name, global)).transpose()?;
    require_privileges()?;
    let has_fq = probe::features()?.fq.is_yes();
    let left_out = (named.is_none() && !has_fq).then_some("delay");
    let profile = named.unwrap_or_else(|| default_profile(has_fq));
    let Course::Steady(_) = profile.course else {
        let message = format!(
            "profile `{}` has phases, which `demo` cannot measure",
            profile.name
        );
        return Err(Failure::new(Code::Usage, message).hint(
            "name a profile with `rules`: `injector profiles` lists those that are built in",
        ));
    };
    let plan = work_out(&profile, None)?.swap_remove(0);
    if plan.delay_max_ns() > 0 && !has_fq {
        return Err(Error::NoFq.into());
    }
    let signals = Signals::install()?;
    private_path::hide_run_directory();
    let show = Show {
        plan: &plan,
        global,
        signals: &signals,
        left_out,
    };
    match show.play() {
        Err(failure) if failure.code == Code::Interrupted => {
            global.say("interrupted: the namespaces are gone, and nothing is left");
            Ok(signals.exit_code())
        }
        other => other,
    }
}

fn require_privileges() -> Result<(), Error> {
    capability::require(&capability::RUN)?;
    if capability::has(Capability::CAP_SYS_ADMIN) {
        return Ok(());
    }
    let missing = "CAP_SYS_ADMIN (to create namespaces)".into();
    Err(Error::NotPermitted { missing })
}

fn default_profile(has_fq: bool) -> Profile {
    let delay = if has_fq {
        format!(", delay: {DELAY}")
    } else {
        String::new()
    };
    let text = format!("name: demo\nrules: [{{name: everything, {FAULTS}{delay}}}]");
    profile::parse("demo", &text).expect("constants, and valid")
}

/// One performance.
struct Show<'a> {
    plan: &'a Plan,
    global: &'a Global,
    signals: &'a Signals,
    left_out: Option<&'static str>,
}

impl Show<'_> {
    fn play(&self) -> Outcome {
        let asked = Asked::of(self.plan);
        self.announce(&asked);
        let path = PrivatePath::build()?;
        let setting = Setting::new(&path, self.plan, self.signals);
        let progress = Progress::new(self.global.quiet || self.global.json);
        let before = measure::measure(&setting, "before the faults", &progress)?;
        let (during, last) = self.measure_during(&path, &setting, &progress)?;
        let left = leftovers(&path.netns(End::Near))?;
        let after = measure::measure(&setting, "after the faults", &progress)?;
        drop(progress);
        let rules: Vec<RecordedRule> = self.plan.rules.iter().map(Into::into).collect();
        self.present(&Answer {
            schema: "injector.demo/v1",
            profile: self.plan.profile.clone(),
            seed: self.plan.seed,
            kernel: kernel(),
            left_out: self.left_out,
            asked,
            before,
            during,
            after,
            achieved: Achieved::of_ended(&rules, &last),
            removed: left.is_empty(),
        })?;
        verdict(&left)
    }

    fn announce(&self, asked: &Asked) {
        let Self { plan, global, .. } = self;
        if global.json {
            return;
        }
        global.say(format_args!(
            "profile {}, seed {}, on a private path: two network namespaces and a veth pair",
            plan.profile, plan.seed
        ));
        if self.left_out.is_some() {
            global.say(format_args!(
                "note: {}:\n      the delay of 40ms ± 5ms is left out; `./scripts/demo` shows it in a \
                 virtual machine",
                Error::NoFq
            ));
        }
        if asked.matches_nothing() {
            global.say(
                "note: no rule of this profile matches the packets that the demo sends \
                 (UDP and TCP between 192.0.2.1 and 192.0.2.2): expect no effect",
            );
        }
    }

    /// Measures while the profile is in force, renewing the lease.
    fn measure_during(
        &self,
        path: &PrivatePath,
        setting: &Setting<'_>,
        progress: &Progress,
    ) -> Result<(Measured, Snapshot), Failure> {
        const STEP: Duration = Duration::from_millis(50);
        let near = path.netns(End::Near);
        let mut session = Session::start(
            &near,
            DEVICE,
            self.plan,
            Needs::of([self.plan]),
            Options::default(),
        )?;
        let measured = thread::scope(|scope| {
            let measuring = scope.spawn(|| measure::measure(setting, "under the faults", progress));
            let mut steps: u128 = 0;
            let renewal = session.renewal();
            while !measuring.is_finished() {
                if steps.is_multiple_of(renewal.as_millis() / STEP.as_millis()) {
                    session.renew()?;
                }
                steps += 1;
                thread::sleep(STEP);
            }
            measuring
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let last = session.stop(|_| !self.signals.received())?;
        Ok((measured, last.in_force))
    }

    fn present(&self, answer: &Answer) -> Result<(), Failure> {
        if self.global.json {
            return print_json(answer);
        }
        print(&text::text(answer))?;
        let builtin = if self.left_out.is_none() {
            "geo-sat"
        } else {
            "lossy"
        };
        self.global.say(text::next(builtin));
        Ok(())
    }
}

/// What of ours is left in the namespace, by name.
fn leftovers(netns: &Netns) -> Result<Vec<String>, Failure> {
    let device = probe::device::device(netns, DEVICE)?;
    let mut left = netns.run(|| {
        let netlink = Netlink::open()?;
        let links = netlink.links()?.into_iter();
        let ours = links.filter(|link| link.alias.starts_with(ALIAS_PREFIX));
        // The device had none to begin with.
        let qdiscs = netlink.qdiscs(device.target.link.index)?.into_iter();
        let qdiscs = qdiscs.filter(|qdisc| qdisc.kind != "noqueue");
        let links = ours.map(|link| format!("interface {}", link.name));
        Ok(links
            .chain(qdiscs.map(|qdisc| format!("qdisc {}", qdisc.kind)))
            .collect::<Vec<_>>())
    })?;
    let programs = device
        .filters
        .into_iter()
        .chain(device.tcx.into_iter().flatten());
    left.extend(programs.map(|program| format!("program {} on {}", program.name, program.hook)));
    left.extend(device.xdp.map(|xdp| format!("XDP program {}", xdp.id)));
    let records = journal::records(netns.id()?)?;
    left.extend(
        records
            .iter()
            .map(|(record, _)| format!("record of {}", record.device)),
    );
    Ok(left)
}

fn verdict(left: &[String]) -> Outcome {
    if left.is_empty() {
        return Ok(Code::Ok as u8);
    }
    let message = format!("not everything was removed: {} left", left.join(", "));
    Err(Failure::new(Code::Unexpected, message).hint("it ends with the demo's namespaces"))
}

fn kernel() -> String {
    let name = nix::sys::utsname::uname();
    name.map_or_else(
        |_| "unknown".into(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}
