//! A kernel that is locked down. Alone in its executable: what is locked stays so until the machine ends.

use std::{fs, path::Path};

use injector_tests::{Injector, Lab, kernel, listener::Listener, predict::Oracle, udp::Flow};
use nix::mount::{MsFlags, mount};

const STATE: &str = "/sys/kernel/security/lockdown";

fn lock(level: &str) {
    if !Path::new(STATE).exists() {
        const NONE: Option<&str> = None;
        let (kind, place) = (Some("securityfs"), "/sys/kernel/security");
        mount(kind, place, kind, MsFlags::empty(), NONE).expect("mount securityfs");
    }
    fs::write(STATE, level).expect("lock the kernel down");
    let state = fs::read_to_string(STATE).expect("the state");
    assert!(state.contains(&format!("[{level}]")), "{state}");
}

#[test]
fn a_kernel_that_is_locked_down_does_it_too() {
    const COUNT: u64 = 500;
    const PROFILE: &str = "
name: locked
seed: 3
rules: [{match: {protocol: udp}, drop: 10%, duplicate: 5%, corrupt: 2%, delay: {time: 5ms, jitter: 2ms}}]";
    if !kernel::is_guest() {
        return;
    }
    for level in ["integrity", "confidentiality"] {
        lock(level);
        let lab = Lab::new();
        let run = Injector::start(&lab.a, PROFILE);
        let listener = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
        let report = Flow::new(COUNT).send(&lab.a, &lab.b);
        let dropped = Oracle::new(PROFILE).dropped(COUNT);
        assert!(report.lost().is_superset(&dropped), "{level}");
        assert!(!report.delays().is_empty());
        assert_eq!(listener.end().packets("drop"), dropped, "{level}");
        run.stop().achieved().assert_clean();
    }
}
