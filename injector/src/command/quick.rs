//! A one-rule profile from flags.

use crate::{
    cli::{Quick, Remote},
    error::{Code, Failure},
    profile::{
        Checksum, Corrupt, Course, Delay, Direction, Drop, Duplicate, Fragments, Match, Profile,
        Rate, Reorder, Rule,
    },
    units::DurationNs,
};

/// The profile that the flags describe; `None` where they ask for no fault.
pub(super) fn profile(quick: &Quick) -> Result<Option<Profile>, Failure> {
    let any = quick.delay.is_some()
        || quick.drop.is_some()
        || quick.corrupt.is_some()
        || quick.duplicate.is_some()
        || quick.rate.is_some();
    if !any {
        return Ok(None);
    }
    let rules: Vec<_> = directions(quick.direction, quick.to.is_some())
        .into_iter()
        .map(|direction| rule(quick, direction))
        .collect::<Result<_, _>>()?;
    Ok(Some(Profile {
        name: "quick".into(),
        description: None,
        seed: None,
        course: Course::Steady(rules),
        expect: Vec::new(),
        interfaces: Vec::new(),
        targets: Vec::new(),
        fragments: Fragments::default(),
    }))
}

/// A remote end is the destination of what leaves and the source of what arrives, so that a rule
/// for both directions falls in two.
fn directions(direction: Direction, has_remote: bool) -> Vec<Direction> {
    match direction {
        Direction::Both if has_remote => vec![Direction::Egress, Direction::Ingress],
        direction => vec![direction],
    }
}

fn rule(quick: &Quick, direction: Direction) -> Result<Rule, Failure> {
    let name = match direction {
        Direction::Both => "quick".into(),
        direction => format!("quick-{direction}"),
    };
    let matching = quick
        .to
        .as_ref()
        .map_or_else(Match::default, |to| matching(to, direction));
    let rule = Rule {
        drop: quick.drop.map(Drop::independent),
        delay: quick.delay.map(|time| Delay {
            distribution: quick.distribution.clone().unwrap_or_default(),
            ..Delay::uniform(time, quick.jitter.unwrap_or(DurationNs::ZERO))
        }),
        corrupt: quick
            .corrupt
            .map(|probability| Corrupt::independent(probability, Checksum::Stale)),
        duplicate: quick.duplicate.map(Duplicate::independent),
        reorder: quick.reorder.map(Reorder::independent),
        rate: quick.rate.map(Rate::plain),
        ..Rule::exempting(name, direction, matching)
    };
    rule.check(Fragments::default()).map_err(|contradiction| {
        Failure::new(Code::Usage, contradiction.to_string()).hint(contradiction.expected())
    })?;
    Ok(rule)
}

/// Packets to a remote end; on ingress those from it.
pub(super) fn matching(to: &Remote, direction: Direction) -> Match {
    let (net, ports) = (to.net.into_iter().collect(), to.ports.into_iter().collect());
    let base = Match {
        protocol: to.protocol,
        ..Match::default()
    };
    match direction {
        Direction::Ingress => Match {
            src: net,
            src_port: ports,
            ..base
        },
        _ => Match {
            dst: net,
            dst_port: ports,
            ..base
        },
    }
}
