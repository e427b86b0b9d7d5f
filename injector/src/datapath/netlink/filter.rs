//! Filters on clsact.

use futures_util::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};

use super::Netlink;
use crate::{datapath::Result, plan::Hook};

impl Netlink {
    /// What there is about filters on one side of the device's clsact qdisc.
    pub fn filters(&self, ifindex: u32, hook: Hook) -> Result<Vec<TcMessage>> {
        let mut filters = self.handle.traffic_filter(ifindex as i32);
        let request = match hook {
            Hook::Egress => filters.get().egress(),
            Hook::Ingress => filters.get().ingress(),
        };
        self.wait(
            format!("list the filters of interface {ifindex}"),
            request.execute().try_collect(),
        )
    }

    /// Whether anyone has filters on the device's clsact qdisc.
    pub fn has_filters(&self, ifindex: u32) -> Result<bool> {
        for hook in Hook::ALL {
            if !self.filters(ifindex, hook)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The kernel's numbers of the programs that are filters on one side of the device.
    pub fn filter_programs(&self, ifindex: u32, hook: Hook) -> Result<Vec<u32>> {
        let filters = self.filters(ifindex, hook)?;
        let attributes = filters.into_iter().flat_map(|filter| filter.attributes);
        let options = attributes.flat_map(|attribute| match attribute {
            TcAttribute::Options(options) => options,
            _ => Vec::new(),
        });
        let programs = options.filter_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(id),
            _ => None,
        });
        Ok(programs.collect())
    }
}
