//! Tables of conditions: a line of names, then a line for each point in time.

use std::str::FromStr;
use std::sync::Arc;

use super::super::issue::Issue;
use super::super::lines::{Flaw, Line};
use super::super::nearest::{list, nearest};
use super::Point;
use crate::units::{DurationNs, UnitError, quote, split_number};

const TIME: &str = "time";
/// Columns that a table may have.
const COLUMNS: [&str; 5] = [TIME, "delay", "jitter", "drop", "rate"];

/// Reads a table from its lines, of which there is at least one.
pub(super) fn parse<'a>(
    mut lines: impl Iterator<Item = Line<'a>>,
) -> Result<Arc<[Point]>, Box<Flaw>> {
    let Some(header) = lines.next() else {
        return Ok(Arc::default());
    };
    let columns = columns(header)?;
    let mut points: Vec<Point> = Vec::new();
    for line in lines {
        let point = point(line, &columns)?;
        if let Some(before) = points.last().filter(|before| before.time >= point.time) {
            let issue = Issue::new(format!(
                "{} does not come after {}",
                point.time, before.time
            ));
            return Err(line.flaw(issue.expected("a later time in each line")));
        }
        points.push(point);
    }
    if points.is_empty() {
        let issue = Issue::new("a table without a point in time");
        return Err(header.flaw(issue.expected("at least one line of values below the names")));
    }
    Ok(points.into())
}

/// Reads the line of names.
fn columns(header: Line<'_>) -> Result<Vec<&'static str>, Box<Flaw>> {
    let mut columns = Vec::new();
    for cell in cells(header) {
        let Some(column) = COLUMNS.into_iter().find(|column| *column == cell.text) else {
            return Err(cell.flaw(unknown(cell.text)));
        };
        if columns.contains(&column) {
            let issue = Issue::new(format!("two columns are called `{column}`"));
            return Err(cell.flaw(issue.expected("each column once")));
        }
        columns.push(column);
    }
    let issue = match (columns.contains(&TIME), columns.len()) {
        (true, 2..) => return Ok(columns),
        (true, _) => Issue::new("a table of times alone"),
        (false, _) => Issue::new(format!("no column is called `{TIME}`")),
    };
    Err(header.flaw(issue.expected("`time`, and at least one of the others")))
}

fn cells(line: Line<'_>) -> impl Iterator<Item = Line<'_>> {
    line.cells(|c| c == ',')
}

fn unknown(name: &str) -> Issue {
    let issue = Issue::new(format!("{} is not a column of a recording", quote(name)));
    let issue = issue.expected(list(&COLUMNS, "or"));
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return issue.hint("the first line names the columns, as in `time,delay,drop`");
    }
    match nearest(name, &COLUMNS) {
        Some(column) => issue.hint(format!("did you mean `{column}`?")),
        None => issue,
    }
}

fn point(line: Line<'_>, columns: &[&'static str]) -> Result<Point, Box<Flaw>> {
    let (found, wanted) = (cells(line).count(), columns.len());
    if found != wanted {
        let issue = Issue::new(format!("a line of {found} values under {wanted} names"));
        return Err(line.flaw(issue.expected("a value for each name")));
    }
    let mut point = Point {
        time: DurationNs::ZERO,
        delay: None,
        jitter: None,
        drop: None,
        rate: None,
    };
    for (column, cell) in columns.iter().zip(cells(line)) {
        match *column {
            "delay" => point.delay = Some(value(cell)?),
            "jitter" => point.jitter = Some(value(cell)?),
            "drop" => point.drop = Some(value(cell)?),
            "rate" => point.rate = Some(value(cell)?),
            _ => point.time = time(cell)?,
        }
    }
    Ok(point)
}

/// Reads a time: a bare number is one of seconds.
fn time(cell: Line<'_>) -> Result<DurationNs, Box<Flaw>> {
    match split_number(cell.text) {
        (number, "") if !number.is_empty() => parsed(cell, &format!("{number}s")),
        _ => value(cell),
    }
}

fn value<T: FromStr<Err = UnitError>>(cell: Line<'_>) -> Result<T, Box<Flaw>> {
    parsed(cell, cell.text)
}

fn parsed<T: FromStr<Err = UnitError>>(cell: Line<'_>, text: &str) -> Result<T, Box<Flaw>> {
    let refuse = |error| cell.flaw(Issue::decode(&format!("{error:#}")));
    text.parse().map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::super::super::lines::lines;
    use super::*;

    fn points(text: &str) -> Arc<[Point]> {
        parse(lines(text)).unwrap()
    }

    fn refusal(text: &str) -> (usize, String) {
        let flaw = parse(lines(text)).unwrap_err();
        let (line, span) = flaw.place.unwrap();
        let place = text.lines().nth(line - 1).unwrap()[span].to_owned();
        (line, format!("{}: {place}", flaw.issue.message))
    }

    #[test]
    fn columns_come_in_any_order_with_the_units_of_a_profile() {
        let points = points("rate, time ,drop\n20mbit,0,1%\n 1mbit , 1.25 , 0.5\n5mbit,1300ms,0\n");
        let times: Vec<u64> = points.iter().map(|point| point.time.nanos()).collect();
        assert_eq!(times, [0, 1_250_000_000, 1_300_000_000]);
        assert_eq!(points[1].rate, "1mbit".parse().ok());
        assert_eq!(points[1].drop, "50%".parse().ok());
        assert_eq!((points[1].delay, points[1].jitter), (None, None));
    }

    #[test]
    fn a_flaw_is_blamed_on_its_cell() {
        for (text, line, message) in [
            (
                "time,dealy\n",
                1,
                "`dealy` is not a column of a recording: dealy",
            ),
            ("0,1ms\n", 1, "`0` is not a column of a recording: 0"),
            ("time,drop,time\n", 1, "two columns are called `time`: time"),
            ("delay,drop\n", 1, "no column is called `time`: delay,drop"),
            ("time\n0\n", 1, "a table of times alone: time"),
            (
                "time,drop\n",
                1,
                "a table without a point in time: time,drop",
            ),
            (
                "time,drop\n0,1%\n1\n",
                3,
                "a line of 1 values under 2 names: 1",
            ),
            ("time,delay\n0,80\n", 2, "`80` has no unit: 80"),
            (
                "time,drop\n# fine\n0, 5 \n",
                3,
                "`5` is ambiguous as a probability: 5",
            ),
            ("time,drop\n1,0\n1,0\n", 3, "1s does not come after 1s: 1,0"),
            ("time,rate\n-1,1mbit\n", 2, "`-1` is negative: -1"),
            (
                "time,rate\n2h,1mbit\n",
                2,
                "`2h` is above the limit of 1h: 2h",
            ),
            ("time,rate\n0,\n", 2, "`` is not a bandwidth: "),
        ] {
            assert_eq!(refusal(text), (line, message.to_owned()));
        }
    }
}
