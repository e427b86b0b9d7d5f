//! What people see of a scenario.

use super::event::{Done, Standing};

/// How far what belongs to a step is moved to the right.
const INDENT: &str = "           ";

/// A line for a step, and where it failed, why.
pub(super) fn step(done: &Done) -> String {
    let passed = done.verdict.failures.is_empty();
    let mark = if passed { '✓' } else { '✗' };
    let mut text = format!(
        "  {mark} {} {}
",
        time(done.elapsed_ms),
        done.step
    );
    if let Some(note) = &done.verdict.note {
        text += &format!("{INDENT}{note}\n");
    }
    for failure in &done.verdict.failures {
        text += &format!("{INDENT}{failure}\n");
    }
    for said in &done.verdict.said {
        text += &format!("{INDENT}{}:\n", said.by);
        text.extend(said.text.lines().map(|line| format!("{INDENT}  {line}\n")));
    }
    text
}

/// How to enter the hosts of a stage, whose process is `pid`.
pub(super) fn standing(hosts: &[Standing], pid: u32, is_rootless: bool) -> String {
    let user = if is_rootless {
        "--user --preserve-credentials "
    } else {
        ""
    };
    let line = |host: &Standing| {
        let file = |fd: i32| format!("/proc/{pid}/fd/{fd}");
        let (net, mount, uts) = (file(host.net), file(host.mount), file(host.uts));
        format!(
            "    {}: nsenter --target {pid} {user}--pid --net={net} --mount={mount} --uts={uts}\n",
            host.host
        )
    };
    let lines: String = hosts.iter().map(line).collect();
    format!("  everything stays as it is until Ctrl-C; to enter a host:\n{lines}")
}

/// Of the same width for all that is shorter than a quarter of an hour.
pub(super) fn time(elapsed_ms: u64) -> String {
    format!("{:>6.2}s", elapsed_ms as f64 / 1000.0)
}

/// Why a step failed.
pub(super) fn why(done: &Done) -> String {
    let said = done.verdict.said.iter();
    let said = said.map(|said| format!("{}:\n{}", said.by, said.text));
    let parts: Vec<_> = done.verdict.failures.iter().cloned().chain(said).collect();
    parts.join("\n")
}
