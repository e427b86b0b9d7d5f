//! Root queueing disciplines, which rtnetlink has no builder for.

use futures_util::StreamExt as _;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage, TcOption},
};
use rtnetlink::Handle;

/// Attributes of linux/pkt_sched.h.
const TCA_FQ_PLIMIT: u16 = 1;
const TCA_FQ_FLOW_PLIMIT: u16 = 2;
const TCA_FQ_HORIZON: u16 = 14;

/// How much fq holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FqOptions {
    /// Most packets held, in all and per flow: a delay line must not drop.
    pub limit: u32,
    /// Departure times further ahead than this are dropped, in µs.
    pub horizon_us: u32,
}

impl FqOptions {
    pub(super) fn attributes(self) -> Vec<TcOption> {
        [
            (TCA_FQ_PLIMIT, self.limit),
            // fq's default of 100 packets per flow is 12 Mbit/s at 100 ms.
            (TCA_FQ_FLOW_PLIMIT, self.limit),
            (TCA_FQ_HORIZON, self.horizon_us),
        ]
        .map(|(kind, value)| TcOption::Other(DefaultNla::new(kind, value.to_ne_bytes().to_vec())))
        .to_vec()
    }
}

/// Makes a qdisc the root of the device.
pub(super) async fn add_root(
    mut handle: Handle,
    ifindex: u32,
    kind: &str,
    options: Vec<TcOption>,
) -> Result<(), rtnetlink::Error> {
    let mut message = TcMessage::with_index(ifindex as i32);
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind(kind.into()));
    if !options.is_empty() {
        message.attributes.push(TcAttribute::Options(options));
    }
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut answers = handle.request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}
