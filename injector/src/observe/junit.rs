//! Results as JUnit XML, as CI systems read them.

use std::{fs, io, path::Path, time::Duration};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// Something that was tested.
#[derive(Clone, Debug)]
pub struct Case {
    /// What.
    pub name: String,
    /// How long it took.
    pub time: Duration,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
}

/// Things that were tested together.
#[derive(Clone, Debug)]
pub struct Suite {
    /// What they have in common.
    pub name: String,
    /// How long they took.
    pub time: Duration,
    /// What was tested.
    pub cases: Vec<Case>,
}

/// Writes the results to a file.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write(path: &Path, suites: &[Suite]) -> io::Result<()> {
    fs::write(path, xml(suites)?)
}

/// The results as XML.
///
/// # Errors
///
/// None that is known of: nothing is written to.
pub fn xml(suites: &[Suite]) -> io::Result<String> {
    let mut report = Report::new("injector");
    report.set_time(suites.iter().map(|suite| suite.time).sum());
    report.add_test_suites(suites.iter().map(test_suite));
    report.to_string().map_err(io::Error::other)
}

fn test_suite(suite: &Suite) -> TestSuite {
    let mut test_suite = TestSuite::new(suite.name.as_str());
    test_suite.set_time(suite.time);
    test_suite.add_test_cases(suite.cases.iter().map(|case| test_case(suite, case)));
    test_suite
}

fn test_case(suite: &Suite, case: &Case) -> TestCase {
    let status = match &case.failure {
        None => TestCaseStatus::success(),
        Some(failure) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(failure.as_str());
            status
        }
    };
    let mut test_case = TestCase::new(case.name.as_str(), status);
    test_case.set_classname(suite.name.as_str());
    test_case.set_time(case.time);
    test_case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_being_xml() {
        let case = |name: &str, failure: Option<&str>| Case {
            name: name.into(),
            time: Duration::from_millis(1500),
            failure: failure.map(str::to_owned),
        };
        let suites = [Suite {
            name: "flaky".into(),
            time: Duration::from_secs(3),
            cases: vec![
                case("db.drop=1%±0.3%", None),
                case("db.matched<5 & \"more\"", Some("achieved <7>")),
            ],
        }];
        let xml = xml(&suites).unwrap();
        let report = Report::deserialize_from_str(&xml).unwrap();
        let suite = &report.test_suites[0];
        assert_eq!(
            (suite.name.as_str(), suite.tests, suite.failures),
            ("flaky", 2, 1)
        );
        assert_eq!(suite.time, Some(Duration::from_secs(3)));
        let [passed, failed] = &suite.test_cases[..] else {
            panic!("{xml}")
        };
        assert_eq!(passed.name.as_str(), "db.drop=1%±0.3%");
        assert!(matches!(passed.status, TestCaseStatus::Success { .. }));
        assert_eq!(failed.name.as_str(), "db.matched<5 & \"more\"");
        let TestCaseStatus::NonSuccess { message, .. } = &failed.status else {
            panic!("{xml}")
        };
        assert_eq!(message.as_ref().unwrap().as_str(), "achieved <7>");
    }
}
