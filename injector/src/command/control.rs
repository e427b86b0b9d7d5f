//! How `apply` and the process that holds its faults talk: one message of JSON each, over a Unix socket.
//! A message ends where its sender stops writing.

use std::{
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{datapath::Attached, error::Failure, observe::audit::Who, plan::Connection, profile};

/// The protocol's name and version.
pub(super) const SCHEMA: &str = "injector.control/v2";
/// How long a message may take to come that its sender has at hand.
pub(super) const AT_HAND: Duration = Duration::from_secs(5);
/// Most bytes of a message: a profile in which JSON escapes every byte, and a command line.
const BYTES_MAX: u64 = 8 * profile::SIZE_MAX as u64;

/// What `apply` asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its command line, without the command's name.
    pub arguments: Vec<String>,
    /// Where its relative paths start.
    pub directory: PathBuf,
    /// What it has read from standard input.
    pub stdin: Option<String>,
    /// Which of the interfaces that this is about: one process holds the faults of one.
    #[serde(default)]
    pub at: String,
    /// The connection by which it was called.
    pub ssh: Option<Connection>,
    /// The seed, drawn if need be.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The faults are in force.
    InForce(InForce),
    /// They will be when there is a device.
    Waiting(Waiting),
    /// They are not, and nothing has changed.
    Failed(Failure),
}

/// Faults in force.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InForce {
    pub profile: String,
    pub seed: u64,
    pub device: String,
    pub ifindex: u32,
    pub attached: Vec<Attached>,
    /// What no rule touches.
    pub protected: Vec<String>,
    /// What the profile asks for, and this kernel cannot do.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// What is otherwise than was asked, in words.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The process that holds them.
    pub pid: u32,
    /// Whether others were in force before.
    pub swapped: bool,
    /// When they end, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_in_ms: Option<u64>,
}

/// Faults that wait for their device.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub profile: String,
    pub seed: u64,
    pub device: String,
    /// The process that waits.
    pub pid: u32,
}

impl From<Result<InForce, Failure>> for Reply {
    fn from(result: Result<InForce, Failure>) -> Self {
        result.map_or_else(Self::Failed, Self::InForce)
    }
}

/// Sends the only message of this side.
pub(super) fn send(mut stream: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    stream.set_write_timeout(Some(AT_HAND))?;
    stream.write_all(&text)?;
    stream.shutdown(Shutdown::Write)
}

/// Receives the only message of the other side, which must come in time if there is a limit; `None` where
/// that side has ended without.
pub(super) fn receive<T: DeserializeOwned>(
    mut stream: &UnixStream,
    patience: Option<Duration>,
) -> io::Result<Option<T>> {
    let give_up = patience.map(|patience| Instant::now() + patience);
    let mut text = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let left = give_up.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(left)?;
        match stream.read(&mut part) {
            Ok(0) if text.is_empty() => return Ok(None),
            Ok(0) => return Ok(Some(serde_json::from_slice(&text)?)),
            Ok(count) if (text.len() + count) as u64 > BYTES_MAX => {
                return Err(io::Error::other("the message is too long"));
            }
            Ok(count) => text.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Who is at the other end; `None` where that is neither root nor the user whose process this is.
pub(super) fn peer(stream: &UnixStream) -> io::Result<Option<Who>> {
    let peer = getsockopt(stream, PeerCredentials)?;
    let may_ask = peer.uid() == 0 || peer.uid() == geteuid().as_raw();
    Ok(may_ask.then(|| Who::of(peer.pid() as u32, peer.uid())))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn a_message_arrives_whole() {
        let (ours, theirs) = pair();
        let text = "ä\n\0".repeat(profile::SIZE_MAX / 8);
        let receiver = thread::spawn(move || receive::<String>(&theirs, Some(AT_HAND)).unwrap());
        send(&ours, &text).unwrap();
        assert_eq!(receiver.join().unwrap(), Some(text));
    }

    #[test]
    fn nothing_is_no_message() {
        let (ours, theirs) = pair();
        drop(ours);
        assert_eq!(receive::<String>(&theirs, Some(AT_HAND)).unwrap(), None);
    }

    #[test]
    fn a_message_that_is_too_long_is_not_read_to_its_end() {
        let (ours, theirs) = pair();
        let sender = thread::spawn(move || {
            let part = [b'a'; 64 * 1024];
            while (&ours).write_all(&part).is_ok() {}
        });
        assert!(receive::<String>(&theirs, Some(AT_HAND)).is_err());
        drop(theirs);
        sender.join().unwrap();
    }

    #[test]
    fn who_says_a_word_now_and_then_is_not_heard_for_ever() {
        let (ours, theirs) = pair();
        let sender = thread::spawn(move || {
            while (&ours).write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        let received = receive::<String>(&theirs, Some(Duration::from_millis(100)));
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        sender.join().unwrap();
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in ["", " ", "{", "nonsense", "[]"] {
            let (ours, theirs) = pair();
            (&ours).write_all(text.as_bytes()).unwrap();
            drop(ours);
            let received = receive::<Request>(&theirs, Some(AT_HAND));
            assert!(!matches!(received, Ok(Some(_))), "{text}");
        }
    }
}
