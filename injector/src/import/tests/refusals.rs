//! What cannot be read is refused, with the word.

use super::imported;

/// Line, column, and what is wrong.
fn refusal(text: &str) -> (Option<usize>, Option<usize>, String) {
    let report = imported(text, None).unwrap_err().report();
    assert!(
        report.expected.is_some() || report.hint.is_some(),
        "{}: nothing expected",
        report.message
    );
    (report.line, report.column, report.message)
}

fn at(line: usize, column: usize, message: &str) -> (Option<usize>, Option<usize>, String) {
    (Some(line), Some(column), message.to_owned())
}

#[test]
fn what_is_wrong_is_shown_with_its_place() {
    for (text, expected) in [
        (
            "tc qdisc add dev eth0 root netem delya 1ms",
            at(1, 34, "`delya` is not an option of netem"),
        ),
        (
            "\ntc qdisc add dev eth0 root netem loss 101%",
            at(2, 39, "`101%` is not between 0 and 100 %"),
        ),
        (
            "tc qdisc add dev eth0 root netem delay",
            at(1, 34, "nothing behind `delay`"),
        ),
        (
            "tc qdisc add dev eth0 root netem rate 1mb/s",
            at(1, 39, "`1mb/s` is not a rate"),
        ),
        (
            "tc qdisc add dev eth0 root netem loss 1% loss 2%",
            at(1, 42, "a second loss"),
        ),
        (
            "tc qdisc add dev eth0 root netem slot 2ms 1ms",
            at(1, 43, "`1ms` is below the shortest time"),
        ),
        (
            "tc qdisc show dev eth0",
            at(1, 10, "`show` is not what makes a netem"),
        ),
        (
            "tc qdisc add dev a root netem loss 1%\ntc qdisc add dev b root netem loss 1%",
            at(
                2,
                25,
                "a second netem, and a profile is about one interface",
            ),
        ),
        (
            "pumba kill db",
            at(1, 7, "`kill` is nothing that happens to packets"),
        ),
        (
            "pumba netem --durtion 5m delay",
            at(1, 13, "`--durtion` is not a flag here"),
        ),
        (
            "pumba netem -d 5x delay db",
            at(1, 16, "`5x` is not a duration"),
        ),
        (
            "comcast --latency=fast",
            at(1, 19, "`fast` is not a whole number"),
        ),
        (
            "comcast --stop",
            at(1, 9, "this ends faults, and makes none"),
        ),
        (
            "mm-loss sideways 0.1 bash",
            at(1, 9, "`sideways` is not a way"),
        ),
        (
            "kind: NetworkChaos\napiVersion: chaos-mesh.org/v1alpha1\nspec:\n  action: dealy\n",
            at(4, 11, "`dealy` is no action"),
        ),
        (
            r#"[{"listen": ":1", "upstream": ":2", "toxics": [{"type": "lag", "attributes": {}}]}]"#,
            at(1, 57, "`lag` is no toxic"),
        ),
        (
            "name: x\nproxies: [{name: a, protocol: icmp, listen: a, upstream: b}]\nphases: []\n",
            at(2, 31, "`icmp` is no transport"),
        ),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn what_is_of_no_tool_is_refused() {
    for text in ["", "hello", "a: 1", "1\n2\n3\n", "[]"] {
        assert_eq!(refusal(text).2, "no form of any known tool", "{text}");
    }
    let report = imported("tc qdisc add dev eth0 root tbf rate 1mbit", None)
        .unwrap_err()
        .report();
    assert_eq!(report.message, "there is no netem in it");
}
