//! Profiles, as a user of the library meets them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use injector::plan::Plan;
use injector::profile::{
    self, Checksum, Corrupt, Course, Delay, Direction, Distribution, Drop, Duplicate, LIST_MAX,
    Match, PHASES_MAX, Profile, ProfileError, Protocol, RULES_MAX, Rate, Reorder, Repeat, Report,
    Rule, SIZE_MAX, builtin,
};
use proptest::prelude::*;

/// Bad profiles (`NAME.yaml`), each with the whole error it must get (`NAME.stderr`).
const CORPUS: &str = "tests/profile_errors";

fn corpus() -> Vec<PathBuf> {
    let entries = fs::read_dir(CORPUS)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().unwrap() == "yaml")
        .collect();
    files.sort();
    files
}

fn accepted(text: &str) -> Profile {
    profile::parse("profile.yaml", text).unwrap_or_else(|error| panic!("{error}"))
}

/// The rules of a profile without phases.
fn rules(profile: &Profile) -> &[Rule] {
    match &profile.course {
        Course::Steady(rules) => rules,
        Course::Phased(timeline) => panic!("{timeline:?}"),
    }
}

fn refusal(text: &str) -> Report {
    match profile::parse("profile.yaml", text) {
        Ok(profile) => panic!("accepted: {profile:?}"),
        Err(error) => error.report(),
    }
}

/// Runs `work` and returns its result, unless it took longer than a refusal may take.
fn at_once<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    // The promise is 50 ms; an unoptimised build on a busy machine gets more.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
    let taken = start.elapsed();
    assert!(taken < limit, "{taken:?}");
    result
}

