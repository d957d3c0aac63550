//! Random flows, run by two workers one of which is killed: exactly what a plain reading of the flow expects
//! is run, each reads what it should, and no key is left behind.

use std::collections::BTreeSet;

use common::{
    queue::{Flow, all, all_settled, job},
    testing::eventually,
};
use proptest::prelude::*;
use serde_json::Value;

use super::{Look, Play, Plot, plotted};

/// Each case is a handful of flows at once.
const CASES: u32 = 6;

#[derive(Debug, Clone)]
enum Tree {
    Job(Plot),
    Then(Box<Tree>, Box<Tree>),
    OrElse(Box<Tree>, Box<Tree>),
    All(Vec<Tree>, bool),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => Just(Tree::Job(Plot::Brief)),
        1 => Just(Tree::Job(Plot::Fails(1))),
        2 => Just(Tree::Job(Plot::Fatal)),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            2 => pair.clone().prop_map(|(a, b)| Tree::Then(Box::new(a), Box::new(b))),
            1 => pair.prop_map(|(a, b)| Tree::OrElse(Box::new(a), Box::new(b))),
            2 => (prop::collection::vec(inner, 0..4), any::<bool>())
                .prop_map(|(parts, settled)| Tree::All(parts, settled)),
        ]
    })
}

impl Tree {
    /// The flow; its jobs are named by the next numbers.
    fn build(&self, next: &mut u32) -> Flow {
        match self {
            Self::Job(plot) => {
                *next += 1;
                job(&plotted(format!("j{next}"), plot.clone()))
            }
            Self::Then(first, then) => {
                let first = first.build(next);
                first.then(then.build(next))
            }
            Self::OrElse(first, handler) => {
                let first = first.build(next);
                first.or_else(handler.build(next))
            }
            Self::All(parts, settled) => {
                let parts: Vec<_> = parts.iter().map(|part| part.build(next)).collect();
                if *settled {
                    all_settled(parts)
                } else {
                    all(parts)
                }
            }
        }
    }

    /// The same, where a failure is not heard by anybody.
    fn without_handlers(&self) -> Self {
        let strip = |tree: &Self| Box::new(tree.without_handlers());
        match self {
            Self::Job(plot) => Self::Job(plot.clone()),
            Self::Then(one, other) | Self::OrElse(one, other) => {
                Self::Then(strip(one), strip(other))
            }
            Self::All(parts, _) => {
                Self::All(parts.iter().map(Self::without_handlers).collect(), false)
            }
        }
    }

    /// The same, where no job dies.
    fn mended(&self) -> Self {
        let mend = |tree: &Self| Box::new(tree.mended());
        match self {
            Self::Job(Plot::Fatal) => Self::Job(Plot::Brief),
            Self::Job(plot) => Self::Job(plot.clone()),
            Self::Then(one, other) => Self::Then(mend(one), mend(other)),
            Self::OrElse(one, other) => Self::OrElse(mend(one), mend(other)),
            Self::All(parts, settled) => {
                Self::All(parts.iter().map(Self::mended).collect(), *settled)
            }
        }
    }

    fn jobs(&self) -> u32 {
        match self {
            Self::Job(_) => 1,
            Self::Then(one, other) | Self::OrElse(one, other) => one.jobs() + other.jobs(),
            Self::All(parts, _) => parts.iter().map(Self::jobs).sum(),
        }
    }
}

/// How a part ended: what it gave back, or who died.
type Part = Result<Value, Vec<String>>;

/// How the last step of something ended.
#[derive(Clone)]
struct End {
    well: bool,
    is_all: bool,
    parts: Vec<Part>,
}

impl End {
    fn as_part(&self) -> Part {
        if !self.well {
            let deaths = self.parts.iter().filter_map(|part| part.clone().err());
            return Err(deaths.flatten().collect());
        }
        let values = self
            .parts
            .iter()
            .map(|part| part.clone().unwrap_or_default());
        let list: Vec<_> = values.collect();
        Ok(if self.is_all {
            Value::from(list)
        } else {
            list[0].clone()
        })
    }
}

/// What is to happen.
#[derive(Default)]
struct Expected {
    /// Jobs named so far.
    named: u32,
    started: BTreeSet<String>,
    told: BTreeSet<String>,
    deaths: usize,
}

