//! The report's main figures as an SVG.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Report, Row, Summary, digits};
use crate::{cost, record::Table};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const WIDTH: i32 = 1080;
const COLUMNS: i32 = 2;
const LEGEND_HEIGHT: i32 = 34;
const PANEL_WIDTH: i32 = WIDTH / COLUMNS;
/// Above the bars, and below them.
const TITLE_HEIGHT: i32 = 30;
const FOOT: i32 = 14;
const BAR_HEIGHT: i32 = 13;
/// Between rows.
const GAP: i32 = 9;
/// Left of the bars, for the names of rows, and right of them, for values.
const LABEL_WIDTH: i32 = 170;
const VALUE_WIDTH: i32 = 60;
const CURVES_HEIGHT: i32 = 330;

/// Contestants and their colours (Okabe and Ito's, which the colour-blind can tell apart).
const COLOURS: [(&str, RGBColor); 6] = [
    ("bare", RGBColor(153, 153, 153)),
    ("gso_max_segs 1", RGBColor(204, 121, 167)),
    ("netem", RGBColor(230, 159, 0)),
    ("netem + gso_max_segs 1", RGBColor(240, 228, 66)),
    ("fault-cli", RGBColor(0, 158, 115)),
    ("injector", RGBColor(0, 114, 178)),
];

/// Part of the figure.
enum Panel<'a> {
    /// A bar for each contestant of each row, under a name.
    Bars(String, Vec<(&'a str, &'a Row)>),
    /// The cost of a packet by the number of rules.
    Curves(Vec<Curve>),
}

/// A name, and points.
type Curve = (String, Vec<(f64, f64)>);

/// Draws it.
pub fn render(report: &Report) -> Result<String, String> {
    let panels = panels(report);
    let heights: Vec<i32> = panels
        .chunks(COLUMNS as usize)
        .map(|line| line.iter().map(Panel::height).max().unwrap_or(0))
        .collect();
    let height = LEGEND_HEIGHT + heights.iter().sum::<i32>();
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
    draw(&root, &panels, &heights).map_err(|error| error.to_string())?;
    drop(root);
    Ok(svg)
}

fn draw(root: &Area<'_>, panels: &[Panel<'_>], heights: &[i32]) -> Drawn {
    root.fill(&WHITE)?;
    legend(root)?;
    let mut top = LEGEND_HEIGHT;
    for (line, height) in panels.chunks(COLUMNS as usize).zip(heights) {
        for (panel, column) in line.iter().zip(0..) {
            let left = column * PANEL_WIDTH;
            let size = (PANEL_WIDTH as u32, *height as u32);
            panel.draw(&root.clone().shrink((left, top), size))?;
        }
        top += height;
    }
    root.present()?;
    Ok(())
}

/// Throughput everywhere, the proxy, and what rules cost where that was measured.
fn panels(report: &Report) -> Vec<Panel<'_>> {
    // A row without ours compares nothing.
    let compared = report
        .rows
        .iter()
        .filter(|row| row.median("injector").is_some());
    let rows = |table: Table| compared.clone().filter(move |row| row.table == table);
    let throughput = report.machines.iter().map(|machine| {
        let rows = rows(Table::Throughput).filter(|row| row.place == machine.place);
        let title = format!("{}: TCP throughput, Gbit/s", machine.place);
        Panel::Bars(title, rows.map(|row| (&*row.row, row)).collect())
    });
    let mut panels: Vec<Panel<'_>> = throughput.collect();
    // Beside the first, which has fewer rows where there is no netem.
    panels.insert(panels.len().min(1), Panel::Curves(curves(report)));
    let proxy = rows(Table::Proxy).filter(|row| row.row == "throughput");
    let title = "1 ms beside a proxy: TCP throughput, Gbit/s".into();
    let proxy = proxy.map(|row| (&*row.place, row));
    panels.push(Panel::Bars(title, proxy.collect()));
    panels.retain(|panel| !panel.is_empty());
    panels
}

fn curves(report: &Report) -> Vec<Curve> {
    let machines = report.machines.iter();
    let curves = machines.filter_map(|machine| {
        let row = |count| {
            report.row(
                &machine.place,
                Table::Cost,
                &cost::row_name("no match", count),
            )
        };
        let point = |count: &usize| {
            let row = row(*count)?;
            let cost = row.median("injector")? - row.median("empty program")?;
            Some((*count as f64, cost))
        };
        let name = format!("{}: {}", machine.place, row(cost::RULES[0])?.unit);
        Some((name, cost::RULES.iter().filter_map(point).collect()))
    });
    curves.collect()
}

