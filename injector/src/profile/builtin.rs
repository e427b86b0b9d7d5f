//! The profiles that come with the program.

use super::ProfileError;
use super::nearest::by_similarity;

/// A profile that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Name to run it by; the profile has the same.
    pub name: &'static str,
    /// The YAML, with its comments.
    pub text: &'static str,
}

/// Embeds files of the `profiles` directory under their names.
macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        &[$(Builtin {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../profiles/", $name, ".yaml")),
        }),*]
    };
}

/// All built-in profiles: with a source from the mildest to the worst, then the illustrative ones.
pub const BUILTINS: &[Builtin] = embed![
    "fibre",
    "cable",
    "wifi-good",
    "transatlantic",
    "5g-nsa",
    "dsl",
    "fast-4g",
    "lte-good",
    "wifi-bursty",
    "dsl-poor",
    "starlink",
    "hspa",
    "slow-4g",
    "3g",
    "3g-regular",
    "airport-wifi",
    "geo-sat",
    "edge",
    "edge-lossy",
    "dialup",
    "gprs",
    "2g-rural",
    "offline",
    "slow",
    "lossy",
    "bursty-loss",
    "corrupting-cable",
    "duplicating",
    "shallow-queue",
    "syn-loss",
    "handover",
    "fading",
];

/// How many names an unknown name is answered with.
const SUGGESTIONS: usize = 3;

/// Returns the built-in profile of a name.
///
/// # Errors
///
/// [`ProfileError::UnknownName`], with the nearest names.
pub fn find(name: &str) -> Result<&'static Builtin, ProfileError> {
    BUILTINS
        .iter()
        .find(|builtin| builtin.name == name)
        .ok_or_else(|| {
            let mut nearest = by_similarity(name, BUILTINS.iter().map(|builtin| builtin.name));
            nearest.truncate(SUGGESTIONS);
            ProfileError::UnknownName {
                name: name.to_owned(),
                nearest,
            }
        })
}

impl Builtin {
    /// Returns where the numbers come from, as the comment at the top of the file says it.
    pub fn source(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#'));
        let lines: Vec<&str> = comment
            .map(str::trim)
            .skip_while(|line| !line.starts_with(SOURCE))
            .take_while(|line| !line.is_empty())
            .collect();
        lines.join(" ").trim_start_matches(SOURCE).trim().to_owned()
    }

    /// Returns whose numbers these are, in a word or two.
    pub fn source_name(&self) -> String {
        let source = self.source();
        let end = source.find([',', ':', '.', ';', '(']);
        source[..end.unwrap_or(source.len())].trim().to_owned()
    }
}

/// What the paragraph of a header starts with that names the source.
const SOURCE: &str = "Source:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_parses_under_its_own_name_and_names_its_source() {
        for builtin in BUILTINS {
            let profile = super::super::parse(builtin.name, builtin.text).unwrap();
            assert_eq!(profile.name, builtin.name);
            assert!(profile.description.is_some(), "{}", builtin.name);
            assert!(!builtin.source().is_empty(), "{}", builtin.name);
        }
    }

    #[test]
    fn every_file_of_the_directory_is_embedded() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../profiles");
        for entry in std::fs::read_dir(directory).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let name = file.strip_suffix(".yaml").unwrap();
            assert!(find(name).is_ok(), "{file}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        match find("lossey") {
            Err(ProfileError::UnknownName { nearest, .. }) => assert_eq!(nearest[0], "lossy"),
            other => panic!("{other:?}"),
        }
    }
}
