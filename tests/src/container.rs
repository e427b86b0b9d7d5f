//! Real containers, of one process that sleeps.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{Netns, directory::Directory, tool};

/// Where everything of a container is that it needs.
const BUSYBOX: &str = "/usr/bin/busybox";
const SLEEP: [&str; 3] = ["/bin/busybox", "sleep", "600"];

/// A container. Dropping it deletes it.
#[derive(Debug)]
pub struct Container {
    runtime: Runtime,
    /// Its name; runc has only that.
    pub name: String,
    _directory: Directory,
}

#[derive(Clone, Copy, Debug)]
enum Runtime {
    Runc,
    Podman,
}

impl Container {
    /// By runc, in that network namespace.
    #[track_caller]
    pub fn runc(name: &str, netns: &Netns) -> Self {
        let (name, directory) = prepared(name);
        let spec = spec(&name, &netns.path());
        fs::write(directory.file("config.json"), spec.to_string()).expect("write config.json");
        let bundle = directory.file("");
        call(
            Command::new("runc")
                .args(["run", "-d", "-b"])
                .arg(bundle)
                .arg(&name),
        );
        Self {
            runtime: Runtime::Runc,
            name,
            _directory: directory,
        }
    }

    /// By Podman, likewise.
    #[track_caller]
    pub fn podman(name: &str, netns: &Netns) -> Self {
        let (name, directory) = prepared(name);
        let rootfs = directory.file("rootfs");
        let network = format!("ns:{}", netns.path().display());
        let mut podman = Command::new("podman");
        // By runc, which goes by both versions of control groups, and with limits that need no privileges.
        podman.args([
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
            "run",
            "-d",
        ]);
        podman.args([
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1000:1000",
        ]);
        podman.args(["--name", &name, "--network", &network, "--rootfs"]);
        call(podman.arg(rootfs).args(SLEEP));
        Self {
            runtime: Runtime::Podman,
            name,
            _directory: directory,
        }
    }

    /// Its identifier.
    pub fn id(&self) -> String {
        match self.runtime {
            Runtime::Runc => self.name.clone(),
            Runtime::Podman => {
                let format = ["inspect", "-f", "{{.Id}}", &self.name];
                call(Command::new("podman").args(format)).trim().to_owned()
            }
        }
    }

    /// Ends its process, and keeps what is noted of it.
    #[track_caller]
    pub fn kill(&self) {
        let args = match self.runtime {
            Runtime::Runc => ["kill", &self.name, "KILL"],
            Runtime::Podman => ["kill", "-sKILL", &self.name],
        };
        call(Command::new(self.program()).args(args));
    }

    /// Runs busybox in it. Returns whether that succeeds.
    pub fn exec(&self, line: &str) -> bool {
        let mut command = Command::new(self.program());
        command.args(["exec", &self.name, "/bin/busybox"]);
        command.args(line.split(' ')).stdout(Stdio::null());
        command.status().expect("run it").success()
    }

    const fn program(&self) -> &'static str {
        match self.runtime {
            Runtime::Runc => "runc",
            Runtime::Podman => "podman",
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let delete = match self.runtime {
            Runtime::Runc => ["delete", "-f"],
            Runtime::Podman => ["rm", "-ft0"],
        };
        let mut command = Command::new(self.program());
        command.args(delete).arg(&self.name);
        let _ = command.stdout(Stdio::null()).status();
    }
}

/// A name that nobody else has, and a directory with the container's files.
fn prepared(name: &str) -> (String, Directory) {
    let directory = Directory::new(name);
    let bin = directory.file("rootfs/bin");
    fs::create_dir_all(&bin).expect("make directories");
    for mount in ["proc", "dev"] {
        fs::create_dir_all(directory.file("rootfs").join(mount)).expect("make directories");
    }
    tool::copy(BUSYBOX, &bin.join("busybox"));
    (format!("injector-{name}-{}", std::process::id()), directory)
}

fn spec(name: &str, netns: &Path) -> Value {
    let raw = ["CAP_NET_RAW"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": SLEEP,
            "cwd": "/",
            "capabilities": {"bounding": raw, "effective": raw, "permitted": raw},
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": format!("/{name}"),
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network", "path": netns},
            ],
        },
    })
}

/// Runs a command, which must succeed. Its output goes where the container's may go for as long as that lives.
#[track_caller]
fn call(command: &mut Command) -> String {
    let directory = std::env::temp_dir();
    let path = |stream| {
        directory.join(format!(
            "injector-{stream}-{:?}",
            std::thread::current().id()
        ))
    };
    let [out, err] = ["out", "err"].map(path);
    let open = |path| fs::File::create(path).expect("a file");
    command
        .stdin(Stdio::null())
        .stdout(open(&out))
        .stderr(open(&err));
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [out, err] = [out, err].map(|path| {
        let text = fs::read_to_string(&path).expect("what it said");
        let _ = fs::remove_file(path);
        text
    });
    assert!(status.success(), "{command:?}: {status}: {err}");
    out
}
