//! Counters as Prometheus reads them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use injector_tests::{
    Injector, Lab,
    clock::{self, PATIENCE},
    directory::Directory,
    injector::{self, Background},
    kernel,
    predict::Oracle,
    tool,
    udp::Flow,
};
use serde::Deserialize;
use serde_json::Value;

const LOSSY: &str = "
name: lossy
seed: 1
rules: [{name: udp, match: {protocol: udp}, drop: {every: 4}}]
";

const ANYWHERE: &str = "127.0.0.1:0";

#[track_caller]
fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(clock::wait_until(PATIENCE, condition), "not {what}");
}

/// Asks for something over HTTP, and returns the whole answer.
#[track_caller]
fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: injector\r\n{headers}\r\n"
    )
    .expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The metrics, by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample).collect()
}

/// The sample whose name begins so and that has these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = samples(text);
    let mut found = samples
        .iter()
        .filter(|(key, _)| key.starts_with(name) && labels.iter().all(|label| key.contains(label)));
    found.next().map(|(_, value)| *value)
}

fn packets(text: &str, verdict: &str) -> Option<f64> {
    let verdict = format!("verdict=\"{verdict}\"");
    let labels = ["rule=\"udp\"", "dev=\"eth0\"", "dir=\"egress\"", &verdict];
    value(text, "injector_packets_total{", &labels)
}

#[track_caller]
fn served(run: &Injector) -> SocketAddr {
    run.started().metrics.expect("an address")
}

#[test]
fn what_is_scraped_is_what_the_receiver_missed() {
    let lab = Lab::new();
    let run = Injector::start_with(&lab.a, LOSSY, &["--metrics", ANYWHERE]);
    let report = Flow::new(100).send(&lab.a, &lab.b);
    assert_eq!(report.lost().len(), 25);
    // From the namespace of this test, not from that of the device.
    let address = served(&run);
    assert!(lab.a.run(|| TcpStream::connect(address)).is_err());
    wait_until("counted", || {
        packets(&get(address, "/metrics", ""), "matched") == Some(100.0)
    });
    let text = get(address, "/metrics", "");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(packets(&text, "dropped"), Some(25.0));
    assert_eq!(packets(&text, "corrupted"), Some(0.0));
    assert!(
        text.contains("# TYPE injector_packets_total counter\n"),
        "{text}"
    );
    for (name, labels) in [
        (
            "injector_profile_info{",
            &["name=\"lossy\"", "hash=\"", "seed=\"1\""][..],
        ),
        ("injector_build_info{", &["version=\""]),
        ("injector_attached{", &["hook=\"egress\"", "mode=\""]),
    ] {
        assert_eq!(value(&text, name, labels), Some(1.0), "{name}: {text}");
    }
    let bytes = value(&text, "injector_bytes_total{", &["rule=\"udp\""]);
    assert!(bytes.is_some_and(|bytes| bytes > 100.0 * 42.0), "{text}");

    let open = get(
        address,
        "/metrics",
        "Accept: application/openmetrics-text; version=1.0.0\r\n",
    );
    assert!(
        open.contains("content-type: application/openmetrics-text"),
        "{open}"
    );
    assert!(open.contains("# TYPE injector_packets counter\n"), "{open}");
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert!(
        get(address, "/", "").starts_with("HTTP/1.1 404"),
        "elsewhere"
    );
    run.stop();
    assert!(TcpStream::connect(address).is_err());
}

