//! Table: beside fault-cli, a proxy in user space.
//!
//! It is put where its users put it: the client connects to it on its own host, and it connects to
//! the server. Both are asked for 1 ms on the way there.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use injector_tests::{Family, Lab};
use serde_json::{Value, json};

use crate::{
    condition::Condition,
    contest::{Contest, Contestant, Measured},
    echo,
    record::Unit,
    stream::{self, Route},
};

/// The server's ports.
const TCP_PORT: u16 = 5001;
const UDP_PORT: u16 = 5002;
/// Added to them, the proxy's.
const PROXIED: u16 = 1000;

/// Measures both. The proxy delays only the first bytes of a TCP stream, but every datagram.
pub fn measure(contest: &Contest) {
    let lab = Lab::new();
    let length = contest.effort.length;
    contest.row(
        "throughput",
        Unit::GbitPerSecond,
        contestants(&lab, TCP_PORT, |route, _| stream::goodput(route, length)),
    );
    contest.row(
        "round trip",
        Unit::Microseconds,
        contestants(&lab, UDP_PORT, |route, delay_us| {
            Ok(echo::median_us(route, length)? - delay_us)
        }),
    );
}

/// Nothing, the proxy, and ours. `measure` is told the way, and the delay asked for.
fn contestants<'a>(
    lab: &'a Lab,
    port: u16,
    measure: impl Fn(&Route<'_>, f64) -> Measured + Copy + 'a,
) -> Vec<Contestant<'a>> {
    let direct = Route::direct(lab, port);
    let proxied = Route {
        connect: proxy_address(port),
        ..direct
    };
    vec![
        Contestant::new("bare", move || measure(&direct, 0.0)),
        Contestant::new("fault-cli", move || {
            let _proxy = Proxy::start(lab)?;
            measure(&proxied, 1000.0)
        }),
        Contestant::new("injector", move || {
            let condition = Condition::Injector("--delay 1ms");
            condition.during(&lab.a, || measure(&direct, 1000.0))
        }),
    ]
}

fn proxy_address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port + PROXIED).into()
}

/// fault-cli at work on host A. Dropping it ends it.
struct Proxy {
    child: Child,
    /// Kept open, because it writes its progress there.
    _events: BufReader<ChildStdout>,
}

impl Proxy {
    /// Starts the one that `FAULT_BIN` names, and waits until it listens.
    fn start(lab: &Lab) -> Result<Self, String> {
        let binary = env::var_os("FAULT_BIN").ok_or("FAULT_BIN does not name the binary")?;
        let path = env::temp_dir().join(format!("bench-{}.json", std::process::id()));
        let failed = |error: std::io::Error| format!("fault-cli: {error}");
        fs::write(&path, configuration(lab).to_string()).map_err(failed)?;
        let mut command = Command::new(binary);
        command.args(["--output", "json", "run"]).arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = lab.a.run(|| command.spawn()).map_err(failed)?;
        let mut events = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut first = String::new();
        let read = events.read_line(&mut first).map_err(failed);
        let proxy = Self {
            child,
            _events: events,
        };
        let _ = fs::remove_file(&path);
        if read? == 0 || !first.contains("run-started") {
            return Err(format!("fault-cli does not start: {first}"));
        }
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(lab: &Lab) -> Value {
    let proxy = |protocol: &str, port: u16| {
        json!({
            "name": protocol,
            "protocol": protocol,
            "listen": proxy_address(port).to_string(),
            "upstream": lab.b.at(Family::V4, port).to_string(),
        })
    };
    let latency = json!({
        "type": "latency",
        "flow": "to-upstream",
        "distribution": {"type": "uniform", "min_ms": 1.0, "max_ms": 1.0},
    });
    json!({
        "schema_version": 1,
        "name": "bench",
        "proxies": [proxy("tcp", TCP_PORT), proxy("udp", UDP_PORT)],
        "phases": [{
            "name": "bench",
            "proxies": [
                {"proxy": "tcp", "faults": [&latency]},
                {"proxy": "udp", "faults": [&latency]},
            ],
        }],
    })
}
