//! What names of hosts stand for, as the system's resolver has it: that of the namespaces that this process is
//! in, with their `/etc/resolv.conf` and `/etc/hosts`.
//!
//! The resolver tells no times to live, so that names are looked up again at a fixed interval; who answers it
//! commonly keeps what has not expired.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, ToSocketAddrs as _},
    thread,
    time::Duration,
};

use tokio::sync::mpsc;

use crate::units::HostName;

/// How long answers are taken for right.
pub const INTERVAL: Duration = Duration::from_secs(3);

/// What a name stands for: at least one address.
pub type Answer = io::Result<BTreeSet<IpAddr>>;

/// Looks names up, all at the same time.
pub fn look_up(names: &[HostName]) -> Vec<Answer> {
    thread::scope(|scope| {
        let lookups: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| addresses(name)))
            .collect();
        let panicked = || Err(io::Error::other("the look-up failed"));
        let answers = lookups
            .into_iter()
            .map(|lookup| lookup.join().unwrap_or_else(|_| panicked()));
        answers.collect()
    })
}

fn addresses(name: &HostName) -> Answer {
    let found = (name.as_str(), 0).to_socket_addrs()?;
    let addresses: BTreeSet<_> = found.map(|address| address.ip().to_canonical()).collect();
    match addresses.is_empty() {
        true => Err(io::Error::other("it has no address")),
        false => Ok(addresses),
    }
}

/// Names that are looked up again and again, on a thread of their own: the resolver may take its time.
pub struct Lookups {
    answers: mpsc::Receiver<Vec<(HostName, Answer)>>,
}

impl Lookups {
    /// Begins. The thread has the privileges of this one, and ends soon after nobody asks it any more.
    pub fn start(names: Vec<HostName>) -> Self {
        let (sender, answers) = mpsc::channel(1);
        thread::spawn(move || {
            while !sender.is_closed() {
                thread::sleep(INTERVAL);
                let answers = look_up(&names);
                let named = names.iter().cloned().zip(answers).collect();
                if sender.blocking_send(named).is_err() {
                    return;
                }
            }
        });
        Self { answers }
    }

    /// The next answers.
    pub async fn next(&mut self) -> Vec<(HostName, Answer)> {
        match self.answers.recv().await {
            Some(answers) => answers,
            None => std::future::pending().await,
        }
    }
}
