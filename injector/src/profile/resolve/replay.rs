//! Recordings.

use super::super::conflict::Conflict;
use super::super::files::Files;
use super::super::issue::Issue;
use super::super::replay::Recorded;
use super::super::schema::RawReplay;
use super::super::yaml::FieldPath;
use super::super::{Conditions, Recording, Replay};
use super::Resolved;
use crate::units::DurationNs;

/// Reads the recording that the `replay` at `at` names.
pub(super) fn resolve(raw: &RawReplay, at: &FieldPath, files: &mut Files<'_>) -> Resolved<Replay> {
    let file = at.key("file");
    let refuse = |key: &str, message: &str, expected: &str| {
        let issue = Issue::new(message).expected(expected);
        Err(Conflict::new(issue, at.key(key)).because_of(file.clone()))
    };
    match files.recording(&raw.file, file.clone())? {
        Recorded::Opportunities(_) if raw.r#loop == Some(false) => {
            refuse("loop", "a Mahimahi trace begins anew at its end", "`true`")
        }
        Recorded::Opportunities(_) if raw.interpolation.is_some() => {
            let message = "there is nothing between the opportunities of a Mahimahi trace";
            refuse("interpolation", message, "no `interpolation`")
        }
        Recorded::Opportunities(times) => Ok(Replay {
            recording: Recording::Opportunities(times),
            repeat: true,
        }),
        Recorded::Points(points) => {
            let repeat = raw.r#loop.unwrap_or(false);
            if repeat
                && points
                    .last()
                    .is_none_or(|last| last.time == DurationNs::ZERO)
            {
                let message = "the recording takes no time, so that it cannot begin anew";
                return refuse(
                    "loop",
                    message,
                    "`false`, or a recording of more than one point",
                );
            }
            let interpolation = raw.interpolation.unwrap_or_default();
            let conditions = Conditions {
                points,
                interpolation,
            };
            Ok(Replay {
                recording: Recording::Conditions(conditions),
                repeat,
            })
        }
    }
}
