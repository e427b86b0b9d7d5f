//! What keys of a mapping have to do with each other, as far as that is seen without arithmetic and files.

use serde_json::{Map, Value, json};

/// Returns more keywords for the mapping that a type reads.
pub(super) fn of(name: &str) -> Option<Map<String, Value>> {
    let constraints = match name {
        "RawProfile" => profile(),
        "RawPhase" => json!({
            "allOf": [above_0("for")],
            "anyOf": [require("rules"), require("partition")],
            "not": { "properties": { "ramp": { "const": true } }, "required": ["ramp", "partition"] },
        }),
        "RawTarget" => json!({ "not": { "required": ["netns", "container"] } }),
        "RawRule" => rule(),
        "RawMatch" => matching(),
        "RawDrop" => drop(),
        "RawCorrupt" => corrupt(),
        "RawDuplicate" | "RawReorder" => chance(),
        "RawSlot" => slot(),
        _ => return None,
    };
    constraints.as_object().cloned()
}

fn require(key: &str) -> Value {
    json!({ "required": [key] })
}

fn above_0(key: &str) -> Value {
    json!({ "properties": { key: { "not": { "pattern": r"^[0.]+[^0-9.]+$" } } } })
}

fn profile() -> Value {
    json!({
        "oneOf": [
            { "anyOf": [require("rules"), require("partition")] },
            require("phases"),
        ],
        "dependencies": { "repeat": ["phases"], "partition": ["targets"] },
        "not": { "required": ["interfaces", "targets"] },
    })
}

/// Only a recording gives what is then missing.
fn rule() -> Value {
    let long_form = |then: Value| json!({ "if": { "type": "object" }, "then": then });
    let or_jitter = |key: &str, as_if_absent: Value| {
        let absent = json!({ "properties": { key: { "const": as_if_absent } } });
        json!({ "anyOf": [require("jitter"), absent] })
    };
    let delay = json!({
        "required": ["time"],
        "dependencies": {
            "distribution": or_jitter("distribution", "uniform".into()),
            "keep_order": or_jitter("keep_order", false.into()),
        },
    });
    let keeps_order = json!({
        "type": "object",
        "properties": { "keep_order": { "const": true } },
        "required": ["keep_order"],
    });
    json!({
        "dependencies": { "reorder": { "anyOf": [require("delay"), require("replay")] } },
        "if": { "not": require("replay") },
        "then": {
            "properties": { "delay": long_form(delay), "rate": long_form(require("bandwidth")) },
        },
        "not": { "properties": { "delay": keeps_order }, "required": ["delay", "reorder"] },
    })
}

fn matching() -> Value {
    let has_ports = json!({
        "anyOf": [
            { "enum": ["tcp", "udp", "sctp", 6, 17, 132] },
            { "type": "string", "pattern": "^0*(6|17|132)$" },
        ],
    });
    let can_be = |names: Value| json!({ "anyOf": [{ "enum": names }, { "pattern": "^[0-9]+$" }, { "type": "integer" }] });
    let with = |protocol: Value| json!({ "properties": { "protocol": protocol } });
    let is_ip = json!({ "not": { "const": "arp" } });
    let mut matching = json!({
        "dependencies": {
            "src_port": with(has_ports.clone()),
            "dst_port": with(has_ports),
            "tcp_flags": with(can_be(json!(["tcp", "ip", "ipv6"]))),
            "icmp_type": with(can_be(json!(["icmp", "icmpv6", "ip", "ipv6"]))),
        },
    });
    for key in OF_IP {
        matching["dependencies"][key] = with(is_ip.clone());
    }
    matching
}

/// Conditions of which no ARP packet meets any.
const OF_IP: [&str; 9] = [
    "src",
    "dst",
    "ttl",
    "dscp",
    "ecn",
    "fragment",
    "length",
    "connection",
    "flows",
];

const CHANCES: [&str; 4] = ["probability", "every", "first", "packets"];

/// Exactly one key says which packets are hit.
fn chance() -> Value {
    json!({
        "oneOf": CHANCES.map(require),
        "dependencies": { "correlation": ["probability"] },
    })
}

/// Nothing makes the checksum of a header fit.
fn corrupt() -> Value {
    let mut corrupt = chance();
    corrupt["not"] = json!({
        "properties": { "checksum": { "const": "valid" }, "where": { "enum": ["header", "any"] } },
        "required": ["checksum", "where"],
    });
    corrupt
}

/// Exactly one key says which packets are hit, or a model does, with keys of its own.
fn drop() -> Value {
    let of = |model: &str, key: &str, others: &[&str]| {
        let strays = CHANCES.iter().chain(others).map(|key| require(key));
        let strays: Vec<_> = strays.collect();
        json!({
            "properties": { "model": { "const": model } },
            "required": ["model", key],
            "not": { "anyOf": strays },
        })
    };
    let gemodel = ["p", "r", "one_minus_h", "one_minus_k"];
    let state = ["p13", "p31", "p32", "p23", "p14"];
    let of_models = gemodel.iter().chain(&state);
    let mut dependencies: Map<_, _> = of_models
        .map(|key| ((*key).to_owned(), json!(["model"])))
        .collect();
    dependencies.insert("correlation".into(), json!(["probability"]));
    let by_chance = json!({ "oneOf": CHANCES.map(require), "not": require("model") });
    json!({
        "oneOf": [by_chance, of("gemodel", "p", &state), of("state", "p13", &gemodel)],
        "dependencies": dependencies,
    })
}

fn slot() -> Value {
    json!({
        "anyOf": [require("packets"), require("bytes")],
        "allOf": [above_0("min"), above_0("bytes")],
    })
}
