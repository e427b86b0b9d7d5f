//! Counters for those who watch from elsewhere.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

/// Where the counters are told while faults are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Metrics")]
pub struct Metrics {
    /// Serve OpenMetrics at http://ADDRESS:PORT/metrics, such as 127.0.0.1:9469, in the namespace that this is
    /// called from, whatever --netns says
    #[arg(id = "metrics", long = "metrics", value_name = "ADDRESS:PORT")]
    pub address: Option<SocketAddr>,
    /// Write them to this file each second, for node_exporter's textfile collector: NAME.prom
    #[arg(id = "metrics_file", long = "metrics-file", value_name = "FILE")]
    pub file: Option<PathBuf>,
}