/// Those that were foretold, as the kernel counted them and summed them up.
#[test]
fn delays_are_a_histogram() {
    if !kernel::can_delay() {
        return;
    }
    const COUNT: u64 = 500;
    const PROFILE: &str = "
name: delays
seed: 7
rules: [{name: udp, match: {protocol: udp}, drop: 1%, delay: {time: 40ms, jitter: 39ms}}]";
    let lab = Lab::new();
    let run = Injector::start_with(&lab.a, PROFILE, &["--metrics", ANYWHERE]);
    Flow::new(COUNT)
        .gap(Duration::from_millis(1))
        .linger(Duration::from_millis(100))
        .send(&lab.a, &lab.b);
    let oracle = Oracle::new(PROFILE);
    let delays: Vec<_> = (0..COUNT).filter_map(|n| oracle.delay(n)).collect();
    let labels = ["rule=\"udp\"", "dev=\"eth0\"", "dir=\"egress\""];
    let text = || get(served(&run), "/metrics", "");
    let count = |text: &str| value(text, "injector_delay_seconds_count{", &labels);
    wait_until("all counted", || {
        count(&text()) == Some(delays.len() as f64)
    });
    let text = text();
    let sum = value(&text, "injector_delay_seconds_sum{", &labels).expect("a sum");
    let expected: f64 = delays
        .iter()
        .map(|delay| delay.as_micros() as f64 / 1e6)
        .sum();
    assert!((sum - expected).abs() < 1e-6, "{sum}, expected {expected}");
    for (le, bound_us) in [
        ("0.000256", 256),
        ("0.016384", 16_384),
        ("0.065536", 65_536),
        ("+Inf", u128::MAX),
    ] {
        let le_label = format!("le=\"{le}\"");
        let labels = [&labels[..], &[&le_label]].concat();
        let below = delays.iter().filter(|delay| delay.as_micros() < bound_us);
        let found = value(&text, "injector_delay_seconds_bucket{", &labels);
        assert_eq!(found, Some(below.count() as f64), "{le}: {text}");
    }
}

/// Once somebody has left it room for ten packets only.
#[test]
fn what_fq_drops_is_told_where_there_is_fq() {
    const COUNT: u64 = 100;
    let delay = match kernel::can_delay() {
        true => "delay: 2s",
        false => "duplicate: 100%",
    };
    let profile =
        format!("{{name: late, seed: 1, rules: [{{match: {{protocol: udp}}, {delay}}}]}}");
    let lab = Lab::new();
    let run = Injector::start_with(&lab.a, &profile, &["--metrics", ANYWHERE]);
    let drops = |text: &str| value(text, "injector_qdisc_drops_total{", &["dev=\"eth0\""]);
    let scraped = || drops(&get(served(&run), "/metrics", ""));
    let path = || {
        let status = injector::call(&lab.a.netns, &["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
        status["runs"][0]["path"].clone()
    };
    wait_until("scraped", || {
        get(served(&run), "/metrics", "").contains("injector_path_packets_total{")
    });
    if !kernel::can_delay() {
        assert_eq!(scraped(), None);
        assert_eq!(path().get("qdisc_drops"), Some(&Value::Null));
        return;
    }
    assert_eq!(scraped(), Some(0.0));
    let far = format!("inj{}f", lab.a.ifindex());
    lab.a
        .run(|| tool::tc(&format!("qdisc change dev {far} root fq limit 10")));
    let flow = Flow::new(COUNT).linger(Duration::from_secs(3));
    let lost = flow.send(&lab.a, &lab.b).lost().len() as u64;
    assert!(lost > 0);
    wait_until("told", || scraped() == Some(lost as f64));
    assert_eq!(path()["qdisc_drops"], lost);
    let end = run.stop();
    let path = &end.achieved().path;
    assert_eq!((path.qdisc_drops, path.lost), (Some(lost), lost));
}

#[test]
fn counters_never_decrease_over_phases() {
    const PHASES: &str = "
name: phases
seed: 1
repeat: forever
phases:
  - {name: lossy, for: 700ms, rules: [{name: udp, match: {protocol: udp}, drop: {every: 4}}]}
  - {name: good, for: 700ms, rules: [{name: udp, match: {protocol: udp}}]}
";
    const COUNT: u64 = 3000;
    let lab = Lab::new();
    let run = Injector::start_with(&lab.a, PHASES, &["--metrics", ANYWHERE]);
    let address = served(&run);
    let mut seen = Vec::new();
    let flow = Flow::new(COUNT).gap(Duration::from_millis(1));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| flow.send(&lab.a, &lab.b));
        while !sender.is_finished() {
            seen.push(packets(&get(address, "/metrics", ""), "matched"));
            std::thread::sleep(Duration::from_millis(50));
        }
        sender.join().expect("the sender");
    });
    wait_until("all counted", || {
        packets(&get(address, "/metrics", ""), "matched") == Some(COUNT as f64)
    });
    assert!(seen.is_sorted(), "{seen:?}");
    let steps = seen.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(steps > 1, "{seen:?}");
    run.stop();
}

