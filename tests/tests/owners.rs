//! Faults for those whose sockets send and receive.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use injector_tests::{
    Family, Host, Injector, Lab, groups, injector, kernel, residue::Snapshot, socket,
};
use nix::libc;

const PORT: u16 = 7300;
const COUNT: usize = 20;

/// Two hosts, where the kernel can note whose a socket is.
fn lab() -> Option<Lab> {
    kernel::can_label_sockets().then(Lab::new)
}

/// A run with one rule, for the owner `condition`, that loses everything.
fn lose(lab: &Lab, direction: &str, condition: &str) -> Injector {
    let profile = format!(
        "{{name: owners, seed: 1, rules: [{{direction: {direction}, match: {{{condition}}}, drop: 100%}}]}}"
    );
    Injector::start(&lab.a, &profile)
}

/// Has a thread of that name do something on the host.
fn as_thread<T: Send>(host: &Host, name: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned());
        let inside = || {
            host.netns.enter();
            work()
        };
        let thread = thread.spawn_scoped(scope, inside).expect("a thread");
        thread.join().expect("its work")
    })
}

fn connected(peer: SocketAddr) -> UdpSocket {
    let any = match peer {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.connect(peer).expect("connect");
    socket
}

/// Sends datagrams. Returns how many come.
fn sent(from: &UdpSocket, to: &UdpSocket) -> usize {
    for _ in 0..COUNT {
        let _ = from.send(b"x");
    }
    count(to)
}

fn count(receiver: &UdpSocket) -> usize {
    socket::set_receive_timeout(receiver, Duration::from_millis(300));
    let mut buffer = [0; 16];
    std::iter::from_fn(|| receiver.recv(&mut buffer).ok()).count()
}

#[test]
fn the_packets_of_a_process_are_told_by_its_name() {
    for family in [Family::V4, Family::V6] {
        let Some(lab) = lab() else { return };
        let address = lab.b.at(family, PORT);
        let receiver = lab.b.run(|| UdpSocket::bind(address).expect("bind"));
        let run = lose(&lab, "both", "process: owner-hit");
        let hit = as_thread(&lab.a, "owner-hit", || connected(address));
        let spared = as_thread(&lab.a, "owner-spared", || connected(address));
        assert_eq!(sent(&hit, &receiver), 0, "{family:?}");
        assert_eq!(sent(&spared, &receiver), COUNT, "{family:?}");
        // What comes back.
        for (socket, expected) in [(&hit, 0), (&spared, COUNT)] {
            let port = socket.local_addr().expect("its address").port();
            let back = lab.a.at(family, port);
            for _ in 0..COUNT {
                receiver.send_to(b"x", back).expect("send back");
            }
            assert_eq!(count(socket), expected, "{family:?}");
        }
        let achieved = run.stop();
        let matched: Vec<_> = achieved
            .achieved()
            .rules
            .iter()
            .map(|rule| rule.matched)
            .collect();
        assert_eq!(matched, [COUNT as u64, COUNT as u64], "{family:?}");
    }
}

#[test]
fn connections_that_were_there_before_are_found() {
    let Some(lab) = lab() else { return };
    let address = lab.b.at(Family::V4, PORT);
    let listener = lab.b.run(|| TcpListener::bind(address).expect("listen"));
    let mut stream = lab.a.run(|| TcpStream::connect(address).expect("connect"));
    let (mut accepted, _) = listener.accept().expect("accept");
    let mut nobodys = Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("start sleep");
    let other = lose(&lab, "egress", &format!("pid: {}", nobodys.id()));
    assert!(
        passes(&mut stream, &mut accepted),
        "a packet of another process"
    );
    other.stop();
    nobodys
        .kill()
        .and_then(|()| nobodys.wait())
        .expect("end sleep");
    let run = lose(&lab, "egress", &format!("pid: {}", std::process::id()));
    assert!(
        !passes(&mut stream, &mut accepted),
        "a packet of the process"
    );
    assert!(run.stop().achieved().only().dropped > 0);
}

/// Whether a byte comes in time; what is resent later does not count.
fn passes(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    use io::{Read as _, Write as _};
    socket::set_receive_timeout(to, Duration::from_millis(500));
    from.write_all(b"x").expect("write");
    to.read(&mut [0; 16]).is_ok()
}

#[test]
fn a_connection_is_its_listeners() {
    let Some(lab) = lab() else { return };
    let run = lose(&lab, "egress", "process: owner-listens");
    let address = lab.a.at(Family::V4, PORT);
    let listener = as_thread(&lab.a, "owner-listens", || {
        TcpListener::bind(address).expect("listen")
    });
    listener.set_nonblocking(true).expect("not to block");
    // Its answers are lost, those to a connection that is about to be among them.
    let client = lab
        .b
        .run(|| TcpStream::connect_timeout(&address, Duration::from_millis(700)));
    assert!(client.is_err(), "an answer came");
    assert!(run.stop().achieved().only().dropped > 0);
}

#[test]
fn what_an_accepted_connection_sends_is_its_listeners() {
    let Some(lab) = lab() else { return };
    // The handshake, which does not push, comes to an end.
    let conditions = "process: owner-accepts, protocol: tcp, tcp_flags: psh";
    let run = lose(&lab, "egress", conditions);
    let address = lab.a.at(Family::V4, PORT);
    let listen = |name| {
        as_thread(&lab.a, name, || {
            TcpListener::bind((address.ip(), 0)).expect("listen")
        })
    };
    for (name, passed) in [("owner-accepts", false), ("owner-spared", true)] {
        let listener = listen(name);
        let address = listener.local_addr().expect("its address");
        let mut client = lab.b.run(|| TcpStream::connect(address).expect("connect"));
        let (mut accepted, _) = listener.accept().expect("accept");
        assert_eq!(passes(&mut accepted, &mut client), passed, "{name}");
    }
    assert!(run.stop().achieved().only().dropped > 0);
}

#[test]
fn of_sockets_that_share_a_port_the_one_that_sends_is_told() {
    let Some(lab) = lab() else { return };
    let address = lab.b.at(Family::V4, PORT);
    let receiver = lab.b.run(|| UdpSocket::bind(address).expect("bind"));
    let run = lose(&lab, "egress", "process: owner-hit");
    // Either could be the one that an answer would go to.
    let (count, hit, spared) = (8, "owner-hit", "owner-spared");
    let names = [hit, spared].into_iter().cycle().take(count);
    let sockets: Vec<_> = names
        .map(|name| (name, as_thread(&lab.a, name, || sharing(&lab.a))))
        .collect();
    for (name, socket) in &sockets {
        socket::send_to(socket, name.as_bytes(), address).expect("send");
    }
    assert_eq!(self::count(&receiver), count / 2);
    assert_eq!(run.stop().achieved().only().dropped, count as u64 / 2);
}

/// A socket on a port that others may have as well.
fn sharing(host: &Host) -> OwnedFd {
    let socket = socket::open(libc::AF_INET, libc::SOCK_DGRAM, 0);
    socket::set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
    socket::bind(&socket, host.at(Family::V4, PORT));
    socket
}

/// Runs `work` in a child that has joined a group, or become another user.
fn in_child(prepare: impl FnOnce() -> io::Result<()> + Send + Sync + Clone + 'static) {
    let mut command = Command::new("true");
    // SAFETY: only system calls are made between fork and exec.
    unsafe { command.pre_exec(move || prepare.clone()()) };
    assert!(command.status().expect("run the child").success());
}

/// Sends datagrams from the calling process, by system calls alone.
fn send_by_calls(to: SocketAddr) -> io::Result<()> {
    let socket = socket::open(libc::AF_INET, libc::SOCK_DGRAM, 0);
    for _ in 0..COUNT {
        socket::send_to(&socket, b"x", to)?;
    }
    Ok(())
}

struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let path = groups::root().join(format!("injector-test-{}", std::process::id()));
        fs::create_dir_all(path.join("below")).expect("make a group");
        Self(path)
    }

    fn name(&self) -> String {
        format!("/{}", self.0.file_name().expect("a name").to_string_lossy())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0.join("below"));
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_packets_of_a_group_and_of_those_below_are_told() {
    let Some(lab) = lab() else { return };
    let group = Group::new();
    let address = lab.b.at(Family::V4, PORT);
    let receiver = lab.b.run(|| UdpSocket::bind(address).expect("bind"));
    let run = lose(&lab, "egress", &format!("cgroup: {}", group.name()));
    for (path, expected) in [
        (Some(group.0.clone()), 0),
        (Some(group.0.join("below")), 0),
        (None, COUNT),
    ] {
        let procs = path.as_ref().map(|path| {
            fs::File::options()
                .write(true)
                .open(path.join("cgroup.procs"))
                .expect("join")
        });
        let procs = procs.map(std::sync::Arc::new);
        lab.a.run(|| {
            in_child(move || {
                if let Some(procs) = &procs {
                    // SAFETY: writes a byte to a file that is open.
                    let _ = unsafe { libc::write(procs.as_raw_fd(), b"0".as_ptr().cast(), 1) };
                }
                send_by_calls(address)
            });
        });
        assert_eq!(count(&receiver), expected, "{path:?}");
    }
    run.stop();
}

