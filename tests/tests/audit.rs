//! What is noted of faults: who began them, changed them and ended them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
};

use injector_tests::{
    Injector, Lab,
    background::SILENCE,
    clock::PATIENCE,
    directory::Directory,
    injector::Background,
    reign,
    shell::{Shell, command},
};
use serde_json::Value;

/// As `sha256sum` has it.
const SILENCE_SHA256: &str = "1bf72db3d0bdf12582a7c2e3fe8252f8cc770ec0b6dfd4092e1c09206d48eb73";

/// The lines of an audit, as `event` and what `pick` says of it.
fn lines(text: &str, keys: &[&str]) -> Vec<Vec<Value>> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        keys.iter().map(|key| line[key].clone()).collect()
    };
    text.lines().map(line).collect()
}

#[test]
fn a_start_a_swap_and_an_end_are_noted_each_in_a_line() {
    let (lab, directory) = (Lab::new(), Directory::new("audit"));
    let path = directory.file("audit.log");
    let file = path.to_str().expect("UTF-8");
    Injector::start_with(&lab.a, SILENCE, &["--audit", file]).interrupt();
    let held = Background::apply(&lab.a, SILENCE, &["--audit", file]);
    Background::apply(&lab.a, &reign::drop_to(5000, 0), &["--seed", "9"]);
    let text = fs::read_to_string(&path).unwrap();
    let who = ["event", "profile", "seed", "uid", "holder_pid"];
    let noted = lines(&text, &who);
    let pid = Value::from(held.pid.as_raw());
    let events: Vec<_> = noted.iter().map(|line| line[0].as_str().unwrap()).collect();
    assert_eq!(events, ["start", "stop", "start", "swap", "stop"], "{text}");
    let swap: Vec<Value> = vec!["swap".into(), "to-5000".into(), 9.into(), 0.into(), pid];
    assert_eq!(noted[3], swap);
    let reasons: Vec<_> = lines(&text, &["reason"]).concat();
    assert_eq!(
        reasons,
        [
            Value::Null,
            "interrupted".into(),
            Value::Null,
            Value::Null,
            "terminated".into()
        ]
    );
    let hashes = lines(&text, &["sha256"]).concat();
    assert_eq!(
        (&hashes[0], &hashes[2]),
        (&SILENCE_SHA256.into(), &SILENCE_SHA256.into())
    );
    assert_ne!(hashes[2], hashes[3]);
    let places = lines(&text, &["device", "ifindex"]);
    assert!(
        places
            .iter()
            .all(|place| place[0] == "eth0" && place[1] == lab.a.ifindex())
    );
    for line in lines(
        &text,
        &["time", "boot_ns", "command", "pid", "loginuid", "netns"],
    ) {
        assert!(
            line[0].as_str().is_some_and(|time| time.ends_with('Z')),
            "{line:?}"
        );
        assert!(line[1].as_u64() > Some(0) && line[3].as_u64() > Some(1));
        let command = line[2].as_array().expect("a command line");
        assert!(
            command.iter().any(|argument| argument == "-i"),
            "{command:?}"
        );
        assert_ne!(line[5]["inode"], Value::Null);
    }
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn without_a_file_the_journal_of_the_machine_hears_of_it() {
    let lab = Lab::new();
    let mut shell = Shell::start();
    shell.call("mkdir -p /run/systemd/journal");
    let journal = UnixDatagram::bind(shell.outside("/run/systemd/journal/socket")).expect("bind");
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let netns = lab.a.netns.path();
    let injector = format!("{} --netns {}", command(), netns.display());
    shell.call(&format!("{injector} apply -i eth0 --drop 100%"));
    shell.call(&format!("{injector} clear -i eth0"));
    for event in ["start", "stop"] {
        let mut datagram = vec![0; 65_536];
        let len = journal.recv(&mut datagram).expect("a datagram");
        let text = str::from_utf8(&datagram[..len]).expect("UTF-8");
        let fields: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let field = |name| {
            fields
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        assert_eq!(field("SYSLOG_IDENTIFIER"), Some("injector"));
        assert_eq!(field("INJECTOR_DEVICE"), Some("eth0"));
        let message: Value =
            serde_json::from_str(field("MESSAGE").expect("a message")).expect("JSON");
        assert_eq!(
            (&message["event"], &message["profile"]),
            (&event.into(), &"quick".into())
        );
        assert_eq!(text.lines().count(), fields.len(), "{text}");
    }
}
