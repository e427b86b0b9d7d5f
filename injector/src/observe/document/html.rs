//! The document as a page that needs nothing else: no network, no script.

use std::fmt::{self, Write as _};

use super::{Document, chart};
use crate::observe::{
    format::{count, duration, percent},
    report::{self, AchievedRule, Path},
    verdict::{self, Verdict},
};
use crate::profile::Share;

const STYLE: &str = include_str!("style.css");

/// Text that is not to be taken for markup.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// Writes it.
pub fn html(document: &Document<'_>) -> String {
    let title = format!("{} on {}", document.profile, document.device);
    let title = Escaped(&title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}: injector</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{}{}{}{}{}{}</main>\n</body>\n</html>\n",
        summary(document),
        expectations(document.expectations),
        over_time(document),
        rules(document),
        path(&document.achieved.path),
        about(document),
    )
}

fn summary(document: &Document<'_>) -> String {
    format!(
        "<p class=\"faint\">{} from {}; ended: {}</p>\n",
        duration(document.elapsed_ms * 1_000_000),
        Escaped(&document.started),
        Escaped(document.reason)
    )
}

fn expectations(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    let (class, summary) = match failed {
        0 => ("good", format!("all {} met", verdicts.len())),
        _ => ("bad", format!("{failed} of {} not met", verdicts.len())),
    };
    let rows = verdicts.iter().map(|verdict| {
        let (class, word) = match verdict.passed {
            true => ("good", "✓ passed"),
            false => ("bad", "✗ failed"),
        };
        format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td class=\"number\">{}</td>\
             <td class=\"verdict {class}\">{word}</td></tr>\n",
            Escaped(&verdict.expectation),
            verdict::shown(verdict.achieved)
        )
    });
    let rows: String = rows.collect();
    format!(
        "<h2>Expectations: <span class=\"{class}\">{summary}</span></h2>\n<div class=\"wide\"><table>\n\
         <thead><tr><th scope=\"col\">Expected</th><th scope=\"col\" class=\"number\">Achieved</th>\
         <th scope=\"col\">Verdict</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn over_time(document: &Document<'_>) -> String {
    let course = document.course;
    let legend = chart::series(course).map(|series| {
        let name = series.name;
        format!(
            "<li><svg viewBox=\"0 0 32 8\" aria-hidden=\"true\"><path class=\"line {name}\" d=\"M0 4H32\"/></svg>{name}</li>\n"
        )
    });
    let legend: String = legend.collect();
    if legend.is_empty() {
        return "<h2>Packets per second</h2>\n<p>No packet has matched any rule.</p>\n".into();
    }
    format!(
        "<h2>Packets per second</h2>\n{}<ul class=\"legend\">\n{legend}</ul>\n",
        chart::svg(course, document.elapsed_ms)
    )
}

/// A column of numbers: its name, and what it says of a rule.
type Column = (&'static str, fn(&AchievedRule) -> Option<String>);

/// Counts, with what was asked beside what was achieved where something was.
const COLUMNS: [Column; 8] = [
    ("Matched", |rule| Some(count(rule.matched))),
    ("Dropped", |rule| share(rule, Share::Drop)),
    ("Corrupted", |rule| share(rule, Share::Corrupt)),
    ("Duplicated", |rule| share(rule, Share::Duplicate)),
    ("Reordered", |rule| share(rule, Share::Reorder)),
    ("Delayed", |rule| {
        let time = duration(rule.asked.delay_ns?);
        Some(format!(
            "{}<br><span class=\"faint\">by {time}</span>",
            count(rule.delayed)
        ))
    }),
    ("Marked", |rule| {
        (rule.marked > 0).then(|| count(rule.marked))
    }),
    ("Overlimit", |rule| {
        (rule.overlimit > 0).then(|| count(rule.overlimit))
    }),
];

fn share(rule: &AchievedRule, of: Share) -> Option<String> {
    let asked = match rule.asked.share(of)? {
        0.0 => String::new(),
        asked => format!(", asked {}", percent(asked)),
    };
    let achieved = rule.achieved(of).unwrap_or_else(|| "–".into());
    Some(format!(
        "{}<br><span class=\"faint\">{achieved}{asked}</span>",
        count(rule.share(of).0)
    ))
}

fn rules(document: &Document<'_>) -> String {
    let rules = &document.achieved.rules;
    let used: Vec<_> = COLUMNS
        .iter()
        .filter(|(_, cell)| rules.iter().any(|rule| cell(rule).is_some()))
        .collect();
    let has_phases = rules.iter().any(|rule| rule.phase.is_some());
    let has_places = rules.iter().any(|rule| rule.at.is_some());
    let mut head = String::new();
    if has_places {
        head += "<th scope=\"col\">At</th>";
    }
    if has_phases {
        head += "<th scope=\"col\">Phase</th>";
    }
    head += "<th scope=\"col\">Rule</th><th scope=\"col\">Direction</th>";
    for (name, _) in &used {
        let _ = write!(head, "<th scope=\"col\" class=\"number\">{name}</th>");
    }
    let mut rows = String::new();
    for rule in rules {
        rows += "<tr>";
        for (is_shown, cell) in [(has_places, &rule.at), (has_phases, &rule.phase)] {
            if is_shown {
                let cell = cell.as_deref().unwrap_or_default();
                let _ = write!(rows, "<td>{}</td>", Escaped(cell));
            }
        }
        let _ = write!(
            rows,
            "<th scope=\"row\">{}</th><td>{}</td>",
            Escaped(&rule.rule),
            rule.direction
        );
        for (_, cell) in &used {
            let cell = cell(rule).unwrap_or_else(|| "–".into());
            let _ = write!(rows, "<td class=\"number\">{cell}</td>");
        }
        rows += "</tr>\n";
    }
    format!(
        "<h2>Rules</h2>\n<div class=\"wide\"><table>\n<caption>Wire packets. Shares are of packets that were \
         there: dropped ones cannot be corrupted.</caption>\n<thead><tr>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn path(path: &Path) -> String {
    let text = report::path(path);
    match text.trim_end() {
        "" => String::new(),
        text => format!("<p>Outside the rules: {text}.</p>\n"),
    }
}

fn about(document: &Document<'_>) -> String {
    let attached = document.attached.iter();
    let attached: Vec<_> = attached
        .map(|place| format!("{} by {}", place.hook, place.via))
        .collect();
    let entries = [
        ("Profile", document.profile.to_owned()),
        (
            "SHA-256",
            document.sha256.unwrap_or("from flags").to_owned(),
        ),
        ("Seed", document.seed.to_string()),
        ("Device", document.device.to_owned()),
        ("Attached", attached.join(", ")),
        ("Protected", report::protected(document.protected)),
        ("Kernel", document.kernel.clone()),
        ("injector", document.version.to_owned()),
    ];
    let entries: String = entries
        .iter()
        .map(|(term, text)| format!("<dt>{term}</dt><dd>{}</dd>\n", Escaped(text)))
        .collect();
    format!("<h2>The run</h2>\n<dl>\n{entries}</dl>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_is_no_markup() {
        let text = Escaped("<script>\"a\" & b").to_string();
        assert_eq!(text, "&lt;script&gt;&quot;a&quot; &amp; b");
    }
}
