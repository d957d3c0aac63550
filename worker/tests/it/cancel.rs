//! `queuectl cancel`, as a process.

use crate::desk::Desk;

#[tokio::test]
async fn a_cancel_tells_of_each_job_what_became_of_it() {
    let desk = Desk::set();
    desk.ask(&["enqueue", "test.nobody_knows_it", "--keep", "10m"]);
    desk.ask(&["enqueue", "test.nobody_knows_it", "--in", "1h"]);

    let told = desk.ask(&["cancel", "default-1", "default+1"]);
    assert_eq!(told, "Cancelled default-1.\nCancelled default+1.\n");

    let again = desk.call(&[
        "cancel",
        "--wait",
        "5",
        "default-1",
        "default+1",
        "default-7",
    ]);
    assert_eq!(again.code, 1);
    let lines: Vec<_> = again.out.lines().collect();
    assert_eq!(
        lines[0],
        "Not cancelled: default-1 had ended before: cancelled."
    );
    assert!(
        lines[1].starts_with("Not cancelled: default+1 is finished"),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("Not cancelled: no job has the id"),
        "{lines:?}"
    );
    assert_eq!(
        desk.ask(&["show", "default-1"]).trim(),
        "default-1  cancelled"
    );
}
