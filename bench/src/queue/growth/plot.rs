//! The plot: what a job costs against how many others wait.

use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontTransform, RGBColor},
};

use super::DEPTHS;
use crate::{figure::Figures, number::float};

/// Size in pixels; three panels beside each other.
const SIZE: (u32, u32) = (960, 330);

const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const ORANGE: RGBColor = RGBColor(0xd9, 0x6a, 0x0b);
const GREEN: RGBColor = RGBColor(0x2c, 0x8a, 0x3d);
const PURPLE: RGBColor = RGBColor(0x7b, 0x4f, 0xa6);
const GREY: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// The values of one figure.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// One panel.
struct Panel {
    title: &'static str,
    /// Figure, what it is called, colour.
    lines: &'static [(&'static str, &'static str, RGBColor)],
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "Redis CPU, µs per job",
        lines: &[
            ("enqueue_single.redis_cpu", "enqueue one", ORANGE),
            ("through.redis_cpu", "through", GREEN),
            ("drain.redis_cpu", "drain", PURPLE),
            ("enqueue_bulk.redis_cpu", "enqueue in bulk", BLUE),
        ],
    },
    Panel {
        title: "Jobs per second, in thousands",
        lines: &[
            ("enqueue_bulk", "enqueue in bulk", BLUE),
            ("drain", "drain", PURPLE),
            ("through", "through", GREEN),
            ("enqueue_single", "enqueue one", ORANGE),
        ],
    },
    Panel {
        title: "Redis CPU, µs per call",
        lines: &[
            ("status.redis_cpu", "status", BLUE),
            ("care.redis_cpu", "care", PURPLE),
        ],
    },
];

/// Draws the medians, as SVG.
pub(super) fn draw(figures: &Figures) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
        for (panel, area) in PANELS.iter().zip(area.split_evenly((1, PANELS.len()))) {
            draw_panel(panel, &area, figures).map_err(|error| anyhow!("{error}"))?;
        }
        area.present().map_err(|error| anyhow!("{error}"))?;
    }
    Ok(svg)
}

fn draw_panel<'a>(
    panel: &Panel,
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    figures: &Figures,
) -> Result<(), Box<dyn std::error::Error + 'a>> {
    let in_thousands = panel.title.contains("thousands");
    let lines: Vec<Line> = panel
        .lines
        .iter()
        .map(|(figure, name, colour)| {
            let points = DEPTHS.iter().filter_map(|depth| {
                let value = figures.median(&depth.figure(figure))?;
                let value = if in_thousands { value / 1e3 } else { value };
                Some((float(depth.waiting), value))
            });
            Line {
                name,
                colour: *colour,
                points: points.collect(),
            }
        })
        .collect();
    let values = || lines.iter().flat_map(|line| &line.points);
    let top = values().map(|(_, value)| *value).fold(0.0, f64::max) * 1.5; // the legend is above the lines

    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(panel.title, ("sans-serif", 15))
        .x_label_area_size(40)
        .y_label_area_size(38)
        .build_cartesian_2d((700.0..1_400_000.0).log_scale(), 0.0..top.max(1.0))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY)
        .axis_style(GREY)
        .x_labels(4)
        .y_labels(6)
        .x_label_formatter(&|depth| power(*depth))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .x_desc("jobs waiting")
        .label_style(("sans-serif", 13).with_color(BLACK.mix(0.8)))
        .draw()?;
    for line in lines {
        let colour = line.colour;
        chart
            .draw_series(LineSeries::new(line.points, colour.stroke_width(2)).point_size(3))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    let text = TextStyle::from(
        ("sans-serif", 12)
            .into_font()
            .transform(FontTransform::None),
    );
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font(text)
        .draw()?;
    Ok(())
}

/// 1000 as 10³.
pub(super) fn power(number: f64) -> String {
    let text = format!("{number:.0}");
    let zeros = text.len() - 1;
    let is_power = text.starts_with('1') && text[1..].bytes().all(|digit| digit == b'0');
    let raised = ["⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"];
    match raised.get(zeros) {
        Some(raised) if is_power => format!("10{raised}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_shown_as_powers_of_ten() {
        assert_eq!([1e3, 1e6, 5e3].map(power), ["10³", "10⁶", "5000"]);
    }

    #[test]
    fn a_plot_has_a_line_for_each_figure() {
        let mut figures = Figures::new();
        for depth in DEPTHS {
            for (figure, ..) in PANELS.iter().flat_map(|panel| panel.lines) {
                figures.add(depth.figure(figure), "", 5.0);
            }
        }
        let svg = draw(&figures).unwrap();

        let lines: usize = PANELS.iter().map(|panel| panel.lines.len()).sum();
        assert!(svg.matches("<polyline").count() >= lines, "{svg}");
        assert!(svg.contains("10⁶") && svg.contains("jobs waiting"), "{svg}");
    }
}