impl Expected {
    fn play(&mut self, tree: &Tree, before: Option<&End>) -> End {
        match tree {
            Tree::Job(plot) => self.play_job(plot, before),
            Tree::Then(first, then) => {
                let end = self.play(first, before);
                if end.well {
                    return self.play(then, Some(&end));
                }
                self.named += then.jobs();
                end
            }
            Tree::OrElse(first, handler) => {
                let end = self.play(first, before);
                if !end.well {
                    return self.play(handler, Some(&end));
                }
                self.named += handler.jobs();
                end
            }
            Tree::All(parts, settled) => {
                let ends = parts.iter().map(|part| self.play(part, before).as_part());
                let parts: Vec<_> = ends.collect();
                End {
                    well: *settled || parts.iter().all(Result::is_ok),
                    is_all: true,
                    parts,
                }
            }
        }
    }

    fn play_job(&mut self, plot: &Plot, before: Option<&End>) -> End {
        self.named += 1;
        let name = format!("j{}", self.named);
        self.started.insert(name.clone());
        let well = !matches!(plot, Plot::Fatal);
        let part = if well {
            let told = |part: &Part| match part {
                Ok(Value::String(text)) => text.clone(),
                Ok(value) => value.to_string(),
                Err(deaths) => format!("!{}", deaths[0]),
            };
            let before = before.map(|end| {
                let parts: Vec<_> = end.parts.iter().map(told).collect();
                format!("({})", parts.join(", "))
            });
            let text = format!("{name}{}", before.unwrap_or_default());
            self.told.insert(text.clone());
            Ok(Value::from(text))
        } else {
            self.deaths += 1;
            Err(vec![format!("{name} fell")])
        };
        End {
            well,
            is_all: false,
            parts: vec![part],
        }
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if cases {
            ProptestConfig::default().cases
        } else {
            CASES
        },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn random_flows_run_exactly_what_they_should_and_leave_nothing_behind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    proptest!(config(), |(trees in prop::collection::vec(tree(), 1..20), kill in 0..100_usize)| {
        runtime.block_on(async {
            let mut expected = Expected::default();
            for tree in &trees {
                expected.play(tree, None);
            }
            let until = expected.started.len() * kill / 100;
            let play = Play::new();
            run(&play, &trees, &expected, until, async || {
                play.ends_clean_after_discards(expected.deaths).await;
            })
            .await;
        });
    });
}

#[test]
fn random_flows_that_nobody_handles_end_well_when_all_dead_are_mended() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    proptest!(config(), |(trees in prop::collection::vec(tree(), 1..20), kill in 0..100_usize)| {
        runtime.block_on(async {
            let trees: Vec<_> = trees.iter().map(Tree::without_handlers).collect();
            let (mut unmended, mut expected) = (Expected::default(), Expected::default());
            for tree in &trees {
                unmended.play(tree, None);
                expected.play(&tree.mended(), None);
            }
            let until = unmended.started.len() * kill / 100;
            let play = Play::new();
            run(&play, &trees, &expected, until, async || {
                eventually("all dead are mended", async || {
                    for dead in play.queue.dead().await {
                        play.mend(dead).await;
                    }
                    play.queue.is_drained().await.then_some(())
                })
                .await;
                play.queue.ends_clean().await;
            })
            .await;
        });
    });
}

/// Runs flows to their ends; a worker is killed when so many jobs have started.
async fn run(
    play: &Play,
    trees: &[Tree],
    expected: &Expected,
    until: usize,
    until_it_ends: impl AsyncFnOnce(),
) {
    let mut named = 0;
    let flows: Vec<_> = trees.iter().map(|tree| tree.build(&mut named)).collect();
    assert_eq!(named, expected.named);
    let (first, second) = (play.worker(), play.worker());
    for flow in flows {
        play.start(flow).await;
    }
    eventually("some have started", async || {
        (play.stage.started().len() >= until).then_some(())
    })
    .await;
    first.vanish().await;
    until_it_ends().await;
    second.stop().await;

    let started: BTreeSet<_> = play.stage.started().into_iter().collect();
    assert_eq!(started, expected.started);
    let told: BTreeSet<_> = play.stage.ended().into_iter().collect();
    assert_eq!(told, expected.told);
    // Who was killed while it ran runs twice, but no job is made twice.
    let enqueued = play.queue.stat("enqueued:default").await;
    assert_eq!(enqueued, expected.started.len());
}
