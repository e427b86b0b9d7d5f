//! `injector run --watch`: a profile that is saved while it is in force.

use std::{fs, path::Path, time::Duration};

use injector_tests::{
    Injector, Lab,
    clock::{PATIENCE, wait_until},
    directory::Directory,
    injector,
    udp::Flow,
};

const QUIET: Duration = Duration::from_millis(60);

/// A profile that drops what goes to `port`.
fn drop_to(port: u16) -> String {
    format!(
        "name: to-{port}\nseed: 1\nrules: [{{match: {{protocol: udp, dst_port: {port}}}, drop: 100%}}]\n"
    )
}

fn watch(lab: &Lab, path: &Path) -> Injector {
    let path = path.to_str().expect("UTF-8");
    Injector::start_with(&lab.a, "", &[path, "--watch"])
}

fn arrives(lab: &Lab, port: u16) -> bool {
    let flow = Flow::new(3).port(port).linger(QUIET);
    !flow.send(&lab.a, &lab.b).arrivals.is_empty()
}

#[test]
fn a_profile_that_is_saved_or_renamed_over_is_swapped_in() {
    let (lab, directory) = (Lab::new(), Directory::new("saved"));
    let path = directory.file("profile.yaml");
    fs::write(&path, drop_to(5000)).unwrap();
    let injector = watch(&lab, &path);
    assert!(!arrives(&lab, 5000) && arrives(&lab, 5001));

    fs::write(&path, drop_to(5001)).unwrap();
    let reloaded = injector.reloaded();
    assert_eq!(
        (&*reloaded.profile, reloaded.former.only().matched),
        ("to-5001", 3)
    );
    assert!(arrives(&lab, 5000) && !arrives(&lab, 5001));

    // As editors do it; and another file beside it, which is of no concern.
    fs::write(directory.file("new"), drop_to(5002)).unwrap();
    fs::write(directory.file("other.yaml"), "nonsense").unwrap();
    fs::rename(directory.file("new"), &path).unwrap();
    assert_eq!(injector.reloaded().profile, "to-5002");
    assert!(arrives(&lab, 5001) && !arrives(&lab, 5002));

    let status = injector::call(&lab.a.netns, &["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("profile to-5002"), "{status}");
    assert!(status.contains("3 (100%, asked 100%)"), "{status}");
    let end = injector.stop();
    assert_eq!(end.achieved().only().matched, 3);
    assert!(end.stderr.is_empty(), "{}", end.stderr);
}

#[test]
fn an_invalid_profile_is_reported_and_the_old_one_stays_in_force() {
    let (lab, directory) = (Lab::new(), Directory::new("invalid"));
    let path = directory.file("profile.yaml");
    fs::write(&path, drop_to(5000)).unwrap();
    let injector = watch(&lab, &path);
    fs::write(&path, "name: broken\nrules: [{dorp: 100%}]").unwrap();
    let reported = || {
        let stderr = injector.stderr();
        ["`dorp` is not a key of a rule", "profile.yaml:2"]
            .iter()
            .all(|text| stderr.contains(text))
    };
    assert!(wait_until(PATIENCE, reported), "{}", injector.stderr());
    assert!(!arrives(&lab, 5000) && arrives(&lab, 5001));
    fs::write(&path, drop_to(5001)).unwrap();
    injector.reloaded();
    assert!(arrives(&lab, 5000) && !arrives(&lab, 5001));
    assert_eq!(injector.stop().code(), 0);
}

#[test]
fn rules_for_the_other_direction_can_be_swapped_in() {
    let (lab, directory) = (Lab::new(), Directory::new("direction"));
    let path = directory.file("profile.yaml");
    fs::write(&path, drop_to(5000)).unwrap();
    let injector = watch(&lab, &path);
    let ingress = "name: in\nrules: [{direction: ingress, match: {protocol: udp}, drop: 100%}]";
    fs::write(&path, ingress).unwrap();
    injector.reloaded();
    assert!(arrives(&lab, 5000));
    let back = Flow::new(3).linger(QUIET).send(&lab.b, &lab.a);
    assert!(back.arrivals.is_empty());
    assert_eq!(injector.stop().achieved().only().dropped, 3);
}

#[test]
fn only_a_file_can_be_watched() {
    let lab = Lab::new();
    for (profile, message) in [("-", "standard input"), ("geo-sat", "built-in profile")] {
        let args = ["run", "-i", "eth0", "--watch", profile];
        let output = injector::call(&lab.a.netns, &args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains(message) && stderr.contains("hint:"),
            "{stderr}"
        );
    }
    let output = injector::call(
        &lab.a.netns,
        &["run", "-i", "eth0", "--watch", "--drop", "1%"],
    );
    assert_eq!(output.status.code(), Some(2));
}
