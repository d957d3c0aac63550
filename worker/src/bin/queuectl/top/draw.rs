//! The screen of `queuectl top`.

use common::queue::inspect::status::{QueueStatus, Status};
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap},
};

use super::{
    app::{App, Pane},
    panes::{self, Column},
};
use crate::{
    out::{clean, number},
    status::decided,
    time::{clock, since, span, until},
};

/// Below this it cannot be read.
const LEAST: (u16, u16) = (60, 14);
const HELP: &str = "\
Tab, ←, →, 1–4   workers, running jobs, tasks, rooms
s                sort by the next column
r                the other way round
↑, ↓, PgUp, PgDn scroll
p, space         pause and go on
q, Esc, Ctrl-C   quit

OLDEST: since when the next job waits. IN/S, OUT/S: jobs enqueued and
completed a second. The line beside them: how many waited lately.";

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const RED: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const YELLOW: Style = Style::new().fg(Color::Yellow);

pub(super) fn draw(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (wide, high) = LEAST;
        let text = format!(
            "The terminal is too small ({}×{}): {wide}×{high} are needed. q quits.",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let rows = [1, 2, 5, 1].map(Constraint::Length);
    let [head, totals, queues, tabs] = Layout::vertical(rows).areas(Rect { height: 9, ..area });
    let pane = Rect {
        y: area.y + 9,
        height: area.height - 10,
        ..area
    };
    let foot = Rect {
        y: area.y + area.height - 1,
        height: 1,
        ..area
    };
    frame.render_widget(header(app), head);
    if let Some(seen) = &app.seen {
        let totals_of = Paragraph::new(self::totals(&seen.status)).wrap(Wrap { trim: true });
        frame.render_widget(totals_of, totals);
        draw_queues(app, &seen.status, frame, queues);
        draw_pane(app, frame, pane);
    }
    frame.render_widget(tab_line(app), tabs);
    let keys = "Tab pane  s sort  r reverse  p pause  ? help  q quit";
    frame.render_widget(Line::styled(keys, DIM), foot);
    if app.help {
        draw_help(frame);
    }
}

fn header(app: &App) -> Line<'static> {
    let mut spans = vec![
        Span::styled("queuectl top", BOLD),
        Span::raw(format!("  {}  {}", app.namespace, app.address)),
    ];
    if let Some(seen) = &app.seen {
        spans.push(Span::raw(format!("  {}", clock(seen.status.now_ms))));
    }
    match &app.away {
        Some((then, error)) => {
            let ms = u64::try_from(then.elapsed().as_millis()).unwrap_or(0);
            let text = format!("  REDIS AWAY for {}: {}", span(ms), clean(error));
            // What matters first: the rest may be cut.
            spans.insert(1, Span::styled(text, RED));
        }
        None if app.is_paused() => spans.insert(1, Span::styled("  PAUSED", YELLOW)),
        None if app.seen.is_none() => spans.push(Span::styled("  …", DIM)),
        None => {}
    }
    Line::from(spans)
}

fn totals(status: &Status) -> Line<'static> {
    let now = status.now_ms;
    let alive: Vec<_> = status
        .workers
        .iter()
        .filter(|worker| worker.is_alive(now))
        .collect();
    let slots: u64 = alive.iter().map(|worker| worker.info.concurrency).sum();
    let silent = status.workers.len() - alive.len();
    let mut spans = Vec::new();
    let mut add = |name: &str, text: String, style: Style| {
        if !spans.is_empty() {
            spans.push(Span::raw("  "));
        }
        spans.push(Span::styled(format!("{name} "), DIM));
        spans.push(Span::styled(text, style));
    };
    let alarming = |is: bool| if is { RED } else { BOLD };
    add(
        "running",
        format!("{} of {}", number(status.claimed), number(slots)),
        BOLD,
    );
    add("workers", number(alive.len()), alarming(alive.is_empty()));
    if silent > 0 {
        add("silent", number(silent), RED);
    }
    let due = status.next_due_ms.map(|due| until(now, due));
    let due = due.map(|due| format!(" (next {due})")).unwrap_or_default();
    add("scheduled", number(status.scheduled) + &due, BOLD);
    if status.laned > 0 {
        add("laned", number(status.laned), BOLD);
    }
    add(
        "parked",
        number(status.parked),
        if status.parked > 0 { YELLOW } else { BOLD },
    );
    add("dead", number(status.dead), alarming(status.dead > 0));
    let total = |what: &str| status.totals.get(what).copied().unwrap_or(0);
    add("retried", number(total("retried")), BOLD);
    let lost = total("reaped") + total("recovered");
    add("recovered", number(lost), BOLD);
    Line::from(spans)
}

