//! Which profile is in force on which interface.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::MetricType,
};

use super::Status;

/// On all of a run.
#[derive(Debug)]
pub(super) struct Profiles(Vec<Profile>);

#[derive(Clone, Debug, EncodeLabelSet)]
struct Profile {
    dev: String,
    name: String,
    hash: String,
    seed: String,
}

impl Profiles {
    pub(super) fn of(all: &[Status<'_>]) -> Self {
        let profile = |status: &Status<'_>| Profile {
            dev: status.device.clone(),
            name: status.record.profile.clone(),
            hash: status.sha256.unwrap_or_default().to_owned(),
            seed: status.record.seed.to_string(),
        };
        Self(all.iter().map(profile).collect())
    }
}

impl Collector for Profiles {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Profile in force, and the SHA-256 of its text, empty where it is from flags";
        let mut family = encoder.encode_descriptor("profile", help, None, MetricType::Info)?;
        self.0
            .iter()
            .try_for_each(|profile| family.encode_info(profile))
    }
}
