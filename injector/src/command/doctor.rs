//! `injector doctor`

mod device;
mod leftovers;
mod machine;

use serde::Serialize;

use super::{Outcome, place::Place, print, print_json};
use crate::{
    cli::{Doctor, Global},
    error::{Code, Failure},
};

/// What was found.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    /// Whether faults can be injected here.
    able: bool,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    status: Status,
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// Nothing works without it.
    #[serde(skip)]
    required: bool,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// Absent.
    Missing,
    /// Worth knowing.
    Note,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Note => "note",
        }
    }
}

impl Check {
    fn new(check: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self {
            check,
            status,
            detail: detail.into(),
            remedy: None,
            required: false,
        }
    }

    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, detail)
    }

    fn note(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Note, detail)
    }

    fn missing(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Missing, detail)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Where it is missing, nothing works.
    fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }
}

pub(super) fn doctor(args: &Doctor, global: &Global) -> Outcome {
    let netns = global.netns();
    let mut checks = machine::checks();
    checks.extend(leftovers::checks(&netns));
    for place in Place::all_of(&args.interfaces, &netns)? {
        checks.extend(device::checks(&netns, &place.device)?);
    }
    let able = !checks
        .iter()
        .any(|check| check.required && check.status == Status::Missing);
    if global.json {
        print_json(&Answer {
            schema: "injector.doctor/v1",
            able,
            checks,
        })?;
    } else {
        show(&checks, able, global)?;
    }
    Ok(if able { Code::Ok } else { Code::Unsupported } as u8)
}

fn show(checks: &[Check], able: bool, global: &Global) -> Result<(), Failure> {
    let shown = checks
        .iter()
        .filter(|check| !global.quiet || check.status != Status::Ok);
    print(&shown.map(line).collect::<String>())?;
    print(&format!("\n{}\n", verdict(checks, able)))?;
    Ok(())
}

/// `missing  fq  …`, and below it the remedy.
fn line(check: &Check) -> String {
    let head = format!("{:<9}{:<18}", check.status.as_str(), check.check);
    let mut text = wrapped(&head, &check.detail);
    if let Some(remedy) = &check.remedy {
        text += &wrapped(&format!("{:INDENT$}→ ", ""), remedy);
    }
    text
}

/// The column of details.
const INDENT: usize = 27;

/// `text` behind `head`, in lines that fit most terminals.
fn wrapped(head: &str, text: &str) -> String {
    const WIDTH: usize = 100;
    let indent = head.chars().count();
    let (mut lines, mut column) = (head.to_owned(), indent);
    for word in text.split(' ') {
        let len = word.chars().count();
        if column > indent && column + 1 + len > WIDTH {
            lines += &format!("\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += len;
    }
    lines + "\n"
}

fn verdict(checks: &[Check], able: bool) -> String {
    let missing = |required: bool| {
        let missing = checks
            .iter()
            .filter(move |check| check.status == Status::Missing && check.required == required);
        missing.map(|check| check.check)
    };
    if !able {
        let missing: Vec<_> = missing(true).collect();
        return format!("injector cannot run here: {} missing", missing.join(", "));
    }
    let lost: Vec<_> = missing(false).map(serves).collect();
    match lost.is_empty() {
        true => "injector can run here".into(),
        false => format!("injector can run here, except for {}", lost.join(", ")),
    }
}

/// What does not work where `check`, which is not required, finds nothing.
fn serves(check: &'static str) -> &'static str {
    match check {
        "fq" => "delays",
        "CAP_SYS_ADMIN" => "--netns and demo",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_optional_does_not_spoil_the_verdict() {
        let checks = [Check::ok("kernel", "6.12"), Check::missing("fq", "no fq")];
        assert_eq!(
            verdict(&checks, true),
            "injector can run here, except for delays"
        );
        assert_eq!(verdict(&checks[..1], true), "injector can run here");
    }

    #[test]
    fn what_is_required_is_named() {
        let checks = [
            Check::missing("veth", "no veth").required(),
            Check::missing("fq", "no fq"),
        ];
        assert_eq!(
            verdict(&checks, false),
            "injector cannot run here: veth missing"
        );
    }

    #[test]
    fn long_lines_are_wrapped_between_words() {
        let text = wrapped("head ", &"word ".repeat(30));
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("     word")),
            "{text}"
        );
        assert_eq!(text.matches("word").count(), 30);
    }

    #[test]
    fn a_remedy_stands_below_its_check() {
        let check = Check::missing("fq", "not in this kernel").remedy("modprobe sch_fq");
        let text = line(&check);
        let (first, second) = text.split_once('\n').unwrap();
        assert!(first.starts_with("missing  fq"), "{first}");
        assert_eq!(second.trim(), "→ modprobe sch_fq");
    }
}
