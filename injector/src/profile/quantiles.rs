//! Tables of a distribution, in the format of netem's `.dist` files.

use std::sync::Arc;

use super::issue::Issue;
use super::lines::{Flaw, lines};
use crate::units::whole_number;

/// Most values, as netem has it.
const VALUES_MAX: usize = 16_384;
const EXPECTED: &str = "a whole number from -32768 to 32767";

/// Reads whole numbers between blanks.
///
/// They come out in order, as quantiles are: the order in the file says nothing else.
pub(super) fn parse(text: &str) -> Result<Arc<[i16]>, Box<Flaw>> {
    let mut values = Vec::new();
    let words = lines(text).flat_map(|line| line.cells(|c| c.is_ascii_whitespace()));
    for word in words.filter(|word| !word.text.is_empty()) {
        values.push(value(word.text).map_err(|issue| word.flaw(issue))?);
        if values.len() > VALUES_MAX {
            let issue = Issue::new(format!("more than {VALUES_MAX} values in a table"));
            return Err(word.flaw(issue.expected(format!("at most {VALUES_MAX}"))));
        }
    }
    if values.is_empty() {
        let issue = Issue::new("the table is empty");
        return Err(Flaw::of_file(issue.expected("at least one value")));
    }
    values.sort_unstable();
    Ok(values.into())
}

fn value(text: &str) -> Result<i16, Issue> {
    let bounds = i128::from(i16::MIN)..=i128::from(i16::MAX);
    let number = whole_number(text, &bounds, ["-32768", "32767"], EXPECTED);
    match number {
        Ok(number) => Ok(i16::try_from(number).expect("within the bounds")),
        Err(error) => Err(Issue::decode(&format!("{error:#}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (Option<usize>, String) {
        let flaw = parse(text).unwrap_err();
        (flaw.place.map(|(line, _)| line), flaw.issue.message)
    }

    #[test]
    fn values_stand_between_blanks_and_come_out_in_order() {
        let text = "# mean 0\n -32768 0\t 5 # rest\r\n\n4\n32767\n";
        assert_eq!(*parse(text).unwrap(), [-32768, 0, 4, 5, 32767]);
    }

    #[test]
    fn there_are_as_many_values_as_netem_takes() {
        let values = |count| "1 2\n".repeat(count / 2);
        assert_eq!(parse(&values(VALUES_MAX)).unwrap().len(), VALUES_MAX);
        let (line, message) = refusal(&values(VALUES_MAX + 2));
        assert_eq!(
            (line, message.as_str()),
            (Some(8193), "more than 16384 values in a table")
        );
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        assert_eq!(
            refusal("# nothing\n"),
            (None, "the table is empty".to_owned())
        );
        let message = "`32768` is above the limit of 32767";
        assert_eq!(refusal("1\n32768"), (Some(2), message.to_owned()));
        let message = "`0.5` is not a whole number";
        assert_eq!(refusal("1 0.5"), (Some(1), message.to_owned()));
    }
}
