//! The JSON Schema of a profile agrees with the parser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use injector::profile;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

const SCHEMA: &str = "../docs/profile.schema.json";

fn validator() -> Validator {
    let schema = fs::read_to_string(SCHEMA).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap()
}

/// What an editor sees of a profile; `None` where it is not YAML.
fn value(text: &str) -> Option<Value> {
    serde_yaml::from_str(text).ok()
}

fn assert_valid(validator: &Validator, name: &str, text: &str) {
    let value = value(text).unwrap();
    let errors = validator.iter_errors(&value);
    let errors: Vec<_> = errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:?}\n{text}");
}

fn yaml_files(directory: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The parts of a page that are YAML and a whole profile, and not a scenario.
fn profiles_in(page: &str) -> Vec<String> {
    let parts = page.split("```yaml\n").skip(1);
    let texts = parts.filter_map(|part| part.split("```").next());
    let has = |text: &str, key| text.lines().any(|line| line.starts_with(key));
    let is_whole = |text: &&str| has(text, "name: ") && !has(text, "hosts: ");
    // What stands for something else is written in capitals.
    let is_template = |text: &&str| text.contains("NAME");
    texts
        .filter(is_whole)
        .filter(|text| !is_template(text))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_command_prints_the_schema() {
    let output = Command::new(env!("CARGO_BIN_EXE_injector"))
        .arg("schema")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        fs::read_to_string(SCHEMA).unwrap()
    );
}

#[test]
fn every_profile_of_ours_is_valid() {
    let validator = validator();
    let files = [yaml_files("../profiles"), yaml_files("../docs")].map(Result::unwrap);
    assert!(files.iter().all(|files| !files.is_empty()));
    for path in files.concat() {
        let text = fs::read_to_string(&path).unwrap();
        assert_valid(&validator, &path.display().to_string(), &text);
    }
    let pages = ["../README.md", "../docs/getting-started.md"];
    for page in pages.into_iter().filter(|page| Path::new(page).exists()) {
        let texts = profiles_in(&fs::read_to_string(page).unwrap());
        assert!(!texts.is_empty(), "{page}");
        for text in texts {
            profile::parse(page, &text).unwrap_or_else(|error| panic!("{error}"));
            assert_valid(&validator, page, &text);
        }
    }
}

/// Bad profiles that are valid by the schema: what no JSON Schema can know, such as files, sums, names that
/// repeat and what a number was typed like, and a few things that would take it too much to say.
const BEYOND: &[&str] = &[
    "address_with_host_bits",
    "addresses_of_two_families",
    "chance_correlation_full",
    "chance_packets_backward",
    "delay_correlation_full",
    "delay_correlation_without_jitter",
    "delay_keep_order_without_jitter",
    "delay_table_empty",
    "delay_table_is_a_device",
    "delay_table_missing",
    "delay_table_with_a_fraction",
    "expect_of_no_phase",
    "expect_of_no_quantity",
    "expect_of_no_rule",
    "expect_without_percent",
    "far_down_in_a_long_file",
    "jitter_exceeds_delay",
    "key_twice",
    "match_flows_of_nobody",
    "match_nested_too_deep",
    "match_not_without_conditions",
    "match_ports_of_later_fragments",
    "name_of_phase_is_taken_by_default",
    "name_of_rule_is_taken_by_default",
    "names_of_phases_repeat",
    "names_of_rules_in_a_phase_repeat",
    "names_of_rules_repeat",
    "partition_beside_a_rule_of_its_name",
    "partition_of_one_group",
    "partition_with_target_twice",
    "partition_with_unknown_target",
    "phase_rule_with_jitter_above_delay",
    "port_range_backward",
    "probability_bare_one",
    "probability_overflowing",
    "probability_too_small",
    "protocol_ip_with_ipv6_address",
    "protocol_ipv6_with_ipv4_address",
    "ramp_from_nowhere",
    "ramp_of_a_correlation",
    "ramp_of_a_distribution",
    "ramp_of_a_gap",
    "ramp_of_a_model",
    "ramp_of_a_model_from_nothing",
    "ramp_of_a_queue",
    "ramp_of_a_rate_to_none",
    "ramp_of_a_recording",
    "ramp_of_bits",
    "ramp_of_copies",
    "ramp_of_other_packets",
    "ramp_of_slots",
    "ramp_of_the_first_phase_without_counterpart",
    "rate_too_fine",
    "rate_too_large",
    "replay_and_bandwidth",
    "replay_and_delay",
    "replay_and_drop",
    "replay_and_jitter",
    "replay_column_misspelt",
    "replay_empty",
    "replay_is_a_directory",
    "replay_missing",
    "replay_of_a_moment_again",
    "replay_of_a_trace_between",
    "replay_of_a_trace_once",
    "replay_of_a_trace_with_rate",
    "replay_out_of_order",
    "replay_value_without_unit",
    "replay_with_jitter_above_delay",
    "slot_backward",
    "state_leaves_1_too_often",
    "state_leaves_3_too_often",
    "state_leaves_3_too_often_by_default",
    "targets_twice",
];

#[test]
fn bad_profiles_are_refused_as_far_as_a_schema_can_know() {
    let validator = validator();
    let corpus = yaml_files("tests/profile_errors").unwrap();
    let is_valid = |path: &&PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        value(&text).is_some_and(|value| validator.is_valid(&value))
    };
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let valid: BTreeSet<String> = corpus.iter().filter(is_valid).map(name).collect();
    let beyond: BTreeSet<String> = BEYOND.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(valid, beyond);
    assert!(valid.len() * 2 < corpus.len());
}