fn legend(root: &Area<'_>) -> Drawn {
    let mut left = 12;
    for (name, colour) in COLOURS {
        root.draw(&Rectangle::new(
            [(left, 12), (left + 12, 24)],
            colour.filled(),
        ))?;
        root.draw_text(name, &text(12, HPos::Left, VPos::Center), (left + 18, 18))?;
        left += 44 + 7 * name.len() as i32;
    }
    Ok(())
}

fn text(size: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size)).pos(Pos::new(horizontal, vertical))
}

fn colour(contestant: &str) -> RGBColor {
    let known = COLOURS.iter().find(|(name, _)| *name == contestant);
    known.map_or(BLACK, |(_, colour)| *colour)
}

impl Panel<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Bars(_, rows) => rows.is_empty(),
            Self::Curves(curves) => curves.is_empty(),
        }
    }

    fn height(&self) -> i32 {
        match self {
            Self::Bars(_, rows) => {
                let rows = rows.iter().map(|(_, row)| row_height(row) + GAP);
                TITLE_HEIGHT + rows.sum::<i32>() + FOOT
            }
            Self::Curves(_) => CURVES_HEIGHT,
        }
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        match self {
            Self::Bars(title, rows) => bars(area, title, rows),
            Self::Curves(curves) => lines(area, curves),
        }
    }
}

fn row_height(row: &Row) -> i32 {
    BAR_HEIGHT * row.results.len() as i32
}

fn bars(area: &Area<'_>, title: &str, rows: &[(&str, &Row)]) -> Drawn {
    area.draw_text(
        title,
        &text(15, HPos::Left, VPos::Center),
        (12, TITLE_HEIGHT / 2),
    )?;
    let results = rows.iter().flat_map(|(_, row)| &row.results);
    let most = results
        .map(|result| result.max)
        .fold(f64::MIN_POSITIVE, f64::max);
    let scale = f64::from(PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH) / most;
    let mut top = TITLE_HEIGHT;
    for (name, row) in rows {
        let middle = top + row_height(row) / 2;
        let style = text(12, HPos::Right, VPos::Center);
        area.draw_text(name, &style, (LABEL_WIDTH - 8, middle))?;
        for result in &row.results {
            bar(area, result, top, scale)?;
            top += BAR_HEIGHT;
        }
        top += GAP;
    }
    Ok(())
}

/// To the median, with a line from the smallest value to the largest.
fn bar(area: &Area<'_>, result: &Summary, top: i32, scale: f64) -> Drawn {
    let x = |value: f64| LABEL_WIDTH + (value * scale) as i32;
    let corners = [(LABEL_WIDTH, top), (x(result.median), top + BAR_HEIGHT - 1)];
    let colour = colour(&result.contestant);
    area.draw(&Rectangle::new(corners, colour.filled()))?;
    let middle = top + BAR_HEIGHT / 2;
    let spread = vec![(x(result.min), middle), (x(result.max), middle)];
    area.draw(&PathElement::new(spread, BLACK.mix(0.6)))?;
    let style = text(11, HPos::Left, VPos::Center);
    area.draw_text(&digits(result.median), &style, (x(result.max) + 5, middle))?;
    Ok(())
}

/// Both axes are logarithmic: a straight line is a cost in proportion to the rules.
fn lines(area: &Area<'_>, curves: &[Curve]) -> Drawn {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let most = points().map(|point| point.1).fold(10.0, f64::max) * 1.5;
    let rules = cost::RULES[0] as f64..cost::RULES[cost::RULES.len() - 1] as f64;
    let mut chart = ChartBuilder::on(area)
        .caption("cost of a packet that no rule matches", ("sans-serif", 15))
        .margin(10)
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(rules.log_scale().base(2.0), (10.0..most).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("rules")
        .y_desc("over an empty program")
        .label_style(("sans-serif", 12))
        .x_label_formatter(&|rules| format!("{rules}"))
        .y_label_formatter(&|cost| format!("{cost}"))
        .draw()?;
    for ((name, points), (_, colour)) in curves.iter().zip(COLOURS.iter().rev()) {
        let dots = points
            .iter()
            .map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots)?;
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(name)
            .legend(|(x, y)| Rectangle::new([(x, y - 4), (x + 10, y + 4)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}
