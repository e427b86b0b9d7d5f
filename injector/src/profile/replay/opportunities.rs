//! Mahimahi traces: a line for each 1500 bytes that a link was able to deliver, with the time in ms.

use std::sync::Arc;

use super::super::issue::Issue;
use super::super::lines::{Flaw, Line};

const EXPECTED: &str = "milliseconds from the beginning, a whole number of at most 4294967295";

/// Reads a trace from its lines, of which there is at least one.
pub(super) fn parse<'a>(lines: impl Iterator<Item = Line<'a>>) -> Result<Arc<[u32]>, Box<Flaw>> {
    let mut times: Vec<u32> = Vec::new();
    let mut last = None;
    for line in lines {
        times.push(time(&line, times.last().copied().unwrap_or(0))?);
        last = Some(line);
    }
    match (times.last(), last) {
        (Some(0), Some(line)) => {
            let issue = Issue::new("the trace ends at 0 ms, so that it takes no time");
            Err(line.flaw(issue.expected("a later time in the last line")))
        }
        _ => Ok(times.into()),
    }
}

fn time(line: &Line<'_>, before: u32) -> Result<u32, Box<Flaw>> {
    let refuse = |message: String| Err(line.flaw(Issue::new(message).expected(EXPECTED)));
    if !line.is_number() {
        return refuse("a line of a Mahimahi trace that is not a number".to_owned());
    }
    match line.text.parse() {
        Ok(time) if time < before => {
            let issue = Issue::new(format!("{time} ms comes before the {before} ms above it"));
            Err(line.flaw(issue.expected("times in order")))
        }
        Ok(time) => Ok(time),
        Err(_) => refuse("a time too large for a Mahimahi trace".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::lines::lines;
    use super::*;

    fn refusal(text: &str) -> (usize, String) {
        let flaw = parse(lines(text)).unwrap_err();
        (flaw.place.unwrap().0, flaw.issue.message)
    }

    #[test]
    fn a_line_is_an_opportunity() {
        let times = parse(lines("# a comment\n0\n0\r\n 5\n\n5\n12")).unwrap();
        assert_eq!(*times, [0, 0, 5, 5, 12]);
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        let message = "a line of a Mahimahi trace that is not a number";
        assert_eq!(refusal("1\n2.5"), (2, message.to_owned()));
        assert_eq!(refusal("1\n-2"), (2, message.to_owned()));
        assert_eq!(refusal("1\n4294967296").0, 2);
        assert_eq!(
            refusal("5\n\n4"),
            (3, "4 ms comes before the 5 ms above it".to_owned())
        );
        assert_eq!(
            refusal("0\n0").1,
            "the trace ends at 0 ms, so that it takes no time"
        );
    }
}