/// Set `BLESS=1` to write the goldens, and read the difference before committing it.
#[test]
fn every_bad_profile_gets_the_error_on_record() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    for path in corpus() {
        let golden = path.with_extension("stderr");
        let error = match profile::read(&path) {
            Ok(_) => format!("{} was accepted\n", path.display()),
            Err(error) => format!("{error}\n"),
        };
        if bless {
            fs::write(&golden, &error).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != error {
            writeln!(wrong, "{}:\n{error}", golden.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "to accept, run with BLESS=1\n\n{wrong}");
}

#[test]
fn every_error_in_a_file_with_content_has_a_place() {
    for path in corpus() {
        let report = profile::read(&path).unwrap_err().report();
        let is_blank = report.message == "the text is empty";
        assert_eq!(report.line.is_none(), is_blank, "{}", path.display());
        assert_eq!(report.column.is_none(), is_blank, "{}", path.display());
    }
}

/// The profile of the manual.
const FULL: &str = r#"
name: flaky-database            # required
description: a slow, lossy path to the primary
seed: 7                         # optional; drawn and printed when absent
rules:                          # first match wins, per direction; no match: untouched
  - name: db                    # optional; used in counters, traces, metrics
    direction: egress           # egress (default) | ingress | both
    match:                      # optional; absent: every packet
      protocol: tcp
      src: 10.0.0.0/8           # address or CIDR, v4 or v6, one or a list
      dst: [10.1.2.3, "2001:db8::/32"]
      src_port: 1024-65535      # port, range or list of both
      dst_port: [5432, 6432-6440]
    drop: 1%                    # short form, or {probability: 1%}
    delay: {time: 80ms, jitter: 10ms, distribution: normal, correlation: 25%}
    corrupt: {probability: 0.1%, checksum: valid}
    duplicate: 0.5%
    reorder: 2%
    rate: 20mbit
  - direction: both
    delay: 5ms
"#;

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

#[test]
fn the_profile_of_the_manual_means_what_it_says() {
    let profile = accepted(FULL);
    assert_eq!(profile.name, "flaky-database");
    assert_eq!(
        profile.description.as_deref(),
        Some("a slow, lossy path to the primary")
    );
    assert_eq!(profile.seed, Some(7));
    let [db, rest] = rules(&profile) else {
        panic!("{profile:?}")
    };
    let matching = Match {
        protocol: Some(Protocol::TCP),
        src: vec![parsed("10.0.0.0/8")],
        dst: vec![parsed("10.1.2.3/32"), parsed("2001:db8::/32")],
        src_port: vec![parsed("1024-65535")],
        dst_port: vec![parsed("5432"), parsed("6432-6440")],
        ..Match::default()
    };
    let faults = Rule {
        drop: Some(Drop::independent(parsed("1%"))),
        delay: Some(Delay {
            distribution: Distribution::Normal,
            correlation: parsed("25%"),
            ..Delay::uniform(parsed("80ms"), parsed("10ms"))
        }),
        corrupt: Some(Corrupt::independent(parsed("0.1%"), Checksum::Valid)),
        duplicate: Some(Duplicate::independent(parsed("0.5%"))),
        reorder: Some(Reorder::independent(parsed("2%"))),
        rate: Some(Rate::plain(parsed("20mbit"))),
        ..Rule::exempting("db".to_owned(), Direction::Egress, matching)
    };
    assert_eq!(*db, faults);
    assert_eq!(
        (rest.name.as_str(), rest.direction),
        ("rule-2", Direction::Both)
    );
    assert_eq!(rest.matching, Match::default());
}

/// The manual's profile that changes over time.
const PHASES: &str = "
name: handover
repeat: 10
phases:
  - {name: good, for: 30s, rules: [{delay: 40ms, drop: 0.1%}]}
  - {name: outage, for: 800ms, rules: [{direction: both, drop: 100%}]}
  - {for: 5s, ramp: true, rules: [{delay: 120ms}]}
";

#[test]
fn phases_mean_what_they_say() {
    let profile = accepted(PHASES);
    let timeline = profile.timeline().unwrap();
    assert_eq!(timeline.repeat, Repeat::Times(10));
    let [good, outage, recovering] = timeline.phases.as_slice() else {
        panic!("{timeline:?}")
    };
    assert_eq!((good.name.as_str(), good.duration), ("good", parsed("30s")));
    assert_eq!(outage.duration, parsed("800ms"));
    assert_eq!(
        (recovering.name.as_str(), recovering.ramp),
        ("phase-3", true)
    );
    assert!(!good.ramp && !outage.ramp);
    // Rules of different phases may have the same name.
    for phase in [good, outage, recovering] {
        assert_eq!(phase.rules[0].name, "rule-1");
    }
    assert_eq!(profile.rules().map(<[_]>::len).sum::<usize>(), 3);
}

#[test]
fn phases_are_played_once_unless_told_otherwise() {
    let repeat = |text: &str| {
        let text = format!("name: x\n{text}phases: [{{for: 1s, rules: []}}]");
        accepted(&text).timeline().unwrap().repeat
    };
    assert_eq!(repeat(""), Repeat::Times(1));
    assert_eq!(repeat("repeat: 3\n"), Repeat::Times(3));
    assert_eq!(repeat("repeat: forever\n"), Repeat::Forever);
}

#[test]
fn the_rules_of_all_phases_together_are_bounded() {
    let phases = |count, rules| {
        let phase = format!("- {{for: 1s, rules: [{}]}}\n", "{},".repeat(rules));
        format!("name: x\nphases:\n{}", phase.repeat(count))
    };
    accepted(&phases(2, RULES_MAX / 2));
    accepted(&phases(PHASES_MAX, 1));
    let message = |text: &str| refusal(text).message;
    assert_eq!(message(&phases(3, RULES_MAX / 2)), "more than 1024 rules");
    assert_eq!(message(&phases(PHASES_MAX + 1, 0)), "more than 1024 phases");
}

#[test]
fn an_alias_cannot_multiply_phases_beyond_their_bounds() {
    let ports = format!("[{}]", "1,".repeat(LIST_MAX));
    let rules = "*r, ".repeat(400);
    let rule = format!("&r {{match: {{src_port: &p {ports}, dst_port: *p}}}}");
    let phases = "  - *ph\n".repeat(500);
    let text = format!("name: x\nphases:\n  - &ph {{for: 1s, rules: [{rule}, {rules}]}}\n{phases}");
    let start = Instant::now();
    assert_eq!(refusal(&text).message, "more than 1024 rules");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn short_and_long_forms_are_one() {
    let short = "{drop: 1%, delay: 5ms, corrupt: 2%, duplicate: 3%, reorder: 4%, rate: 5mbit}";
    let long = "{drop: {probability: 0.01, correlation: 0%, ecn: false}, \
                delay: {time: 5ms, jitter: 0ms, distribution: uniform, keep_order: false}, \
                corrupt: {probability: 2%, bits: 1, checksum: stale, where: payload}, \
                duplicate: {probability: 3%, copies: 1}, reorder: {probability: 4%, gap: 1}, \
                rate: {bandwidth: 5mbit, burst: 0B, queue: 1000 packets, overhead: 0, ecn: false}}";
    let profile = |rule| accepted(&format!("name: x\nrules: [{rule}]"));
    assert_eq!(profile(short), profile(long));
}

#[test]
fn json_is_a_profile_too() {
    let json = r#"{"name": "x", "rules": [{"match": {"dst_port": [80, "443"]}, "drop": "1%"}]}"#;
    assert_eq!(rules(&accepted(json))[0].matching.dst_port.len(), 2);
}

#[test]
fn a_rule_without_faults_is_an_exemption() {
    let profile = accepted("name: x\nrules: [{match: {dst_port: 22}}, {drop: 100%}]");
    assert_eq!(rules(&profile)[0].drop, None);
}

#[test]
fn rules_may_share_values_by_alias() {
    let text = "name: x\nrules:\n  - &r {delay: 5ms, match: &m {dst: 10.0.0.1}}\n  \
                - {match: *m, drop: 1%}\n  - *r\n";
    let profile = accepted(text);
    let rules = rules(&profile);
    assert_eq!(rules[1].matching, rules[0].matching);
}

#[test]
fn what_looks_like_structure_inside_of_text_is_text() {
    for description in [
        "\"[[[ {{{ &a *b !tag # --- \"",
        "'it''s [[['",
        "it's a [[[ thing! & *more*, isn't it",
        "|\n  ---\n  [[[ !!python/x\n  *alias\n",
        ">-\n\n    deep\n   \n    \"quoted\n",
        "one\n  'two\n  [three",
    ] {
        let text = format!("# [[[ !!x\nname: x\ndescription: {description}\nrules: [{{}}]\n");
        assert!(accepted(&text).description.is_some(), "{text}");
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_harmless() {
    let text = format!("\u{feff}{}", FULL.replace('\n', "\r\n"));
    assert_eq!(accepted(&text), accepted(FULL));
    let report = refusal("name: x\r\nrules:\r\n  - drop: 5\r\n");
    assert_eq!((report.line, report.column), (Some(3), Some(11)));
}

#[test]
fn columns_count_characters() {
    let text = "{name: x, description: \"\u{e9}\u{1f980}\", rules: [{drop: 5}]}";
    let column = text.chars().position(|c| c == '5').unwrap() + 1;
    let report = refusal(text);
    assert_eq!((report.line, report.column), (Some(1), Some(column)));
    let report = refusal(&format!("\n{text}"));
    assert_eq!((report.line, report.column), (Some(2), Some(column)));
}

#[test]
fn a_report_has_all_parts() {
    let expected = Report {
        file: "profile.yaml".to_owned(),
        line: Some(3),
        column: Some(11),
        path: Some("rules[0].drop".to_owned()),
        message: "`5` is ambiguous as a probability".to_owned(),
        expected: Some("a percentage such as 1%, or a fraction from 0 to 1".to_owned()),
        hint: Some("write 5% or 0.05".to_owned()),
    };
    assert_eq!(refusal("name: x\nrules:\n  - drop: 5\n"), expected);
}

#[test]
fn colour_is_only_where_asked_for() {
    let error = profile::parse("profile.yaml", "name: 5").unwrap_err();
    assert!(error.render(true).contains("\u{1b}["));
    assert!(!error.render(false).contains('\u{1b}'));
}

#[test]
fn the_largest_profile_is_accepted_and_one_more_rule_is_not() {
    let many = |count| format!("name: x\nrules:\n{}", "- drop: 1%\n".repeat(count));
    assert_eq!(rules(&accepted(&many(RULES_MAX))).len(), RULES_MAX);
    assert_eq!(
        refusal(&many(RULES_MAX + 1)).message,
        "more than 1024 rules"
    );
    let ports = |count| {
        format!(
            "name: x\nrules: [{{match: {{dst_port: [{}]}}}}]",
            "1,".repeat(count)
        )
    };
    assert_eq!(
        rules(&accepted(&ports(LIST_MAX)))[0]
            .matching
            .dst_port
            .len(),
        LIST_MAX
    );
    assert_eq!(
        refusal(&ports(LIST_MAX + 1)).message,
        "more than 256 entries"
    );
}

/// Texts made to exhaust a parser, with the message each must get.
fn hostile_texts() -> [(&'static str, String); 14] {
    let rule = |text: String| format!("name: x\nrules:\n  - {text}");
    let indents = |depth| {
        (0..depth)
            .map(|i| format!("{}a:\n", " ".repeat(i)))
            .collect()
    };
    let ports = format!("match: {{dst_port: [{}]}}", "1,".repeat(130_000));
    [
        ("the nesting is too deep", rule("[".repeat(80_000))),
        ("the nesting is too deep", rule("{a: ".repeat(60_000))),
        ("the nesting is too deep", rule("- ".repeat(100_000))),
        ("the nesting is too deep", rule("? ".repeat(100_000))),
        ("the nesting is too deep", indents(700)),
        ("the text is too large", indents(5000)),
        (
            "the text is too large",
            rule(format!("[{}]", "a, ".repeat(1_400_000))),
        ),
        ("more than 256 entries", rule(ports)),
        (
            "too many anchors and aliases",
            rule(format!("[&a 1, {}]", "*a, ".repeat(2000))),
        ),
        ("a NUL byte", rule("\0".repeat(200_000))),
        ("the text is empty", "\n".repeat(SIZE_MAX)),
        ("the text is empty", "# \n".repeat(80_000)),
        ("a second YAML document", "---\n".repeat(60_000)),
        (
            "unexpected list",
            rule(format!("[{}]", "[],".repeat(80_000))),
        ),
    ]
}

#[test]
fn hostile_texts_are_refused_at_once() {
    for (message, text) in hostile_texts() {
        assert_eq!(at_once(|| refusal(&text)).message, message);
    }
}

#[test]
fn an_alias_cannot_multiply_a_profile_beyond_its_bounds() {
    let ports = format!("[{}]", "1,".repeat(LIST_MAX));
    let match_ = format!("{{src_port: &p {ports}, dst_port: *p}}");
    let rules = "  - *r\n".repeat(990);
    let text = format!("name: x\nrules:\n  - &r {{match: {match_}}}\n{rules}  - drop: 5\n");
    assert_eq!(refusal(&text).message, "`5` is ambiguous as a probability");
}

#[test]
fn a_huge_file_is_refused_without_being_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.yaml");
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let error = at_once(|| profile::read(&path)).unwrap_err();
    assert_eq!(error.report().message, "the text is too large");
}

#[test]
fn only_regular_files_are_opened() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, found) in [
        (directory.path(), "a directory"),
        (Path::new("/dev/zero"), "a device"),
        (&fifo, "a pipe"),
        (&socket, "a socket"),
    ] {
        let error = at_once(|| profile::read(path)).unwrap_err();
        assert_eq!(error.report().message, format!("this is {found}"));
    }
}

#[test]
fn a_link_to_a_profile_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (
        directory.path().join("file.yaml"),
        directory.path().join("link"),
    );
    fs::write(&file, FULL).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(
        profile::load(link.to_str().unwrap()).unwrap(),
        accepted(FULL)
    );
}

#[test]
fn a_missing_file_is_named_with_the_reason() {
    let error = profile::load("no/such.yaml").unwrap_err();
    assert!(matches!(error, ProfileError::Unreadable { .. }));
    assert!(error.to_string().contains("no/such.yaml"), "{error}");
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn a_name_is_that_of_a_builtin_profile() {
    assert_eq!(profile::load("lossy").unwrap().name, "lossy");
    let error = profile::load("losy").unwrap_err();
    assert!(
        error.to_string().contains("did you mean `lossy`"),
        "{error}"
    );
}

#[test]
fn every_builtin_profile_is_valid_and_says_where_its_numbers_come_from() {
    for builtin in builtin::BUILTINS {
        let profile = profile::load(builtin.name).unwrap();
        assert_eq!(profile.name, builtin.name);
        assert!(builtin.text.contains("# One way: "), "{}", builtin.name);
    }
}

/// Reads a text, and works it out where it is a profile. Whatever is wrong with it has a place.
fn survives(text: &str) {
    match profile::parse("profile.yaml", text) {
        // There may be too many match entries.
        Ok(profile) => drop(Plan::all(&profile, 1)),
        Err(error) => {
            let report = error.report();
            assert!(!report.message.is_empty());
            assert!(!error.render(true).is_empty());
            let lines = text.matches('\n').count() + 1;
            let has_place = report.line.is_some_and(|line| line <= lines);
            let is_whole = ["the text is empty", "the text is too large"];
            assert!(has_place || is_whole.contains(&&*report.message), "{error}");
        }
    }
}

/// Every profile that we have, the bad ones too.
fn real_profiles() -> Vec<String> {
    let builtins = builtin::BUILTINS
        .iter()
        .map(|builtin| builtin.text.to_owned());
    let bad = corpus()
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    builtins
        .chain(bad)
        .chain([FULL, PHASES].map(str::to_owned))
        .collect()
}

/// What is put in place of a part of a profile.
fn any_part(all: &[String]) -> impl Strategy<Value = String> + use<> {
    let words =
        "[a-z_]{1,12}: ?|[0-9]{1,20}(%|ms|mbit|kB)?|[\\[\\]{}:,'\"\n &*!|>#?-]{1,6}|\\PC{0,3}";
    let edges = [
        "-1",
        "1e309",
        ".nan",
        ".inf",
        "0x7f",
        "~",
        "100.0000001%",
        "3600001ms",
    ];
    let lines = all
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| format!("\n{line}\n"));
    let lines: Vec<_> = lines.collect();
    prop_oneof![
        3 => words,
        1 => prop::sample::select(edges.map(str::to_owned).to_vec()),
        2 => prop::sample::select(lines),
    ]
}

/// A profile with some parts cut out, replaced and repeated.
fn mutated_profile() -> impl Strategy<Value = String> {
    let all = real_profiles();
    let change = (
        any::<prop::sample::Index>(),
        0..30usize,
        any_part(&all),
        1..4usize,
    );
    let changes = prop::collection::vec(change, 1..6);
    (prop::sample::select(all), changes).prop_map(|(text, changes)| {
        let mut text: Vec<char> = text.chars().collect();
        for (start, length, part, times) in changes {
            let start = start.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, part.repeat(times).chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_text_of_yaml_makes_the_parser_panic(text in "[-\\[\\]{}:,#&*!|>'\"%?a-c0-9. \n\t]{0,80}") {
        survives(&text);
    }

    #[test]
    fn no_damage_to_a_profile_makes_the_parser_panic(
        start in 0..FULL.len(), length in 0..40usize, insert in "(\\PC{0,3}|[\\[\\]{}:'\"\n ]{0,6})",
    ) {
        let end = (start + length).min(FULL.len());
        survives(&format!("{}{insert}{}", &FULL[..start], &FULL[end..]));
    }

    #[test]
    fn no_value_makes_the_parser_panic(
        key in "drop|delay|corrupt|match|name|rate|slot|replay", value in "\\PC{0,20}",
    ) {
        survives(&format!("name: x\nrules:\n  - {key}: {value}\n"));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        if let Err(error) = profile::read(file.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_change_of_a_real_profile_makes_the_parser_panic(text in mutated_profile()) {
        survives(&text);
    }
}
