//! Table: what each condition of a match costs.

use std::{cell::OnceCell, net::UdpSocket};

use injector_tests::socket;

use crate::{
    contest::{Contest, Contestant, Measured},
    cost::{self, ROUNDS, Runs},
    frame,
    programs::{self, Own},
};

const SOURCE: [u8; 4] = [10, 0, 0, 1];
const DESTINATION: [u8; 4] = [10, 0, 0, 2];
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// Conditions that a datagram meets, whose sender's socket is known.
const OF_DATAGRAMS: [&str; 21] = [
    "src: 10.0.0.0/8",
    "dst: 10.0.0.2",
    "dst: [10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.0.0.2]",
    "protocol: udp",
    "protocol: udp, dst_port: 2000",
    "ttl: 64",
    "dscp: 0",
    "ecn: not-ect",
    "mark: 0",
    "length: 46",
    "fragment: nofrag",
    "src_mac: \"02:00:00:00:00:09\"",
    "dst_mac: \"00:00:00:00:00:00/ff:00:00:00:00:00\"",
    "connection: {first: 1000000000}",
    "flows: 100%",
    "not: {ttl: 1}",
    "not: {dst: 10.9.9.9}",
    "any: [{ttl: 1}, {dscp: 0}]",
    "process: bench",
    "cgroup: /",
    "user: root",
];

/// A condition, and a packet that meets it.
struct Row<'a> {
    direction: &'static str,
    condition: &'a str,
    frame: Vec<u8>,
}

/// Measures them.
pub fn measure(contest: &Contest) {
    socket::stay_on_one_cpu();
    let egress = |condition, frame| Row {
        direction: "egress",
        condition,
        frame,
    };
    for condition in OF_DATAGRAMS {
        row(contest, &egress(condition, frame::udp(SOURCE, DESTINATION)));
    }
    let others = [
        egress("tcp_flags: syn", frame::tcp_syn(SOURCE, DESTINATION)),
        egress(
            "icmp_type: echo-request",
            frame::echo_request(SOURCE, DESTINATION),
        ),
        egress("vlan: 100", frame::tagged_udp(SOURCE, DESTINATION, 100)),
    ];
    for other in &others {
        row(contest, other);
    }
    of_receiver(contest);
}

/// The owner of the socket that receives, which has to be looked up.
fn of_receiver(contest: &Contest) {
    let receiver = UdpSocket::bind((std::net::Ipv4Addr::from(LOOPBACK), 0)).expect("a socket");
    let port = receiver.local_addr().expect("its address").port();
    let received = Row {
        direction: "ingress",
        condition: "user: root",
        frame: frame::udp_to_port(SOURCE, LOOPBACK, port),
    };
    row(contest, &received);
}

/// A rule without conditions; the same one in an object that has the code for the condition, as while other rules of a
/// profile have it; a rule with the condition.
fn row(contest: &Contest, row: &Row<'_>) {
    let rule = |conditions: &str| {
        let Row { direction, .. } = row;
        format!("name: bench\nrules:\n- {{direction: {direction}{conditions}}}\n")
    };
    let (plain, conditional) = (rule(""), rule(&format!(", match: {{{}}}", row.condition)));
    let measure = |own: &OnceCell<Result<Own, String>>, load: &dyn Fn() -> Result<Own, String>| {
        let own = own.get_or_init(load);
        matching(own.as_ref().map_err(Clone::clone)?, row)
    };
    let (bare, beside, own) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
    let contestants = vec![
        Contestant::new("no condition", || measure(&bare, &|| Own::load(&plain))),
        Contestant::new("another rule's", || {
            measure(&beside, &|| Own::load_beside(&plain, &conditional))
        }),
        Contestant::new("injector", || measure(&own, &|| Own::load(&conditional))),
    ];
    let name = format!("{}, {}", row.direction, row.condition);
    let rounds = ROUNDS * contest.effort.rounds;
    contest.row_of(rounds, &name, cost::unit(contest), contestants);
}

/// How long a packet takes that matches.
fn matching(own: &Own, row: &Row<'_>) -> Measured {
    let program = match row.direction {
        "egress" => programs::DIVERT_EGRESS,
        _ => programs::DIVERT_INGRESS,
    };
    let before = own.matched()?;
    let time = cost::time(own.get(program)?, &row.frame, None, Runs::Many)?;
    if own.matched()? == before {
        return Err("its rule did not match".into());
    }
    Ok(time)
}
