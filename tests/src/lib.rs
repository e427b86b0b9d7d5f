//! The harness of the tests on real packets.
//!
//! A [`Lab`] is two hosts, each a network namespace of its own, joined by a cable (a veth pair).
//! An [`Injector`] is the binary at work on one host's device. Traffic is made here, not by other
//! programs, so that every packet is accounted for: numbered datagrams ([`udp`]), streams whose
//! every byte is checked ([`tcp`]), echoes ([`echo`]), raw frames ([`frames`]). [`predict`] says
//! beforehand what must happen, [`theory`] how often, [`stats`] how far chance may stray, [`residue`]
//! what a run has left behind.
//!
//! Everything is private to its test and ends with it, also when it panics: namespaces have no
//! names and die with their last handle, and an injector is killed and cleared away when dropped.
//! Mistakes in the harness's own set-up panic, for the backtrace.

pub mod background;
pub mod bpf;
pub mod clock;
pub mod container;
pub mod directory;
pub mod echo;
pub mod foreign;
pub mod frames;
pub mod groups;
pub mod injector;
pub mod kernel;
pub mod lab;
pub mod listener;
pub mod loaded;
pub mod mutants;
pub mod netns;
pub mod predict;
pub mod reign;
pub mod residue;
pub mod seed;
pub mod shell;
pub mod snmp;
pub mod socket;
pub mod ssh;
pub mod star;
pub mod stats;
pub mod tcp;
pub mod terminal;
pub mod theory;
pub mod tool;
pub mod tun;
pub mod udp;

pub use caps::Capability;

pub use self::{
    injector::Injector,
    lab::{Family, Host, Lab},
    netns::Netns,
};

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    /// Another would be compiled by nobody, and its tests would pass unseen.
    #[test]
    fn each_file_of_tests_is_a_module_of_its_executable() {
        for directory in ["tests", "../injector/tests"] {
            let directory = format!("{}/{directory}", env!("CARGO_MANIFEST_DIR"));
            let files = fs::read_dir(&directory).expect("the directory");
            let names = files.map(|file| file.expect("a file").file_name());
            let names = names.map(|name| name.into_string().expect("UTF-8"));
            let mut files: BTreeSet<_> = names.filter(|name| name.ends_with(".rs")).collect();
            assert!(files.remove("main.rs"), "{directory}");
            let main = fs::read_to_string(format!("{directory}/main.rs")).expect("main.rs");
            let modules = main
                .lines()
                .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
            let modules: BTreeSet<_> = modules.map(|module| format!("{module}.rs")).collect();
            assert_eq!(files, modules, "{directory}");
        }
    }
}
