//! Leases in commands and answers: which jobs a worker is given, and which claims end.
//!
//! A *lease* is `<attempt>@<µs>` (or `#`, or `!#`), wherever it stands. It stands behind its job's id, and in a
//! turn's command the verdict stands before that id. Or it stands before the ids of several jobs: in a
//! command their number is between, and the verdict is `done`; in an answer it comes first in a list, and they are
//! in a list of their own behind it. So the scripts may move their arguments about.

use common::queue::JobId;

use crate::chaos::proxy::resp::Value;

/// What becomes of a job.
const VERDICTS: [&str; 7] = ["done", "retry", "bury", "back", "park", "cancel", "expire"];

/// A claim that ends: the job, its lease, the verdict.
pub(super) type Settlement = (JobId, String, String);

/// The claims that a turn's command ends.
pub(super) fn settlements(args: &[&str]) -> Vec<Settlement> {
    let mut found = Vec::new();
    for (at, lease) in args.iter().enumerate().filter(|(_, text)| is_lease(text)) {
        let before = |n: usize| at.checked_sub(n).map_or("", |at| args[at]);
        if let (Ok(id), true) = (before(1).parse(), VERDICTS.contains(&before(2))) {
            found.push((id, (*lease).to_owned(), before(2).to_owned()));
        } else {
            let number = args.get(at + 1).and_then(|n| n.parse().ok()).unwrap_or(0);
            let ids = args[at + 1..].iter().skip(1).take(number);
            let done = ids
                .filter_map(|id| Some((id.parse().ok()?, (*lease).to_owned(), "done".to_owned())));
            found.extend(done);
        }
    }
    found
}

/// The jobs that an answer gives to a worker, each with its lease; and other jobs that it names, whose
/// settlement was refused.
pub(super) fn read_answer(answer: &Value<'_>) -> (Vec<(JobId, String)>, Vec<JobId>) {
    let (mut claimed, mut refused) = (Vec::new(), Vec::new());
    read_list(answer, &mut claimed, &mut refused);
    (claimed, refused)
}

fn read_list(list: &Value<'_>, claimed: &mut Vec<(JobId, String)>, refused: &mut Vec<JobId>) {
    let parts = list.parts();
    if let [lease, ids, _bodies] = parts
        && is_lease(lease.text())
    {
        let ids = ids.texts().into_iter().filter_map(|id| id.parse().ok());
        claimed.extend(ids.map(|id| (id, lease.text().to_owned())));
        return;
    }
    for (at, part) in parts.iter().enumerate() {
        if matches!(part, Value::List(_)) {
            read_list(part, claimed, refused);
        } else if let Ok(id) = part.text().parse() {
            match parts.get(at + 1).map(Value::text) {
                Some(lease) if is_lease(lease) => claimed.push((id, lease.to_owned())),
                _ => refused.push(id),
            }
        }
    }
}

pub(super) fn is_lease(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = text
        .split_once("!#")
        .or_else(|| text.split_once(['@', '#']));
    parts.is_some_and(|(attempt, time)| is_number(attempt) && is_number(time))
}

/// The attempt that a lease is for.
pub(super) fn attempt_of(lease: &str) -> u32 {
    let digits = lease.split(['@', '#', '!']).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_may_stand_before_the_jobs_that_share_it() {
        let done =
            |id: &str, lease: &str| (id.parse().unwrap(), lease.to_owned(), "done".to_owned());
        let args = [
            "me", "6000", "2", "1@5", "2", "low-1", "low-2", "1@6", "1", "low-3",
        ];
        let args = [
            &args[..],
            &["1", "retry", "low-4", "2#7", "", "{}", "", "", "0"],
        ]
        .concat();
        let settles = settlements(&args);
        let retry = (
            "low-4".parse().unwrap(),
            "2#7".to_owned(),
            "retry".to_owned(),
        );
        let plain = [
            done("low-1", "1@5"),
            done("low-2", "1@5"),
            done("low-3", "1@6"),
        ];
        assert_eq!(settles, [&plain[..], &[retry]].concat());

        let answer = Value::List(vec![
            Value::of_texts(&["low-2"]),
            Value::List(vec![Value::List(vec![
                Value::Text(b"1@8"),
                Value::of_texts(&["high-1", "high-2"]),
                Value::of_texts(&["{}", "{}"]),
            ])]),
            Value::of_texts(&["high-3", "2#8", "1 0", "{}"]),
        ]);
        let claim = |id: &str, lease: &str| (id.parse::<JobId>().unwrap(), lease.to_owned());
        let (claimed, refused) = read_answer(&answer);
        assert_eq!(
            claimed,
            [
                claim("high-1", "1@8"),
                claim("high-2", "1@8"),
                claim("high-3", "2#8")
            ]
        );
        assert_eq!(refused, ["low-2".parse().unwrap()]);

        let alone = Value::of_texts(&["high-4", "1@9", "{}"]);
        assert_eq!(read_answer(&alone).0, [claim("high-4", "1@9")]);
        let nothing = Value::Nil;
        assert_eq!(read_answer(&nothing), (vec![], vec![]));
    }

    #[test]
    fn only_a_lease_looks_like_one() {
        assert!(is_lease("12@1790000000000000") && is_lease("1#5") && is_lease("3!#5"));
        for text in ["", "@", "1@", "low-1", "1 1", "1@x", "p0.1-3"] {
            assert!(!is_lease(text), "{text}");
        }
        assert_eq!(attempt_of("12#5"), 12);
    }
}
