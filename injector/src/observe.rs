//! What a run did, for people and for programs. Reads, never changes.

pub mod audit;
pub mod format;
pub mod junit;
pub mod live;
pub mod report;
pub mod verdict;
