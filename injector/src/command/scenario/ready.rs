//! Whether a command that was started is ready.

use std::{fs, path::Path, time::Instant};

use super::{
    host::Host,
    process::{Place, Processes},
};
use crate::{
    datapath,
    error::Failure,
    scenario::{Condition, Ready},
};

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// The command ended before.
    Ended,
    /// The time was over.
    Late,
}

/// What is looked at.
pub(super) struct Look<'a> {
    pub ready: &'a Ready,
    /// The command.
    pub place: Place,
    pub host: &'a Host,
    /// Where a command that finds out is run.
    pub directory: &'a Path,
}

impl Look<'_> {
    /// Waits until the command is ready.
    pub(super) fn wait(&self, processes: &mut Processes) -> Result<Readiness, Failure> {
        let mut trial = None;
        let mut found = Ok(Readiness::Late);
        processes.wait_until(Instant::now() + self.ready.within, |processes| {
            found = match self.is_ready(processes, &mut trial) {
                Ok(true) => Ok(Readiness::Ready),
                // A daemon leaves its first process behind, and that well.
                Ok(false)
                    if processes
                        .status(self.place)
                        .is_some_and(|status| status != 0) =>
                {
                    Ok(Readiness::Ended)
                }
                Ok(false) => Ok(Readiness::Late),
                Err(failure) => Err(failure),
            };
            !matches!(found, Ok(Readiness::Late))
        });
        if let Some(trial) = trial {
            processes.kill(trial);
        }
        found
    }

    fn is_ready(
        &self,
        processes: &mut Processes,
        trial: &mut Option<Place>,
    ) -> Result<bool, Failure> {
        Ok(match &self.ready.when {
            Condition::Tcp(port) => is_bound(self.host, "tcp", *port)?,
            Condition::Udp(port) => is_bound(self.host, "udp", *port)?,
            Condition::Output(pattern) => {
                let (stdout, stderr) = processes.output(self.place);
                pattern.is_met_by(&stdout) || pattern.is_met_by(&stderr)
            }
            Condition::Command(command) => {
                let last = trial.map(|trial| processes.status(trial));
                if matches!(last, None | Some(Some(1..))) {
                    let arguments = &command.arguments;
                    *trial = Some(processes.start(self.host, arguments, self.directory, None)?);
                }
                last == Some(Some(0))
            }
        })
    }
}

/// Whether something on the host has the port. Nobody connects to find out: a server would take that for
/// its first client.
fn is_bound(host: &Host, protocol: &str, port: u16) -> datapath::Result<bool> {
    host.netns().run(|| {
        let tables = [protocol.to_owned(), format!("{protocol}6")];
        let tables =
            tables.map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")));
        // Absent where the kernel has no IPv6.
        Ok(tables.iter().flatten().any(|table| has_port(table, port)))
    })
}

/// Whether a table of the kernel's, such as `/proc/net/tcp`, has a socket on the port that waits for others:
/// one that listens, or one of UDP that is not connected.
fn has_port(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.rsplit_once(':'));
        let number = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        let state = fields.nth(1);
        number == Some(port) && matches!(state, Some("0A" | "07"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5 1 0 100
   1: 0100007F:1538 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 6 1 0 20
";
    const UDP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue
  12: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000
";

    #[test]
    fn only_sockets_that_wait_for_others_count() {
        assert!(has_port(TCP, 6379));
        assert!(!has_port(TCP, 5432), "a connection");
        assert!(!has_port(TCP, 80));
        assert!(has_port(UDP6, 53));
        assert!(!has_port("", 53));
    }
}