#[test]
fn the_packets_of_a_user_are_told() {
    const NOBODY: libc::uid_t = 65534;
    let Some(lab) = lab() else { return };
    let address = lab.b.at(Family::V4, PORT);
    let receiver = lab.b.run(|| UdpSocket::bind(address).expect("bind"));
    let run = lose(&lab, "egress", "user: nobody");
    for (user, expected) in [(NOBODY, 0), (0, COUNT)] {
        lab.a.run(|| {
            in_child(move || {
                // SAFETY: takes a number.
                match unsafe { libc::setuid(user) } {
                    0 => send_by_calls(address),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        });
        assert_eq!(count(&receiver), expected, "user {user}");
    }
    run.stop();
}

#[test]
fn on_the_loopback_device_both_ends_are_told() {
    let Some(lab) = lab() else { return };
    let profile = "{name: owners, seed: 1, rules: [{direction: ingress, match: {process: owner-server}, drop: 100%}]}";
    let address: SocketAddr = ([127, 0, 0, 1], PORT).into();
    let run = Injector::start_on(&lab.a.netns, "lo", profile, &[]);
    let server = as_thread(&lab.a, "owner-server", || {
        UdpSocket::bind(address).expect("bind")
    });
    let client = as_thread(&lab.a, "owner-client", || connected(address));
    assert_eq!(sent(&client, &server), 0, "to the server");
    let back = client.local_addr().expect("its address");
    for _ in 0..COUNT {
        server.send_to(b"x", back).expect("send back");
    }
    assert_eq!(count(&client), COUNT, "to the client");
    run.stop();
}

#[test]
fn where_owners_cannot_be_noted_that_is_said_and_nothing_is_changed() {
    if kernel::can_label_sockets() {
        return;
    }
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let profile = "{name: owners, seed: 1, rules: [{match: {user: root}, drop: 100%}]}";
    let output = injector::call_apply(&lab.a.netns, "eth0", profile, &[]);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot note whose a socket is"), "{said}");
    assert!(said.contains("cmpxchg16b"), "{said}");
    before.assert_same(&lab.a.netns);
}
