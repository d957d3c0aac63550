//! `queuectl` on lanes and unique jobs.

use super::desk::Desk;

#[tokio::test]
async fn lanes_and_unique_jobs_are_told_where_one_looks_for_jobs() {
    let desk = Desk::set();
    assert_eq!(
        desk.ask(&["lanes"]),
        "No lane has jobs in line or in flight.\n"
    );
    let enqueue = ["enqueue", "demo.a", "--lane", "tenant 7", "--width", "1"];
    desk.ask(&[&enqueue[..], &["--count", "3"]].concat());
    let unique = ["enqueue", "demo.a", "null", "--unique", "k"];
    assert_eq!(desk.ask(&unique), desk.ask(&unique));

    let lanes = desk.ask(&["lanes"]);
    let rows: Vec<_> = lanes.lines().map(str::trim).collect();
    assert!(rows[1].starts_with("2          1      1"), "{lanes}");
    assert!(rows[1].ends_with("tenant 7"), "{lanes}");
    let status = desk.ask(&["status"]);
    assert!(
        status.contains("2  in 1 lane; see `queuectl lanes`"),
        "{status}"
    );
    let jobs = desk.ask(&["jobs", "laned", "--lane", "tenant 7"]);
    assert!(
        jobs.contains("default+2") && jobs.contains("default+3"),
        "{jobs}"
    );
    let shown = desk.ask(&["show", "default+3"]);
    assert!(
        shown.starts_with("default+3  laned for 0 s in lane tenant 7, 1 before it\n"),
        "{shown}"
    );
    assert!(
        shown.contains("lane       tenant 7: 1 of 1 in flight, 2 in line\n"),
        "{shown}"
    );
    let shown = desk.ask(&["show", "default-1"]);
    assert!(
        shown.contains("unique     demo.a:k, until it has ended\n"),
        "{shown}"
    );
    assert!(desk.ask(&["audit"]).contains("laned"));
}
