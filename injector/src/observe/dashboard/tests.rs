use std::time::{Duration, UNIX_EPOCH};

use injector_common::abi::RuleCounters;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};

use super::*;
use crate::{
    datapath::{counters::Snapshot, journal::RecordedRule},
    observe::{overview::Run, report::Achieved},
    plan::{Asked, Hook},
    profile::Share,
};

/// A run whose rules drop 1 % and have matched so many.
fn run(device: &str, rules: &[(&str, u64)]) -> Run {
    let recorded = |(name, _): &(&str, u64)| RecordedRule {
        name: (*name).into(),
        hook: Hook::Egress,
        asked: Asked {
            drop: Some(0.01),
            delay_ns: Some(80_000_000),
            jitter_ns: Some(10_000_000),
            ..Asked::default()
        },
        independent: vec![Share::Drop],
    };
    let counted = |(_, matched): &(&str, u64)| {
        let mut counters = RuleCounters {
            matched: *matched,
            bytes: 1000 * matched,
            dropped: matched / 100,
            delayed: matched - matched / 100,
            ..RuleCounters::default()
        };
        counters.size.add(1000, *matched);
        counters
    };
    let recorded: Vec<_> = rules.iter().map(recorded).collect();
    let snapshot = Snapshot {
        rules: rules.iter().map(counted).collect(),
        ..Snapshot::default()
    };
    Run::example(device, Some(Achieved::new(&recorded, &snapshot)))
}

/// Runs on eth0, one look after the other, a second between.
fn watch(looks: &[&[(&str, u64)]]) -> Vec<Watched> {
    let mut watched = Vec::new();
    for (second, rules) in (0..).zip(looks) {
        watched = Watched::update(
            watched,
            vec![run("eth0", rules)],
            Duration::from_secs(second),
        );
    }
    watched
}

fn drawn(dashboard: &mut Dashboard, watched: &[Watched], width: u16, height: u16) -> Buffer {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_300);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let frame = terminal.draw(|frame| dashboard.draw(frame, watched, now));
    frame.unwrap().buffer.clone()
}

/// What is to be read at 80×24.
fn screen(dashboard: &mut Dashboard, watched: &[Watched]) -> Vec<String> {
    let buffer = drawn(dashboard, watched, 80, 24);
    let line = |y| {
        let cells = (0..80).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..24).map(line).collect()
}

fn plain() -> Dashboard {
    Dashboard::new(false, false)
}

