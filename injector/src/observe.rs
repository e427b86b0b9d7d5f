//! What a run did, for people and for programs. Reads, never changes.

pub mod audit;
pub mod confidence;
pub mod dashboard;
pub mod document;
pub mod format;
pub mod histogram;
pub mod junit;
pub mod live;
pub mod metrics;
pub mod overview;
pub mod pcapng;
pub mod rates;
pub mod report;
pub mod trace;
pub mod verdict;
pub mod watched;