fn draw_queues(app: &App, status: &Status, frame: &mut Frame<'_>, area: Rect) {
    const FIXED: u16 = 9 + 12 + 12 + 9 + 9 + 5;
    let left = area.width.saturating_sub(FIXED);
    let head = ["QUEUE", "WAITING", "OLDEST", "IN/S", "OUT/S", ""];
    let head = head.iter().enumerate().map(|(at, name)| {
        let text = Line::raw(*name);
        Cell::from(if at == 0 { text } else { text.right_aligned() })
    });
    let rows = status.queues.iter().map(|queue| {
        let rates = app.rates(queue.queue);
        let rate = |rate: Option<f64>| rate.map(tell_rate).unwrap_or_default();
        let oldest = queue.waiting_since_ms.filter(|_| queue.waiting > 0);
        let oldest = oldest.map(|then| since(status.now_ms, then));
        let right = |text: String| Cell::from(Line::raw(text).alignment(Alignment::Right));
        Row::new([
            Cell::from(Span::styled(queue.queue.name(), BOLD)),
            right(number(queue.waiting)),
            right(oldest.unwrap_or_default()),
            right(rate(rates.map(|(came, _)| came))),
            right(rate(rates.map(|(_, went)| went))),
            Cell::from(beside(app, queue, status.now_ms, left)),
        ])
    });
    let widths = [9, 12, 12, 9, 9].map(Constraint::Length);
    let widths = widths.into_iter().chain([Constraint::Min(1)]);
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(DIM))
        .column_spacing(1);
    frame.render_widget(table, area);
}

/// What was decided about a queue, or how many waited lately.
fn beside(app: &App, queue: &QueueStatus, now: u64, wide: u16) -> Line<'static> {
    let decisions = [("paused", &queue.paused), ("draining", &queue.draining)];
    let told = decisions.map(|(what, by)| decided(what, by.as_ref(), now));
    let told: Vec<_> = told.into_iter().filter(|text| !text.is_empty()).collect();
    if told.is_empty() {
        let waited = app.waited(queue.queue, usize::from(wide));
        return Line::styled(sparkline(&waited), Style::new().fg(Color::Cyan));
    }
    Line::styled(clean(&told.join("; ")), YELLOW)
}

/// One character a number.
fn sparkline(numbers: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = numbers.iter().copied().max().unwrap_or(0).max(1);
    let bar = |n: &u64| match *n {
        0 => ' ',
        n => BARS[usize::try_from((n * 8).div_ceil(most) - 1).map_or(7, |at| at.min(7))],
    };
    numbers.iter().map(bar).collect()
}

fn tell_rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 {
        format!("{rate:.1}")
    } else {
        number(format!("{rate:.0}"))
    }
}

fn tab_line(app: &App) -> Line<'static> {
    let mut spans = Vec::new();
    for (at, pane) in Pane::ALL.into_iter().enumerate() {
        let style = if pane == app.pane {
            BOLD.add_modifier(Modifier::REVERSED)
        } else {
            DIM
        };
        spans.push(Span::styled(format!(" {} {} ", at + 1, pane.name()), style));
    }
    Line::from(spans)
}

fn draw_pane(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let Some(seen) = &app.seen else { return };
    let columns = panes::columns(app.pane);
    let rows = panes::rows(app.pane, seen, app.sort(), app.reversed);
    if rows.is_empty() {
        let text = Line::styled(panes::nothing(app.pane), DIM);
        frame.render_widget(text, area);
        return;
    }
    let widths = widths(columns, &rows);
    let head = columns.iter().enumerate().map(|(at, (name, is_number))| {
        let style = if at == app.sort() { BOLD } else { DIM };
        Cell::from(aligned((*name).to_owned(), *is_number).style(style))
    });
    let head = Row::new(head.collect::<Vec<_>>());
    let most = rows.len().saturating_sub(usize::from(area.height) - 1);
    let shown = rows.iter().skip(app.scroll.min(most));
    let body = shown.map(|row| {
        let cells = row.cells.iter().zip(columns);
        let cells = cells.map(|(text, (_, number))| Cell::from(aligned(text.clone(), *number)));
        let style = if row.alarming { RED } else { Style::new() };
        Row::new(cells.collect::<Vec<_>>()).style(style)
    });
    let table = Table::new(body, widths).header(head).column_spacing(2);
    frame.render_widget(table, area);
}

fn aligned(text: String, is_number: bool) -> Line<'static> {
    let line = Line::raw(text);
    if is_number {
        line.right_aligned()
    } else {
        line
    }
}

/// Each column as wide as what stands in it; the last takes what is left.
fn widths(columns: &[Column], rows: &[panes::Row]) -> Vec<Constraint> {
    let widest = |at: usize| {
        let cells = rows.iter().map(|row| row.cells[at].chars().count());
        let widest = cells.chain([columns[at].0.len()]).max().unwrap_or(0);
        u16::try_from(widest).unwrap_or(u16::MAX)
    };
    let last = columns.len() - 1;
    let mut widths: Vec<_> = (0..last).map(|at| Constraint::Length(widest(at))).collect();
    widths.push(Constraint::Min(8));
    widths
}

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (wide, high) = (area.width.min(72), area.height.min(13));
    let middle = Rect {
        x: area.x + (area.width - wide) / 2,
        y: area.y + (area.height - high) / 2,
        width: wide,
        height: high,
    };
    let text = Paragraph::new(HELP).block(Block::bordered().title(" Keys "));
    frame.render_widget(Clear, middle);
    frame.render_widget(text, middle);
}