#[test]
fn it_fits_into_80_by_24() {
    let watched = watch(&[
        &[("db", 0), ("replication", 0)],
        &[("db", 1_000), ("replication", 50)],
        &[("db", 6_000), ("replication", 50)],
        &[("db", 10_000), ("replication", 80)],
    ]);
    let screen = screen(&mut plain(), &watched);
    let expected = "
 injector watch                                                           1 run
  RULE        DIRECTION MATCHED/S      BIT/S   HITS/S MATCHED      HITS
  eth0: profile flaky, phase outage, seed 7, pid 4711 (running in the backgroun…
  since 2027-01-15T08:00:00Z, ends in 5m, phase good in 12s
  ━━━━━━━━━━────────── 50%
▶ db          egress        3,333  26.67mbit       33          ▂█▇          ▂█▇
    matched 10,000; dropped 100 (1.00% ± 0.21%, asked 1.00%)
    delayed 9,900 by 80ms ± 10ms
  replication egress           27 213.33kbit        0          █ ▅
    matched 80; dropped 0 (0% ± 4.6%, asked 1.00%); delayed 80 by 80ms ± 10ms";
    assert_eq!(screen[..10].join("\n"), expected[1..]);
    assert_eq!(screen[23], KEYS);
    assert!(HELP.lines().count() <= 21);
    assert!(HELP.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn where_there_is_no_run_it_says_so_and_where_there_is_no_packet_too() {
    let none = screen(&mut plain(), &[]);
    assert_eq!(none[2], "  no run; waiting for one");
    let mut dashboard = plain();
    let idle = screen(&mut dashboard, &watch(&[&[("db", 0)]]));
    assert!(
        idle[5].contains("db   egress            -          -        -"),
        "{idle:#?}"
    );
    assert!(idle[6].contains("dropped 0 (-, asked 1.00%)"), "{idle:#?}");
    dashboard.press(Key::Histograms, &[]);
    let none = screen(&mut dashboard, &watch(&[&[("db", 0)]]));
    assert_eq!(none[2], "  nothing has been counted yet");
    let waiting = [Watched {
        run: Run::example("eth0", None),
        histories: Vec::new(),
    }];
    assert!(screen(&mut plain(), &waiting)[2].starts_with("▶ eth0: profile flaky"));
}

#[test]
fn nothing_breaks_whatever_the_size() {
    let long = "a-name-that-is-much-longer-than-its-column-has-room-for-it";
    let many: Vec<_> = (0..40).map(|n| ("rule", 1_000_000_000_000 * n)).collect();
    for rules in [&[][..], &[(long, 1), ("路由器", u64::MAX / 2000)], &many] {
        let watched = watch(&[rules, rules]);
        let mut dashboard = Dashboard::new(true, true);
        for width in [0, 1, 2, 7, 20, 53, 80, 300] {
            for height in [0, 1, 2, 3, 4, 5, 24, 60] {
                for key in [
                    Key::Down,
                    Key::PageDown,
                    Key::Histograms,
                    Key::Help,
                    Key::Back,
                    Key::PageUp,
                ] {
                    dashboard.press(key, &watched);
                    drawn(&mut dashboard, &watched, width, height);
                }
            }
        }
    }
}

#[test]
fn what_is_chosen_is_seen() {
    let names: Vec<_> = (0..50).map(|n| format!("rule-{n}.")).collect();
    let rules: Vec<_> = names.iter().map(|name| (name.as_str(), 100)).collect();
    let watched = watch(&[&rules, &rules]);
    let mut dashboard = plain();
    let mut assert_chosen = |key: Option<Key>, name: &str| {
        if let Some(key) = key {
            dashboard.press(key, &watched);
        }
        let screen = screen(&mut dashboard, &watched);
        let line = screen.iter().find(|line| line.starts_with('▶'));
        assert!(
            line.is_some_and(|line| line.contains(name)),
            "{name}: {screen:#?}"
        );
        screen
    };
    assert_chosen(None, &names[0]);
    for name in &names[1..] {
        assert_chosen(Some(Key::Down), name);
    }
    assert_chosen(Some(Key::Down), &names[49]);
    for name in names[..49].iter().rev() {
        assert_chosen(Some(Key::Up), name);
    }
    assert_chosen(Some(Key::Up), "eth0: profile");
    // The first lines are back, not only the one that is chosen.
    let screen = assert_chosen(Some(Key::Up), "eth0: profile");
    assert!(screen[2].starts_with('▶'), "{screen:#?}");
    for _ in 0..10 {
        dashboard.press(Key::PageDown, &watched);
    }
    let last = self::screen(&mut dashboard, &watched);
    assert!(
        last.iter().any(|line| line.starts_with("▶ rule-49.")),
        "{last:#?}"
    );
}

#[test]
fn the_chosen_rule_stays_chosen_when_others_come() {
    let mut dashboard = plain();
    let before = watch(&[&[("a", 1), ("b", 1)]]);
    screen(&mut dashboard, &before);
    dashboard.press(Key::Down, &before);
    let after = watch(&[&[("new", 1), ("a", 1), ("b", 1)]]);
    let lines = screen(&mut dashboard, &after);
    assert!(
        lines.iter().any(|line| line.starts_with("▶ b ")),
        "{lines:#?}"
    );
    // Until it is gone.
    let lines = screen(&mut dashboard, &watch(&[&[("new", 1), ("a", 1)]]));
    assert!(
        lines.iter().any(|line| line.starts_with("▶ new ")),
        "{lines:#?}"
    );
}

#[test]
fn keys_show_other_things_and_come_back() {
    let mut dashboard = plain();
    let watched = watch(&[&[("db", 1_000), ("other", 10)]]);
    let rules = screen(&mut dashboard, &watched);
    for (key, shown) in [
        (Key::Histograms, "db egress: size in bytes"),
        (Key::Help, "  q               quit"),
    ] {
        dashboard.press(key, &watched);
        let lines = screen(&mut dashboard, &watched);
        assert!(lines[2].contains(shown), "{lines:#?}");
        assert!(!lines.join("").contains("other egress"), "{lines:#?}");
        dashboard.press(key, &watched);
        assert_eq!(screen(&mut dashboard, &watched), rules);
    }
    dashboard.press(Key::Pause, &watched);
    assert!(dashboard.is_paused() && screen(&mut dashboard, &watched)[0].contains("PAUSED"));
    dashboard.press(Key::Pause, &watched);
    assert!(!dashboard.is_paused() && dashboard.end().is_none());
    dashboard.press(Key::Quit, &watched);
    assert_eq!(dashboard.end(), Some(Key::Quit));
}

#[test]
fn without_colour_there_is_none() {
    let watched = watch(&[&[("db", 1)], &[("db", 1_000)]]);
    let colours = |color| {
        let buffer = drawn(&mut Dashboard::new(false, color), &watched, 80, 24);
        let cells = buffer.content.iter();
        cells
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(colours(false), 0);
    assert_ne!(colours(true), 0);
}
