use std::{
    fs,
    process::{Child, Command},
};

use nix::{
    sys::wait::{Id, WaitPidFlag, waitid},
    unistd::Pid,
};
use tempfile::TempDir;

use super::*;

const ID: &str = "3f4e9a0c2b7d41c6a1b2c3d4e5f60718293a4b5c6d7e8f901122334455667788";

/// A root with these files, in which `@` stands for the identifier.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path.replace('@', ID));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace('@', ID)).unwrap();
    }
    root
}

fn noted(files: &[(&str, &str)]) -> Vec<(&'static str, Noted)> {
    all(tree(files).path())
}

/// The runtime, the names and the first process of the only container.
#[track_caller]
fn only(files: &[(&str, &str)]) -> (&'static str, Vec<String>, Option<First>) {
    let noted = noted(files);
    assert_eq!(noted.len(), 1, "{noted:?}");
    let (runtime, noted) = noted.into_iter().next().unwrap();
    (runtime, noted.names, noted.first)
}

const DOCKER: (&str, &str) = (
    "var/lib/docker/containers/@/config.v2.json",
    r#"{"StreamConfig":{},"State":{"Running":true,"Paused":false,"Pid":4242,"ExitCode":0},"ID":"@","Name":"/web",
        "Driver":"overlay2","Config":{"Hostname":"3f4e9a0c2b7d"}}"#,
);
const RUNC_STATE: &str =
    r#"{"id":"@","init_process_pid":4242,"init_process_start":6635793,"config":{"rootfs":"/x"}}"#;
const SANDBOX: &str = r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-type":"sandbox",
    "io.kubernetes.cri.sandbox-id":"@","io.kubernetes.cri.sandbox-name":"web-0",
    "io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
const MEMBER: &str = r#"{"annotations":{"io.kubernetes.cri.container-type":"container",
    "io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-id":"x",
    "io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;

