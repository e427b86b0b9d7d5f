//! Those whose sockets send and receive packets.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::quantity::is_digits;
use super::scalar::{self, Scalar};

/// Somebody on this machine who owns sockets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Processes by their name (`comm`), the name of their executable, or its path.
    Process(String),
    /// A process and those that come of it.
    Pid(u32),
    /// A control group (version 2), by its path below the root, and those below it.
    Cgroup(String),
    /// A container, by a name or identifier that its runtime gave it.
    Container(String),
    /// A user, by name or number.
    User(String),
    /// The command that runs under the faults, and what comes of it.
    Command,
}

/// A way to name an owner, with what is to be said of it.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $parse:expr, { $($schema:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) Owner);

        impl Scalar for $name {
            const EXPECTED: &'static str = $expected;
        }

        impl FromStr for $name {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                let parse: fn(&str) -> Option<Owner> = $parse;
                let error = || UnitError::new(text, Reason::Malformed($what), $expected);
                parse(text).map(Self).ok_or_else(error)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                scalar::deserialize(deserializer)
            }
        }

        #[cfg(test)]
        scalar::schema_of!($name as stringify!($name), { $($schema)* });
    };
}

named!(
    /// `process`.
    ProcessName,
    "a process",
    "the name of a process such as nginx, or the path of its executable such as /usr/sbin/nginx",
    |text| is_printable(text).then(|| Owner::Process(text.to_owned())),
    { "type": ["string", "integer"], "minLength": 1, "examples": ["nginx", "/usr/sbin/nginx"] }
);
named!(
    /// `pid`.
    Pid,
    "a process's number",
    "the number of a process, such as 1234",
    |text| {
        let number = is_digits(text).then(|| text.parse::<i32>().ok())??;
        (number > 0).then_some(Owner::Pid(number as u32))
    },
    { "type": "integer", "minimum": 1, "maximum": i32::MAX }
);
named!(
    /// `cgroup`.
    CgroupPath,
    "a control group",
    "a control group's path below the root of version 2, such as /system.slice/nginx.service",
    |text| {
        let is_path = text.starts_with('/') && text.split('/').all(|part| part != ".." && part != ".");
        (is_path && is_printable(text)).then(|| Owner::Cgroup(text.to_owned()))
    },
    { "type": "string", "pattern": "^/", "examples": ["/system.slice/nginx.service"] }
);
named!(
    /// `container`.
    ContainerName,
    "a container",
    "the name or identifier of a container, such as web, or of a pod, such as shop/web-0",
    |text| {
        let is_name = is_printable(text) && !text.contains(' ') && !text.starts_with('/');
        is_name.then(|| Owner::Container(text.to_owned()))
    },
    { "type": ["string", "integer"], "minLength": 1, "examples": ["web", "shop/web-0"] }
);

impl ContainerName {
    /// The name alone.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Owner::Container(name) => name,
            _ => unreachable!("it was made of a name"),
        }
    }
}
named!(
    /// `user`.
    UserName,
    "a user",
    "the name or number of a user, such as www-data or 33",
    |text| {
        let is_user = is_printable(text) && !text.contains([' ', '/', ':']);
        is_user.then(|| Owner::User(text.to_owned()))
    },
    { "type": ["string", "integer"], "minLength": 1, "examples": ["www-data", 33] }
);

/// Whether it can be shown on a terminal, and there is something to show.
fn is_printable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_named_as_other_tools_name_them() {
        let process = "nginx".parse::<ProcessName>().map(|name| name.0);
        assert_eq!(process, Ok(Owner::Process("nginx".into())));
        assert_eq!("1234".parse::<Pid>().map(|pid| pid.0), Ok(Owner::Pid(1234)));
        let user = "www-data".parse::<UserName>().map(|user| user.0);
        assert_eq!(user, Ok(Owner::User("www-data".into())));
        assert!("/a.slice/b.service".parse::<CgroupPath>().is_ok());
        let pod = "shop/web-0".parse::<ContainerName>().map(|name| name.0);
        assert_eq!(pod, Ok(Owner::Container("shop/web-0".into())));
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in ["", "\u{1b}[2J", "a\n"] {
            assert!(text.parse::<ProcessName>().is_err(), "{text:?}");
            assert!(text.parse::<UserName>().is_err(), "{text:?}");
        }
        for text in ["0", "-1", "x", "", "2147483648", "1.5"] {
            assert!(text.parse::<Pid>().is_err(), "{text}");
        }
        for text in ["a", "", "/a/../b", "/."] {
            assert!(text.parse::<CgroupPath>().is_err(), "{text}");
        }
        for text in ["a b", "/a", "", "a\n"] {
            assert!(text.parse::<ContainerName>().is_err(), "{text:?}");
        }
        for text in ["a b", "a:b", "/a"] {
            assert!(text.parse::<UserName>().is_err(), "{text}");
        }
    }
}
