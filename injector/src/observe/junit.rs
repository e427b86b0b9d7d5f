//! Reports as JUnit has them, which every CI system reads.

use std::{fs::File, io, path::Path, time::Duration};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// Something that was tested.
#[derive(Clone, Debug)]
pub struct Case {
    /// What.
    pub name: String,
    /// How long it took.
    pub time: Duration,
    /// What was wrong.
    pub failure: Option<String>,
}

/// Cases that belong together.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Their name.
    pub name: String,
    /// How long they took together.
    pub time: Duration,
    /// In order.
    pub cases: Vec<Case>,
}

/// Writes the report.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write(path: &Path, suites: &[Suite]) -> io::Result<()> {
    let mut report = Report::new("injector");
    report.set_time(suites.iter().map(|suite| suite.time).sum());
    report.add_test_suites(suites.iter().map(suite));
    report
        .serialize(File::create(path)?)
        .map_err(io::Error::other)
}

fn suite(suite: &Suite) -> TestSuite {
    let mut written = TestSuite::new(suite.name.as_str());
    written.set_time(suite.time);
    written.add_test_cases(suite.cases.iter().map(|one| case(one, &suite.name)));
    written
}

fn case(case: &Case, suite: &str) -> TestCase {
    let status = match &case.failure {
        None => TestCaseStatus::success(),
        Some(failure) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(failure.lines().next().unwrap_or_default());
            status.set_description(failure.as_str());
            status
        }
    };
    let mut written = TestCase::new(case.name.as_str(), status);
    written.set_classname(suite).set_time(case.time);
    written
}
