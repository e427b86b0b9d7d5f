//! Packets per second over time, as an SVG that takes its colours from the page.

use std::fmt::Write as _;

use super::{Course, Sample};
use crate::observe::format::count;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 34.0;
/// How wide a character of a label is, about.
const CHARACTER: f64 = 7.0;

/// Something that happens to packets.
pub(super) struct Series {
    pub name: &'static str,
    of: fn(&Sample) -> u64,
}

const SERIES: [Series; 6] = [
    Series {
        name: "matched",
        of: |sample| sample.matched,
    },
    Series {
        name: "delayed",
        of: |sample| sample.delayed,
    },
    Series {
        name: "dropped",
        of: |sample| sample.dropped,
    },
    Series {
        name: "corrupted",
        of: |sample| sample.corrupted,
    },
    Series {
        name: "duplicated",
        of: |sample| sample.duplicated,
    },
    Series {
        name: "reordered",
        of: |sample| sample.reordered,
    },
];

/// What has happened at all.
pub(super) fn series(course: &Course) -> impl Iterator<Item = &'static Series> {
    let last = course.samples.last().copied().unwrap_or_default();
    SERIES.iter().filter(move |series| (series.of)(&last) > 0)
}

/// A stretch of time with a number of packets per second.
struct Step {
    from_ms: u64,
    to_ms: u64,
    rate: f64,
}

fn steps(course: &Course, series: &Series) -> Vec<Step> {
    let step = |pair: &[Sample]| {
        let [from, to] = [pair[0], pair[1]];
        let millis = to.at_ms.saturating_sub(from.at_ms);
        let more = (series.of)(&to).saturating_sub((series.of)(&from));
        (millis > 0).then(|| Step {
            from_ms: from.at_ms,
            to_ms: to.at_ms,
            rate: more as f64 * 1000.0 / millis as f64,
        })
    };
    course.samples.windows(2).filter_map(step).collect()
}

/// From time and rate to a place in the picture.
struct Scale {
    end_ms: f64,
    top: f64,
}

impl Scale {
    fn x(&self, at_ms: u64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * at_ms as f64 / self.end_ms
    }

    fn y(&self, rate: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate / self.top
    }
}

/// Draws it.
pub(super) fn svg(course: &Course, elapsed_ms: u64) -> String {
    let drawn: Vec<_> = series(course)
        .map(|series| (series, steps(course, series)))
        .collect();
    let highest = drawn.iter().flat_map(|(_, steps)| steps);
    let highest = highest.map(|step| step.rate).fold(1.0, f64::max);
    let tick = round(highest / 4.0);
    let scale = Scale {
        end_ms: elapsed_ms.max(1) as f64,
        top: tick * (highest / tick).ceil(),
    };
    let names: Vec<_> = drawn.iter().map(|(series, _)| series.name).collect();
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"chart-title chart-text\">\n\
         <title id=\"chart-title\">Packets per second over time</title>\n\
         <desc id=\"chart-text\">Lines for {} packets; the highest is {} per second. The numbers are in the \
         tables.</desc>\n",
        names.join(", "),
        count(highest.round() as u64),
    );
    bands(&mut out, course, &scale, elapsed_ms);
    grid(&mut out, &scale, tick, elapsed_ms);
    for (series, steps) in &drawn {
        line(&mut out, series, steps, &scale);
    }
    out + "</svg>\n"
}

/// The phases, of which every second one is shaded.
fn bands(out: &mut String, course: &Course, scale: &Scale, elapsed_ms: u64) {
    let ends = course.phases.iter().skip(1).map(|next| next.at_ms);
    let ends = ends.chain([elapsed_ms]);
    for (n, (phase, end_ms)) in course.phases.iter().zip(ends).enumerate() {
        let (x, width) = (scale.x(phase.at_ms), scale.x(end_ms) - scale.x(phase.at_ms));
        let shade = if n % 2 == 0 { "even" } else { "odd" };
        let _ = writeln!(
            out,
            "<g><title>{}, repetition {}</title><rect class=\"band {shade}\" x=\"{x:.1}\" y=\"{TOP}\" \
             width=\"{width:.1}\" height=\"{}\"/>",
            phase.phase,
            phase.repetition,
            HEIGHT - TOP - BOTTOM,
        );
        if phase.phase.len() as f64 * CHARACTER < width {
            let (x, y) = (x + width / 2.0, TOP - 8.0);
            let name = &phase.phase;
            let _ = writeln!(
                out,
                "<text class=\"phase\" x=\"{x:.1}\" y=\"{y}\">{name}</text>"
            );
        }
        *out += "</g>\n";
    }
}

/// Lines of equal rate, and marks of time.
fn grid(out: &mut String, scale: &Scale, tick: f64, elapsed_ms: u64) {
    let mut rate = 0.0;
    while rate <= scale.top * 1.001 {
        let (y, right) = (scale.y(rate), WIDTH - RIGHT);
        let text = if tick < 1.0 {
            format!("{rate:.1}")
        } else {
            count(rate.round() as u64)
        };
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
             <text class=\"rate\" x=\"{}\" y=\"{:.1}\">{text}</text>",
            LEFT - 8.0,
            y + 4.0
        );
        rate += tick;
    }
    let step_ms = round(elapsed_ms as f64 / 8.0).max(1.0) as u64;
    for at_ms in (0..=elapsed_ms).step_by(step_ms as usize) {
        let (x, y) = (scale.x(at_ms), HEIGHT - BOTTOM + 18.0);
        let seconds = at_ms as f64 / 1000.0;
        let _ = writeln!(
            out,
            "<text class=\"time\" x=\"{x:.1}\" y=\"{y}\">{seconds} s</text>"
        );
    }
}

fn line(out: &mut String, series: &Series, steps: &[Step], scale: &Scale) {
    let mut points = String::new();
    for step in steps {
        let (from, to, y) = (
            scale.x(step.from_ms),
            scale.x(step.to_ms),
            scale.y(step.rate),
        );
        let _ = write!(points, "{from:.1},{y:.1} {to:.1},{y:.1} ");
    }
    let _ = writeln!(
        out,
        "<polyline class=\"line {}\" points=\"{}\"/>",
        series.name,
        points.trim_end()
    );
}

/// The next number above that reads well: 1, 2 or 5 times a power of ten.
fn round(number: f64) -> f64 {
    let power = 10f64.powf(number.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter();
    let mut fitting = factor.filter(|factor| factor * power >= number * 0.999);
    fitting.next().unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_read_well() {
        for (number, rounded) in [
            (0.3, 0.5),
            (1.0, 1.0),
            (1.2, 2.0),
            (37.0, 50.0),
            (1250.0, 2000.0),
        ] {
            assert!((round(number) - rounded).abs() < 1e-9, "{number}");
        }
    }

    #[test]
    fn rates_are_those_between_samples() {
        let sample = |at_ms, matched| Sample {
            at_ms,
            matched,
            ..Sample::default()
        };
        let course = Course {
            samples: vec![
                sample(0, 0),
                sample(1000, 100),
                sample(3000, 100),
                sample(3000, 100),
            ],
            ..Course::default()
        };
        let rates: Vec<_> = steps(&course, &SERIES[0])
            .iter()
            .map(|step| step.rate)
            .collect();
        assert_eq!(rates, [100.0, 0.0]);
        assert_eq!(series(&course).count(), 1);
    }
}
