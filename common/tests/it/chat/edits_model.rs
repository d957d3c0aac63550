//! Edits and deletions against a model of a room: authors say, edit, delete and send again; flushes and
//! rehydrations of it run in pieces, twice and late; it leaves Redis and comes back; Postgres goes. Whatever the
//! order, in the end the archive, the log, pages over both, and a window that heard all of it show each
//! message as its last change made it, and every entry once.

use std::{collections::BTreeMap, sync::Arc};

use common::{
    chat::{
        Appended, ChangeError, Content, Entry,
        bus::{Bus, BusEvent},
        change::Unchangeable,
        flush::{FlushChunk, FlushDone, FlushRoom},
        rehydrate::{RehydrateChunk, RehydrateDone, RehydrateRoom},
    },
    id::{MessageId, RoomId},
    queue::Registry,
    testing::{Stepper, TestChat, eventually},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::mpsc;

use super::{Look, between, ids, room, windowed};

/// A message, or a change of one.
#[derive(Debug, Clone)]
struct Said {
    user: &'static str,
    client_id: String,
    text: String,
    changes: Option<MessageId>,
    /// The last change: of a message one that it shows, of an edit one that has replaced it.
    changed_by: Option<MessageId>,
    deleted: bool,
}

struct World {
    chat: TestChat,
    room: RoomId,
    random: StdRng,
    said: BTreeMap<MessageId, Said>,
    heard: mpsc::UnboundedReceiver<BusEvent>,
    _bus: Bus,
    stepper: Option<Stepper>,
    archive_is_away: bool,
    number: u32,
}

impl World {
    async fn new(seed: u64, by_hand: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let settings = windowed(random.random_range(3..12), random.random_range(1..5));
        let chat = TestChat::with(settings).await;
        let room = room("lobby");
        let (bus, heard) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
        assert!(bus.subscribe(&room).await);
        let stepper = by_hand.then(|| chat.queue.stepper(registry(&chat)));
        Self {
            chat,
            room,
            random,
            said: BTreeMap::new(),
            heard,
            _bus: bus,
            stepper,
            archive_is_away: false,
            number: 0,
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..24) {
            0..=4 => self.say().await,
            5..=9 => self.change().await,
            10 => self.say_again().await,
            11 | 12 => self.chat.chat.ask_flush(&self.room).await.unwrap(),
            13 => self.chat.chat.ask_rehydrate(&self.room).await.unwrap(),
            14 => self.late_child().await,
            15 => self.leave_redis().await,
            16 if self.stepper.is_some() => self.archive_goes_or_comes().await,
            _ => self.work().await,
        }
    }

    async fn work(&mut self) {
        if let Some(stepper) = &mut self.stepper {
            stepper.step().await;
        }
    }

    fn any(&mut self) -> Option<MessageId> {
        let count = self.said.len();
        let at = (count > 0).then(|| self.random.random_range(0..count))?;
        self.said.keys().nth(at).copied()
    }

    async fn say(&mut self) {
        self.number += 1;
        let said = Said {
            user: ["ada", "bob"][self.random.random_range(0..2)],
            client_id: self.number.to_string(),
            text: format!("{} \",\"edits\":1}}", self.number),
            changes: None,
            changed_by: None,
            deleted: false,
        };
        let posted = self.chat.chat.post(&self.room, &content(&said)).await;
        let Appended { id, duplicate, .. } = posted.unwrap();
        assert!(!duplicate);
        self.said.insert(id, said);
    }

    async fn change(&mut self) {
        let Some(target) = self.any() else { return };
        let before = self.said[&target].clone();
        self.number += 1;
        let by_other = self.random.random_bool(0.1);
        let deletes = self.random.random_bool(0.3);
        let said = Said {
            user: if by_other { "eve" } else { before.user },
            client_id: self.number.to_string(),
            text: if deletes {
                String::new()
            } else {
                format!("{} edited", self.number)
            },
            changes: Some(target),
            changed_by: None,
            deleted: false,
        };
        let changed = self.send_change(target, &said).await;
        let refused = match (&before, by_other) {
            (
                Said {
                    changes: Some(_), ..
                },
                _,
            ) => Some(Unchangeable::NotAMessage),
            (_, true) => Some(Unchangeable::NotAuthor),
            (Said { deleted: true, .. }, _) => Some(Unchangeable::Deleted),
            _ => None,
        };
        let id = match changed {
            Ok(appended) => {
                assert_eq!(refused, None);
                appended.id
            }
            Err(ChangeError::Refused(why)) => return assert_eq!(refused, Some(why)),
            Err(ChangeError::Archive(_)) if self.archive_is_away => return,
            Err(error) => panic!("{error}"),
        };
        for (earlier, other) in &mut self.said {
            if other.changes == Some(target) {
                other.changed_by = Some(id);
                other.text.clear();
            }
            if *earlier == target {
                other.changed_by = Some(id);
                other.deleted = deletes;
                other.text.clone_from(&said.text);
            }
        }
        self.said.insert(id, said);
    }

    async fn send_change(&self, target: MessageId, said: &Said) -> Result<Appended, ChangeError> {
        let (chat, content) = (&self.chat.chat, content(said));
        if said.text.is_empty() {
            chat.delete(&self.room, target, &content).await
        } else {
            chat.edit(&self.room, target, &content).await
        }
    }

    /// Whatever it was, and whatever has become of it: it is not said, edited or deleted again.
    async fn say_again(&mut self) {
        let Some(id) = self.any() else { return };
        let said = &self.said[&id];
        let again = match said.changes {
            None => self
                .chat
                .chat
                .post(&self.room, &content(said))
                .await
                .unwrap(),
            Some(target) => match self.send_change(target, said).await {
                Err(ChangeError::Archive(_)) if self.archive_is_away => return,
                again => again.unwrap(),
            },
        };
        assert_eq!((again.id, again.duplicate), (id, true));
    }

    /// A child of another master, which may be long over.
    async fn late_child(&mut self) {
        let (Some(one), Some(other)) = (self.any(), self.any()) else {
            return;
        };
        let range = between(one.min(other), one.max(other));
        let room = self.room.clone();
        let producer = self.chat.queue.producer();
        if self.random.random_bool(0.5) {
            producer.enqueue(&FlushChunk { room, range }).await.unwrap();
        } else {
            let child = RehydrateChunk { room, range };
            producer.enqueue(&child).await.unwrap();
        }
    }

    /// What a room does that was idle for long, if all of it is archived.
    async fn leave_redis(&self) {
        let keys = &self.chat.queue.keys;
        let script = "if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end \
                      return redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])";
        let (dirty, room) = (keys.dirty(), &self.room);
        let names = [keys.log(room), keys.meta(room), keys.changed(room)];
        let words = [
            "EVAL",
            script,
            "4",
            &dirty,
            &names[0],
            &names[1],
            &names[2],
            room.as_str(),
        ];
        let _: usize = self.chat.queue.command(&words).await;
    }

    async fn archive_goes_or_comes(&mut self) {
        let sql = if self.archive_is_away {
            "ALTER TABLE away RENAME TO messages"
        } else {
            "ALTER TABLE messages RENAME TO away"
        };
        self.chat.database.execute(sql).await;
        self.archive_is_away = !self.archive_is_away;
    }

    async fn settle(&mut self) {
        if self.archive_is_away {
            self.archive_goes_or_comes().await;
        }
        let worker = match &mut self.stepper {
            Some(stepper) => {
                stepper.run_all().await;
                self.chat.worker()
            }
            None => self.chat.worker(),
        };
        // Again and again, as the sweep does: one may be under way that began before the last message.
        eventually("all is flushed", async || {
            self.chat.chat.ask_flush(&self.room).await.unwrap();
            (!self.chat.is_dirty(&self.room).await).then_some(())
        })
        .await;
        self.chat.is_idle().await;
        worker.stop().await;
    }

    async fn check(&mut self) {
        self.settle().await;
        let archived = self.chat.archived(&self.room).await;
        assert_eq!(
            ids(&archived),
            self.said.keys().copied().collect::<Vec<_>>()
        );
        for entry in &archived {
            self.check_entry(entry, "in the archive");
        }
        self.check_log("the log").await;

        let worker = self.chat.worker();
        self.chat.warm(&self.room).await;
        self.chat.is_idle().await;
        self.check_log("the log when the room is back").await;
        worker.stop().await;
        self.check_window();
    }

    async fn check_log(&self, place: &str) {
        let opened = self
            .chat
            .chat
            .log
            .open(&self.room, None, 1000)
            .await
            .unwrap();
        if !opened.warm {
            return;
        }
        let hot = self.said.range(opened.hydrated_from..);
        assert_eq!(
            ids(&opened.entries),
            hot.map(|(id, _)| *id).collect::<Vec<_>>()
        );
        for entry in &opened.entries {
            self.check_entry(entry, place);
        }
    }

    fn check_entry(&self, entry: &Entry, place: &str) {
        let (said, marks) = (&self.said[&entry.id], entry.marks());
        let shows = (
            entry.content().unwrap().message.into_owned(),
            marks.edits.or(marks.deletes),
            marks.deleted,
        );
        let expected = (said.text.clone(), said.changes, said.deleted);
        assert_eq!(shows, expected, "{} {place}", entry.id);
        match said.changes {
            None => assert_eq!(marks.edited_at, said.changed_by, "{} {place}", entry.id),
            Some(_) => assert_eq!(
                marks.edited_at.is_some(),
                said.changed_by.is_some(),
                "{} {place}",
                entry.id
            ),
        }
    }

    /// What somebody shows who was there all the time, by the rules of the protocol.
    fn check_window(&mut self) {
        let mut shows: BTreeMap<MessageId, String> = BTreeMap::new();
        let mut last = MessageId::ZERO;
        while let Ok(event) = self.heard.try_recv() {
            let BusEvent::Messages(_, entries) = event else {
                continue;
            };
            for entry in entries {
                assert!(entry.id > last, "{} after {last}", entry.id);
                last = entry.id;
                let text = entry.content().unwrap().message.into_owned();
                let marks = entry.marks();
                let target = marks.edits.or(marks.deletes).unwrap_or(entry.id);
                shows.insert(target, text);
            }
        }
        let messages = self.said.iter().filter(|(_, said)| said.changes.is_none());
        let expected = messages.map(|(id, said)| (*id, said.text.clone()));
        assert_eq!(shows, expected.collect());
    }
}

fn content(said: &Said) -> Content<'_> {
    Content {
        user_id: said.user.into(),
        username: said.user.into(),
        client_id: said.client_id.as_str().into(),
        message: said.text.as_str().into(),
    }
}