#[test]
fn slow_clients_disturb_neither_the_run_nor_the_others() {
    let lab = Lab::new();
    let run = Injector::start_with(&lab.a, LOSSY, &["--metrics", ANYWHERE]);
    let address = served(&run);
    // More than are served at a time; none of them ever asks for anything.
    let idle: Vec<_> = (0..9)
        .map(|_| TcpStream::connect(address).expect("connect"))
        .collect();
    let report = Flow::new(100).send(&lab.a, &lab.b);
    assert_eq!(report.lost().len(), 25);
    assert_eq!(run.counters().only().matched, 100);
    assert_eq!(
        packets(&get(address, "/metrics", ""), "matched"),
        Some(100.0)
    );
    drop(idle);
    run.stop();
}

#[test]
fn the_textfile_is_replaced_as_a_whole_and_goes_with_the_run() {
    let (lab, directory) = (Lab::new(), Directory::new("textfile"));
    let path = directory.file("injector.prom");
    let file = path.to_str().expect("UTF-8");
    let run = Injector::start_with(&lab.a, LOSSY, &["--metrics-file", file]);
    Flow::new(100).send(&lab.a, &lab.b);
    let read = || fs::read_to_string(&path).expect("the file");
    wait_until("in the file", || packets(&read(), "dropped") == Some(25.0));
    assert!(!read().contains("# EOF"), "{}", read());
    run.stop();
    let left: Vec<_> = fs::read_dir(path.parent().expect("the directory"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Inside, with nothing but what a run needs, and with Landlock where the kernel has it.
#[test]
fn the_textfile_can_be_written_by_a_run_that_has_given_up_everything_else() {
    let (lab, directory) = (Lab::new(), Directory::new("confined"));
    let path = directory.file("injector.prom");
    let file = path.to_str().expect("UTF-8");
    let kept = [
        injector_tests::Capability::CAP_NET_ADMIN,
        injector_tests::Capability::CAP_BPF,
        injector_tests::Capability::CAP_PERFMON,
    ];
    let args = ["--metrics-file", file];
    let run = Injector::start_inside(&lab.a.netns, &kept, "eth0", LOSSY, &args);
    let run = run.unwrap_or_else(|end| panic!("{}", end.stderr));
    Flow::new(100).send(&lab.a, &lab.b);
    wait_until("in the file", || {
        packets(&fs::read_to_string(&path).expect("the file"), "dropped") == Some(25.0)
    });
    let end = run.stop();
    assert_eq!(end.code(), 0, "{}", end.stderr);
    // It may have something to say of what it cannot know without more.
    assert!(!end.stderr.contains("write"), "{}", end.stderr);
}

/// A port that was free just now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind(ANYWHERE).expect("bind");
    listener.local_addr().expect("an address")
}

#[test]
fn faults_in_the_background_are_scraped_too() {
    let lab = Lab::new();
    let address = free_port();
    let metrics = ["--metrics", &address.to_string()];
    let background = Background::apply(&lab.a, LOSSY, &metrics);
    Flow::new(100).send(&lab.a, &lab.b);
    // Swapped, and counted on.
    let other = LOSSY.replace("every: 4", "every: 2");
    let swapped = Background::apply(&lab.a, &other, &[]);
    assert!(swapped.swapped);
    Flow::new(100).send(&lab.a, &lab.b);
    wait_until("all counted", || {
        packets(&get(address, "/metrics", ""), "matched") == Some(200.0)
    });
    assert_eq!(
        packets(&get(address, "/metrics", ""), "dropped"),
        Some(75.0)
    );
    let elsewhere = ["--metrics", ANYWHERE];
    let output = injector::call_apply(&lab.a.netns, "eth0", LOSSY, &elsewhere);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("--replace"), "{stderr}");
    drop((swapped, background));
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_is_touched() {
    let lab = Lab::new();
    let listener = TcpListener::bind(ANYWHERE).expect("bind");
    let taken = listener.local_addr().expect("an address").to_string();
    for (args, code, words) in [
        (
            ["--metrics", "192.0.2.1:9469"],
            2,
            "cannot serve metrics at 192.0.2.1:9469",
        ),
        (
            ["--metrics-file", "/no/such/directory/a.prom"],
            2,
            "cannot write metrics to /no/such",
        ),
        (["--metrics", "localhost"], 2, "invalid value 'localhost'"),
    ] {
        let output = injector::call_run(&lab.a.netns, "eth0", LOSSY, &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            stderr.contains(words) && output.stdout.is_empty(),
            "{stderr}"
        );
    }
    for output in [
        injector::call_run(&lab.a.netns, "eth0", LOSSY, &["--metrics", &taken]),
        injector::call_apply(&lab.a.netns, "eth0", LOSSY, &["--metrics", &taken]),
    ] {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{stderr}");
        assert!(stderr.contains("Address already in use"), "{stderr}");
    }
}

/// Whether Prometheus is here. Guests have no packages but their own.
fn has_prometheus() -> bool {
    let here = Command::new("promtool").arg("--version").output().is_ok();
    if !here {
        let is_optional = std::env::var("INJECTOR_TEST_KERNEL").as_deref() != Ok("native");
        assert!(
            is_optional,
            "no Prometheus here: `scripts/setup` installs it"
        );
        eprintln!("left out: no Prometheus here; `scripts/setup` installs it");
    }
    here
}

#[test]
fn promtool_has_nothing_to_complain_of() {
    if !has_prometheus() {
        return;
    }
    let (lab, directory) = (Lab::new(), Directory::new("promtool"));
    let path = directory.file("injector.prom");
    let args = ["--metrics-file", path.to_str().expect("UTF-8")];
    let run = Injector::start_with(&lab.a, LOSSY, &args);
    wait_until("in the file", || {
        fs::read_to_string(&path).is_ok_and(|text| text.contains("injector_packets_total"))
    });
    let text = fs::File::open(&path).expect("the file");
    run.stop();
    let output = Command::new("promtool")
        .args(["check", "metrics", "--extended"])
        .stdin(text)
        .output()
        .expect("run promtool");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
}

/// A Prometheus that scrapes one address each half second. Dropping it kills it.
struct Prometheus(Child);

impl Prometheus {
    fn start(target: SocketAddr, listen: SocketAddr, directory: &Path) -> Self {
        let config = directory.join("prometheus.yml");
        let text = format!(
            "scrape_configs: [{{job_name: injector, scrape_interval: 500ms, scrape_timeout: 400ms, \
             static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(&config, text).expect("write its configuration");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={listen}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("start prometheus"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    value: (f64, String),
}

/// What Prometheus answers to a query, if it has come so far.
fn query(address: SocketAddr, query: &str) -> Option<String> {
    TcpStream::connect(address).ok()?;
    let answer = get(
        address,
        &format!("/api/v1/query?query={query}"),
        "Connection: close\r\n",
    );
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let answer: Answer = serde_json::from_str(body).ok()?;
    Some(answer.data.result.first()?.value.1.clone())
}

#[test]
fn a_real_prometheus_scrapes_it() {
    if !has_prometheus() {
        return;
    }
    let (lab, directory) = (Lab::new(), Directory::new("prometheus"));
    let run = Injector::start_with(&lab.a, LOSSY, &["--metrics", ANYWHERE]);
    let listen = free_port();
    let prometheus = Prometheus::start(served(&run), listen, &directory.file(""));
    Flow::new(100).send(&lab.a, &lab.b);
    let dropped = "injector_packets_total%7Bverdict=%22dropped%22%7D";
    wait_until("known to Prometheus", || {
        query(listen, dropped).as_deref() == Some("25")
    });
    assert_eq!(query(listen, "up").as_deref(), Some("1"));
    let share = format!(
        "{dropped}%20/%20ignoring(verdict)%20{}",
        dropped.replace("dropped", "matched")
    );
    assert_eq!(query(listen, &share).as_deref(), Some("0.25"));
    drop(prometheus);
    run.stop();
}

/// The queries of the dashboard, with its variables as Grafana fills them in.
fn queries(dashboard: &Value, found: &mut Vec<String>) {
    match dashboard {
        Value::Object(map) => {
            if let Some(query) = map.get("expr").and_then(Value::as_str) {
                let all = query.replace("$dev", ".*").replace("$rule", ".*");
                found.push(all.replace("$__rate_interval", "10s"));
            }
            map.values().for_each(|value| queries(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("injector_")).collect()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_query_of_the_dashboard_is_answered() {
    const PHASES: &str = "
name: phases
repeat: forever
phases:
  - {for: 2s, rules: [{name: udp, match: {protocol: udp}, drop: {every: 4}}]}
  - {for: 2s, rules: [{name: udp, match: {protocol: udp}, drop: {every: 2}}]}";
    if !has_prometheus() {
        return;
    }
    let dashboard = include_str!("../../docs/grafana.json");
    let mut asked = Vec::new();
    queries(&serde_json::from_str(dashboard).expect("JSON"), &mut asked);
    assert!(asked.len() > 10, "{asked:?}");
    let (lab, directory) = (Lab::new(), Directory::new("dashboard"));
    let run = Injector::start_with(&lab.a, PHASES, &["--metrics", ANYWHERE]);
    let address = served(&run);
    let mut served = String::new();
    wait_until("encoded", || {
        served = get(address, "/metrics", "");
        served.contains("injector_packets_total{")
    });
    let known = |name: &&str| {
        let types = served
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        let mut families = types.filter_map(|line| line.split_once(' '));
        families.any(|(family, _)| {
            let rest = name.strip_prefix(family);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        })
    };
    let unknown: Vec<_> = metrics(dashboard)
        .into_iter()
        .filter(|name| !known(name))
        .collect();
    // Where there is no fq, there are none of its drops.
    let excused: &[&str] = if kernel::can_delay() {
        &[]
    } else {
        &["injector_qdisc_drops_total"]
    };
    assert_eq!(unknown, excused);

    let listen = free_port();
    let prometheus = Prometheus::start(address, listen, &directory.file(""));
    // No rule delays.
    let has_samples = |name: &str| !excused.contains(&name) && !name.contains("_delay_");
    for asked in &asked {
        let is_answered = || {
            let flow = Flow::new(8).linger(Duration::from_millis(100));
            flow.send(&lab.a, &lab.b);
            if metrics(asked).into_iter().all(has_samples) {
                // Nothing may be above 0.
                let asked = asked.strip_suffix(" > 0").unwrap_or(asked);
                query(listen, &escaped(asked)).is_some()
            } else {
                is_understood(listen, asked)
            }
        };
        wait_until(asked, is_answered);
    }
    assert!(!is_understood(listen, "sum by (rule"), "half a query");
    drop(prometheus);
    run.stop();
}

/// Whether Prometheus knows what a query means, whatever the answer is.
fn is_understood(address: SocketAddr, query: &str) -> bool {
    let path = format!("/api/v1/query?query={}", escaped(query));
    TcpStream::connect(address).is_ok()
        && get(address, &path, "Connection: close\r\n").contains("\"status\":\"success\"")
}