/// Keys of a rule, with what a value of theirs may look like.
fn value_of_a_rule() -> impl Strategy<Value = (&'static str, String)> {
    let number = "[-+]?[0-9]{0,3}(\\.[0-9]{0,3})?(e-?[0-9])?";
    let unit =
        "( ?(%|[nmuµ]?s|[mhdwyM]|min|hours?|[kmg]?bit|[kMG]?B(/s)?|[KMG]iB|packets?|[a-z]{1,3}))?";
    let quantity = || (number, unit).prop_map(|(number, unit)| number + &unit);
    let key = prop::sample::select(vec![
        "drop: ",
        "delay: ",
        "rate: ",
        "duplicate: {probability: 1%, copies: ",
        "reorder: {gap: 2, probability: ",
        "corrupt: {probability: 1%, bits: ",
        "drop: {packets: ",
        "drop: {every: ",
        "rate: {bandwidth: 1mbit, queue: ",
        "rate: {bandwidth: 1mbit, burst: ",
        "rate: {bandwidth: 1mbit, overhead: ",
        "match: {protocol: ",
        "match: {src: ",
        "match: {dst_port: ",
    ]);
    let text = prop_oneof![
        4 => quantity(),
        1 => quantity().prop_map(|text| format!("'{text}'")),
        1 => "[0-9]{1,5}-[0-9]{1,5}",
        1 => "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?",
        1 => "'[0-9a-f]{0,4}(:[0-9a-f]{0,4}){1,7}(/[0-9]{1,3})?'",
        1 => "[a-z]{1,6}",
    ];
    (key, text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn what_the_parser_takes_the_schema_takes((key, text) in value_of_a_rule()) {
        thread_local!(static VALIDATOR: Validator = validator());
        let end = if key.contains('{') { "}" } else { "" };
        let profile = format!("name: x\nrules: [{{delay: 1ms, {key}{text}{end}}}]");
        let profile = if key == "delay: " { profile.replacen("delay: 1ms, ", "", 1) } else { profile };
        if profile::parse("profile.yaml", &profile).is_ok() {
            VALIDATOR.with(|validator| assert_valid(validator, "profile.yaml", &profile));
        }
    }
}