fn registry(chat: &TestChat) -> Registry {
    let own = Arc::new(chat.elsewhere());
    Registry::new()
        .with::<FlushRoom>(&own)
        .with::<FlushChunk>(&own)
        .with::<FlushDone>(&own)
        .with::<RehydrateRoom>(&own)
        .with::<RehydrateChunk>(&own)
        .with::<RehydrateDone>(&own)
}

/// Every step of a job is a whole one here; the seed is told if it fails.
#[tokio::test]
async fn random_orders_of_steps_and_jobs_end_in_one_state_everywhere() {
    for seed in 0..seeds(12) {
        println!("seed {seed}, by hand");
        let mut world = World::new(seed, true).await;
        for _ in 0..120 {
            Box::pin(world.step()).await;
        }
        Box::pin(world.check()).await;
    }
}

/// Two workers run the jobs meanwhile, so that reads and writes of them lie across changes.
#[tokio::test]
async fn changes_across_running_flushes_and_rehydrations_end_in_one_state_everywhere() {
    for seed in 0..seeds(8) {
        println!("seed {seed}, with workers");
        let mut world = World::new(seed, false).await;
        let workers = [world.chat.worker(), world.chat.worker()];
        for _ in 0..150 {
            Box::pin(world.step()).await;
        }
        for worker in workers {
            worker.stop().await;
        }
        Box::pin(world.check()).await;
    }
}

/// How many seeds: `EDIT_SEEDS` asks for more.
fn seeds(usual: u64) -> u64 {
    let asked = std::env::var("EDIT_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}