#[test]
fn docker_notes_names_and_processes() {
    let web = |first| ("Docker", vec!["web".to_owned()], first);
    assert_eq!(only(&[DOCKER]), web(First::new(4242, None)));
    let state = ("run/docker/runtime-runc/moby/@/state.json", RUNC_STATE);
    assert_eq!(
        only(&[DOCKER, state]),
        web(First::new(4242, Some(6_635_793)))
    );
    let stopped = DOCKER.1.replace(r#""Running":true"#, r#""Running":false"#);
    assert_eq!(only(&[(DOCKER.0, &stopped)]), web(None));
}

#[test]
fn docker_may_keep_them_elsewhere() {
    let daemon = ("etc/docker/daemon.json", r#"{"data-root":"/data/docker"}"#);
    let config = (&*DOCKER.0.replace("var/lib", "data"), DOCKER.1);
    assert_eq!(only(&[daemon, config]).1, ["web"]);
}

#[test]
fn docker_and_its_containerd_have_the_same_container_once() {
    let task = "run/containerd/io.containerd.runtime.v2.task/moby/@";
    let (config, pid) = (format!("{task}/config.json"), format!("{task}/init.pid"));
    let found = only(&[DOCKER, (&config, "{}"), (&pid, "4242")]);
    assert_eq!(
        found,
        ("Docker", vec!["web".into()], First::new(4242, None))
    );
}

#[test]
fn pods_of_containerd_have_the_names_that_kubernetes_gives_them() {
    for base in ["run/containerd", "run/k3s/containerd"] {
        let task = format!("{base}/io.containerd.runtime.v2.task/k8s.io/@");
        let (config, pid) = (format!("{task}/config.json"), format!("{task}/init.pid"));
        let (runtime, names, first) = only(&[(&config, SANDBOX), (&pid, "4242")]);
        assert_eq!((runtime, first), ("containerd", First::new(4242, None)));
        assert_eq!(names, ["web-0", "shop/web-0"]);
        let state = ("run/containerd/runc/k8s.io/@/state.json", RUNC_STATE);
        let (_, names, first) = only(&[(&config, MEMBER), (&pid, "4242"), state]);
        assert_eq!(first, First::new(4242, Some(6_635_793)));
        assert_eq!(names, ["web-0/app", "shop/web-0/app", "app"]);
    }
}

#[test]
fn nerdctl_gives_names() {
    let task = "run/containerd/io.containerd.runtime.v2.task/default/@/config.json";
    let (_, names, first) = only(&[(task, r#"{"annotations":{"nerdctl/name":"web"}}"#)]);
    assert_eq!((names, first), (vec!["web".into()], None));
}

#[test]
fn podman_and_cri_o_note_names_and_processes() {
    let stored =
        |name: &str| format!(r#"[{{"id":"@","names":["{name}"],"image":"x","layer":"y"}}]"#);
    let list = "var/lib/containers/storage/overlay-containers/containers.json";
    let pidfile = (
        "run/containers/storage/overlay-containers/@/userdata/pidfile",
        "4242",
    );
    for (name, names) in [
        ("web", &["web"][..]),
        (
            "k8s_web-0_shop_1234-5678_0",
            &["web-0", "shop/web-0", "k8s_web-0_shop_1234-5678_0"],
        ),
        (
            "k8s_app_web-0_shop_1234-5678_0",
            &[
                "web-0/app",
                "shop/web-0/app",
                "app",
                "k8s_app_web-0_shop_1234-5678_0",
            ],
        ),
    ] {
        let (runtime, found, first) = only(&[(list, &stored(name)), pidfile]);
        assert_eq!(
            (runtime, first),
            ("Podman or CRI-O", First::new(4242, None))
        );
        assert_eq!(found, names);
    }
    // What starts them knows more.
    let status = r#"{"pid":4242,"process-start-time":6635793,"cgroup-path":"/x","bundle":"/y"}"#;
    let web = stored("web");
    for (file, text) in [
        ("run/crun/@/status", status),
        ("run/runc/@/state.json", RUNC_STATE),
    ] {
        let (runtime, names, first) = only(&[(list, &web), pidfile, (file, text)]);
        assert_eq!(
            (runtime, &*names),
            ("Podman or CRI-O", &["web".to_owned()][..])
        );
        assert_eq!(first, First::new(4242, Some(6_635_793)));
    }
}

#[test]
fn what_is_started_by_hand_goes_by_its_identifier() {
    let (runtime, names, first) = only(&[("run/runc/web/state.json", RUNC_STATE)]);
    assert_eq!(
        (runtime, names, first),
        ("runc", vec![], First::new(4242, Some(6_635_793)))
    );
}

#[test]
fn lxc_is_known_by_its_groups() {
    for root in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
        let web = |path: &str| (format!("{root}/{path}/cgroup.procs"), "4242\n4300\n");
        for (path, procs) in [
            web("lxc.payload.web"),
            web("lxc.payload.web/init.scope"),
            web("user.slice/user-1000.slice/lxc.payload.web"),
        ] {
            let found = only(&[(&path, procs)]);
            assert_eq!(
                found,
                ("LXC", vec!["web".into()], First::new(4242, None)),
                "{path}"
            );
        }
    }
}

#[test]
fn nspawn_registers_containers_beside_virtual_machines() {
    let machine = |class: &str| {
        format!(
            "# This is private data. Do not parse.\nNAME=web\nUNIT=\"machine-a\\\\x2db.scope\"\nCLASS={class}\nLEADER=4242\n"
        )
    };
    let path = "run/systemd/machines/web";
    let (runtime, noted) = noted(&[(path, &machine("container"))]).remove(0);
    assert_eq!(
        (runtime, noted.group()),
        ("systemd-nspawn", "machine-a\\x2db.scope")
    );
    assert_eq!(noted.first, First::new(4242, None));
    assert!(self::noted(&[(path, &machine("vm"))]).is_empty());
}

#[test]
fn files_that_are_half_written_are_passed_over() {
    assert!(noted(&[(DOCKER.0, &DOCKER.1[..40])]).is_empty());
}

#[test]
fn the_group_of_a_container_has_all_of_its_processes() {
    for (path, group) in [
        ("/docker/abc", "/docker/abc"),
        (
            "/system.slice/docker-abc.scope/init.scope",
            "/system.slice/docker-abc.scope",
        ),
        (
            "/machine.slice/libpod-abc.scope/container",
            "/machine.slice/libpod-abc.scope",
        ),
    ] {
        assert_eq!(whole_group(path, "abc", false).as_deref(), Some(group));
    }
    let pod = whole_group("/kubepods/burstable/podX/abc", "abc", true);
    assert_eq!(pod.as_deref(), Some("/kubepods/burstable/podX"));
    // Others' processes are there, too.
    for path in [
        "/user.slice/elsewhere",
        "/",
        "/abc.slice/x.service",
        "/xabc",
    ] {
        assert_eq!(whole_group(path, "abc", false), None, "{path}");
    }
    let unit = whole_group(
        "/machine.slice/machine-web.scope/payload",
        "machine-web.scope",
        false,
    );
    assert_eq!(unit.as_deref(), Some("/machine.slice/machine-web.scope"));
}

/// A process that ends with its test.
struct Living(Child);

impl Living {
    fn new() -> Self {
        Self(Command::new("sleep").arg("60").spawn().unwrap())
    }

    fn first(&self) -> First {
        let pid = self.0.id() as i32;
        let started = Process::new(pid).unwrap().stat().unwrap().starttime;
        First::new(pid, Some(started)).unwrap()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn called(id: &str, name: &str, first: Option<First>) -> (&'static str, Noted) {
    let noted = Noted {
        id: id.into(),
        names: vec![name.into()],
        first,
        ..Noted::default()
    };
    ("Docker", noted)
}

#[test]
fn a_container_is_found_by_its_name_its_identifier_and_the_beginning_of_that() {
    let living = Living::new();
    let all = [
        called(ID, "web", Some(living.first())),
        called("3f4e0000", "db", None),
    ];
    for name in ["web", ID, "3f4e9", &ID[..12]] {
        let found = among(&all, name).unwrap();
        assert_eq!((found.pid, &*found.id), (living.0.id(), ID), "{name}");
    }
    // Too short, whatever it may be the beginning of.
    assert!(matches!(among(&all, "3f4"), Err(Error::NoContainer { .. })));
    assert!(matches!(
        among(&all, "db"),
        Err(Error::ContainerNotRunning { pid: None, .. })
    ));
    // That which runs is meant.
    assert_eq!(among(&all, "3f4e").unwrap().pid, living.0.id());
}

#[test]
fn a_name_that_means_several_is_refused() {
    let living = Living::new();
    let first = Some(living.first());
    let all = [called(ID, "app", first), called("3f4e0000", "app", first)];
    for name in ["app", "3f4e"] {
        let error = among(&all, name).unwrap_err().to_string();
        assert!(
            error.contains("app (Docker 3f4e9a0c2b7d), app (Docker 3f4e0000)"),
            "{error}"
        );
    }
}

#[test]
fn a_number_that_has_come_to_a_stranger_is_no_container() {
    let living = Living::new();
    let first = living.first();
    let later = first.started.map(|started| started + 1);
    for started in [later, None] {
        let all = [called(ID, "web", First::new(first.pid, started))];
        let error = among(&all, "web").unwrap_err();
        assert!(
            matches!(error, Error::ContainerNotRunning { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains(&first.pid.to_string()),
            "{error}"
        );
    }
}

#[test]
fn a_process_that_nobody_has_buried_is_no_container() {
    let mut living = Living::new();
    let all = [called(ID, "web", Some(living.first()))];
    living.0.kill().unwrap();
    let pid = Pid::from_raw(living.0.id() as i32);
    let leave = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), leave).unwrap();
    assert!(matches!(
        among(&all, "web"),
        Err(Error::ContainerNotRunning { .. })
    ));
}

#[test]
fn what_was_probably_meant_is_named_and_all_places_where_it_was_looked_for() {
    let error = among(&[called(ID, "postgres", None)], "postgers").unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean `postgres`?");
    for runtime in &RUNTIMES {
        assert!(error.to_string().contains(runtime.places[0]), "{error}");
    }
}
