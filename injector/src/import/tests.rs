//! Samples of each tool's form beside what becomes of them, and netem's options one against the other.

mod netem;
mod refusals;

use std::path::{Path, PathBuf};

use super::*;
use crate::{plan::Plan, profile};

/// Samples: a file, and what is chosen of it.
const SAMPLES: [(&str, Option<&str>); 12] = [
    ("netem-command.txt", None),
    ("netem-show.txt", Some("eth0")),
    ("netem-show.json", None),
    ("chaos-mesh-netem.yaml", None),
    ("chaos-mesh-several.yaml", Some("narrow")),
    ("chaos-mesh-several.yaml", Some("split")),
    ("toxiproxy.json", None),
    ("pumba-netem.txt", None),
    ("pumba-iptables.txt", None),
    ("comcast.txt", None),
    ("mahimahi.txt", None),
    ("fault.yaml", None),
];

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/samples")
}

/// Imports a text, whose files are those of the samples.
fn imported(text: &str, only: Option<&str>) -> Result<Imported, ProfileError> {
    let source = Source::of_text("sample", &samples(), text.to_owned());
    let wish = Wish {
        only,
        directory: samples(),
        ..Wish::default()
    };
    import(&source, &wish)
}

/// The profile that came of it, which a run would take.
fn profile_of(imported: &Imported) -> profile::Profile {
    let profile = Source::of_text("made", &samples(), imported.text.clone())
        .parse()
        .unwrap();
    Plan::all(&profile, 0).unwrap();
    profile
}

/// `BLESS=1` writes the profiles anew.
#[test]
fn samples_become_the_profiles_beside_them() {
    for (sample, only) in SAMPLES {
        let text = std::fs::read_to_string(samples().join(sample)).unwrap();
        // As they are in the directory of the samples.
        let text = text.replace(" up.trace down.trace", &traces());
        let imported = imported(&text, only).unwrap();
        profile_of(&imported);
        let expected = samples().join(format!(
            "{}.profile.yaml",
            only.map_or(sample.to_owned(), |only| format!("{sample}.{only}"))
        ));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &imported.text).unwrap();
        }
        assert_eq!(
            imported.text,
            std::fs::read_to_string(&expected).unwrap(),
            "{sample}"
        );
    }
}

fn traces() -> String {
    let trace = |name: &str| samples().join(name).display().to_string();
    format!(" {} {}", trace("up.trace"), trace("down.trace"))
}

#[test]
fn two_traces_are_a_link() {
    let [up, down] = ["up.trace", "down.trace"].map(|name| samples().join(name));
    let wish = Wish {
        directory: samples(),
        name: Some("my link"),
        ..Wish::default()
    };
    let imported = import_traces([&up, &down], &wish).unwrap();
    let profile = profile_of(&imported);
    assert_eq!(profile.name, "my-link");
    let rules = profile.rules().next().unwrap();
    let shown = rules
        .iter()
        .map(|rule| (rule.direction, rule.replay.is_some()));
    let expected = [
        (profile::Direction::Egress, true),
        (profile::Direction::Ingress, true),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    // From elsewhere they are named by their own paths.
    let elsewhere = import_traces(
        [&up, &down],
        &Wish {
            directory: "/".into(),
            ..wish
        },
    )
    .unwrap();
    let named = samples().canonicalize().unwrap().join("up.trace");
    let named = named.strip_prefix("/").unwrap().display().to_string();
    assert!(
        elsewhere.text.contains(&format!("replay: {named}\n")),
        "{}",
        elsewhere.text
    );
}

/// Whatever a stranger writes, the comments stay comments.
#[test]
fn notes_cannot_break_out_of_comments() {
    let text = "tc qdisc add dev eth0 root netem delay 1ms\ntc class add dev 'x\nrules: [{drop: 100%}]\u{2028}\u{85}#' y";
    let imported = imported(text, None).unwrap();
    let profile = profile_of(&imported);
    assert!(profile.rules().next().unwrap()[0].drop.is_none());
    assert!(
        imported
            .text
            .contains(r"x\nrules: [{drop: 100%}]\u{2028}\u{85}#"),
        "{}",
        imported.text
    );
}
