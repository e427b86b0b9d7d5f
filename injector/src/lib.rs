//! The userspace side of injector.
//!
//! Data flows one way: [`cli`] → [`profile`] → [`plan`] → [`datapath`] → [`observe`]. Each stage
//! knows the output type of those before it, and nothing of those behind it; [`command`] alone
//! composes them. Beside that, [`import`] makes profiles of what other tools were told. The binary is a thin shell around this library.

pub mod cli;
pub mod command;
pub mod datapath;
pub mod error;
pub mod import;
pub mod lookup;
pub mod observe;
pub mod plan;
pub mod profile;
pub mod scenario;
pub mod units;
