//! Requests over rtnetlink that only probes make.

use std::{future::Future, io};

use rtnetlink::Handle;
use tokio::runtime::Runtime;

use crate::datapath::{Error, Result};

/// An open netlink socket, of the namespace of the thread that opened it.
pub(super) struct Rtnl {
    runtime: Runtime,
    /// What requests are made with.
    pub handle: Handle,
}

impl Rtnl {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let refused = |source: io::Error| Error::refused("open a netlink socket", source);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(refused)?;
        let (connection, handle, _) = {
            let _guard = runtime.enter();
            rtnetlink::new_connection().map_err(refused)?
        };
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// Waits for the answer to `request`; `action` says what was attempted.
    pub fn wait<T>(
        &self,
        action: &str,
        request: impl Future<Output = std::result::Result<T, rtnetlink::Error>>,
    ) -> Result<T> {
        self.runtime.block_on(request).map_err(|error| {
            let source = match &error {
                rtnetlink::Error::NetlinkError(message) => message.to_io(),
                other => io::Error::other(other.to_string()),
            };
            Error::refused(action, source)
        })
    }
}
