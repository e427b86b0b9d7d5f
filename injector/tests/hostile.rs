//! Profiles made to do harm: `injector check` refuses each, in little time and memory.

use std::fs::{self, File};
use std::io::Read as _;
use std::mem::zeroed;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::libc;

/// What a refusal may take of a processor. Most take a few ms.
const TIME_MAX: Duration = Duration::from_millis(300);
/// In bytes: it gets no more than that.
const MEMORY_MAX: usize = 32 << 20;

/// How a process ended.
struct End {
    code: i32,
    stderr: String,
    cpu_time: Duration,
}

/// Runs `injector check` on a file.
#[expect(
    clippy::zombie_processes,
    reason = "wait4 waits, and tells what the process took"
)]
fn check(path: &Path) -> End {
    let mut child = Command::new("prlimit")
        .arg(format!("--data={MEMORY_MAX}"))
        .args([env!("CARGO_BIN_EXE_injector"), "check"])
        .arg(path)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    // SAFETY: all zeroes are a valid value.
    let (mut status, mut usage) = (0, unsafe { zeroed::<libc::rusage>() });
    // SAFETY: the pointers are to values of the right types.
    let pid = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
    assert_eq!(pid, child.id() as i32);
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    End {
        code: libc::WEXITSTATUS(status),
        stderr,
        cpu_time: time(usage.ru_utime) + time(usage.ru_stime),
    }
}

/// Asserts that the file is refused in these words.
fn assert_refused(path: &Path, message: &str) {
    let End {
        code,
        stderr,
        cpu_time,
    } = check(path);
    let said = stderr.lines().next().unwrap_or_default().to_owned();
    assert_eq!(code, 3, "{message}: {said}");
    assert!(said.contains(message), "not {message}: {said}");
    eprintln!("{cpu_time:?}: {said}");
    // A terminal is not flooded either.
    assert!(stderr.len() < 4096, "{message}: {} bytes", stderr.len());
    assert!(cpu_time < TIME_MAX, "{message}: {cpu_time:?}");
}

/// Addresses and ports that multiply to thousands of millions of match entries.
fn product() -> String {
    let list = |item: &dyn Fn(u32) -> String| (0..250).map(item).collect::<Vec<_>>().join(", ");
    let nets = list(&|i| format!("10.{i}.0.0/16"));
    let ports = list(&|i| (2 * i + 1).to_string());
    format!(
        "name: x\nrules: [{{match: {{src: [{nets}], dst: [{nets}], src_port: [{ports}], dst_port: [{ports}]}}}}]"
    )
}

fn bomb() -> String {
    let levels = (1..30).map(|i| {
        format!(
            "a{i}: &a{i} [{}]\n",
            vec![format!("*a{}", i - 1); 9].join(", ")
        )
    });
    format!(
        "name: x\na0: &a0 [1, 2]\n{}rules: *a29\n",
        levels.collect::<String>()
    )
}

#[test]
fn hostile_texts_are_refused_in_little_time_and_memory() {
    let directory = tempfile::tempdir().unwrap();
    let rule = |text: String| format!("name: x\nrules:\n  - {text}\n");
    let indents: String = (0..700).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    let deep: String = (0..1500)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    let texts = [
        ("a0", bomb()),
        ("unexpected list", "name: x\nrules: &r [*r]\n".to_owned()),
        ("the nesting is too deep", rule("[".repeat(80_000))),
        ("the nesting is too deep", rule("{a: ".repeat(60_000))),
        ("the nesting is too deep", indents),
        ("the text is too large", deep),
        (
            "the text is too large",
            rule(format!("[{}]", "a, ".repeat(1_400_000))),
        ),
        (
            "more than 256 entries",
            rule(format!("match: {{dst_port: [{}]}}", "1,".repeat(130_000))),
        ),
        (
            "more than 1024 rules",
            format!("name: x\nrules:\n{}", "- {}\n".repeat(50_000)),
        ),
        ("3906250000 match entries", product()),
        ("a NUL byte", rule("\0".repeat(200_000))),
        (
            "a byte order mark in the middle",
            rule("\u{feff}".to_owned()),
        ),
        ("tab", "name: x\nrules:\n\t- drop: 1%\n".to_owned()),
        ("a second YAML document", "---\n".repeat(60_000)),
        (
            "YAML tags are not supported",
            rule("drop: !!python/object/apply:os.system [id]".to_owned()),
        ),
        ("the text is empty", "# \n".repeat(80_000)),
        (
            "the invisible character U+001B",
            rule("name: \"\u{1b}]0;pwned\u{7}\"".to_owned()),
        ),
    ];
    for (n, (message, text)) in texts.iter().enumerate() {
        let path = directory.path().join(format!("{n}.yaml"));
        fs::write(&path, text).unwrap();
        assert_refused(&path, message);
    }
}

#[test]
fn hostile_files_are_refused_in_little_time_and_memory() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let fifo = file("fifo.yaml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let huge = file("huge.yaml");
    File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    let circle = file("circle.yaml");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let names = |what: &str, name: &str| {
        let path = file(&format!("{what}.yaml"));
        let text = format!("name: x\nrules: [{{replay: {name}}}]");
        fs::write(&path, text).unwrap();
        path
    };
    let table = file("table.yaml");
    let text =
        "name: x\nrules: [{delay: {time: 1ms, jitter: 1ms, distribution: {table: huge.yaml}}}]";
    fs::write(&table, text).unwrap();
    let files: [(&str, PathBuf); 9] = [
        ("this is a pipe", fifo),
        ("this is a device", "/dev/zero".into()),
        ("this is a directory", directory.path().into()),
        ("the text is too large", huge),
        ("Too many levels of symbolic links", circle),
        ("fifo.yaml is a pipe", names("of-a-pipe", "fifo.yaml")),
        ("/dev/zero is a device", names("of-a-device", "/dev/zero")),
        (
            "huge.yaml is too large",
            names("of-a-huge-file", "huge.yaml"),
        ),
        ("huge.yaml is too large", table),
    ];
    for (message, path) in files {
        assert_refused(&path, message);
    }
}
