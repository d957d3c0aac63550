//! Post, edit, delete: what a connection adds to a room, and when it is acknowledged.

use std::{sync::Arc, time::Instant};

use common::{
    chat::{Appended, archived::NotArchived},
    id::RoomId,
    queue::span::{Request, as_one},
};

use crate::{
    change::{ARCHIVE_AGAIN, Changing, change},
    frame::{self, AckLevel, Change, FrameId, Post, Refusal},
    meter,
    post::{Said, Via, post_row},
    session::Session,
};

/// Messages of a connection that came in a row: they are kept together.
#[derive(Debug, Default)]
pub(crate) struct Row {
    said: Vec<Said>,
    /// Of each, its frame's id and when to answer it.
    asked: Vec<(FrameId, AckLevel)>,
}

impl Row {
    pub(crate) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    fn push(&mut self, id: FrameId, level: AckLevel, said: Said) {
        self.said.push(said);
        self.asked.push((id, level));
    }
}

impl Session {
    /// Checks a message; it is kept with the others of the row.
    pub(crate) fn add(&self, row: &mut Row, id: &FrameId, post: Post) -> Result<(), Refusal> {
        let room_id = self.room_of(post.room_id)?;
        let said = Said::new(&self.app.limits, room_id, post.client_id, post.message)?;
        row.push(id.clone(), post.ack, said);
        Ok(())
    }

    /// Has the messages of a row kept in their order, and answers each.
    pub(crate) async fn post(&self, row: Row) {
        let Row { said, asked } = row;
        if said.is_empty() {
            return;
        }
        let begun = Instant::now();
        let posting = async {
            let kept = post_row(&self.app, &self.person, &said, Via::Socket).await;
            as_one(kept)
        };
        let (Ok(kept) | Err(kept)) = Request::new("message", None).answer(posting).await;
        for ((said, (id, level)), kept) in said.into_iter().zip(asked).zip(kept) {
            let (room, client_id) = (said.room_id, said.client_id);
            match kept {
                Ok(appended) => self.acknowledge(&id, room, client_id, appended, level, begun),
                Err(refusal) => self.refuse(&id, &refusal),
            }
        }
    }

    pub(crate) async fn edit(&self, id: &FrameId, edit: Change) -> Result<(), Refusal> {
        let room = self.room_of(edit.room_id)?;
        let text = edit.message.unwrap_or_default();
        let limits = &self.app.limits;
        let changing = Changing::edit(limits, room, edit.client_id, edit.message_id, text)?;
        self.change(id, changing, edit.ack).await
    }

    pub(crate) async fn delete(&self, id: &FrameId, delete: Change) -> Result<(), Refusal> {
        let room = self.room_of(delete.room_id)?;
        let changing = Changing::delete(room, delete.client_id, delete.message_id)?;
        self.change(id, changing, delete.ack).await
    }

    async fn change(
        &self,
        id: &FrameId,
        changing: Changing,
        level: AckLevel,
    ) -> Result<(), Refusal> {
        let begun = Instant::now();
        let appended = change(&self.app, &self.person, &changing).await?;
        let (room, client_id) = (changing.room_id, changing.client_id);
        self.acknowledge(id, room, client_id, appended, level, begun);
        Ok(())
    }

    /// Answers at once, or when the entry is in the archive. Who waits for that does not hold the
    /// connection's next frames up.
    fn acknowledge(
        &self,
        id: &FrameId,
        room: RoomId,
        client_id: String,
        appended: Appended,
        level: AckLevel,
        begun: Instant,
    ) {
        if level == AckLevel::Redis {
            let ack = frame::ack(id, &room, &client_id, appended, false);
            self.outbox.push(ack);
            meter::ACKS.record(begun.elapsed());
            return;
        }
        let (waits, id) = (self.app.waits.clone(), id.clone());
        // A connection that ends takes its outbox with it.
        let outbox = Arc::downgrade(&self.outbox);
        tokio::spawn(async move {
            let told = waits.archived(&room, appended.id).await;
            let Some(outbox) = outbox.upgrade() else {
                return;
            };
            outbox.push(match told {
                Ok(()) => {
                    meter::ARCHIVE_ACKS.record(begun.elapsed());
                    frame::ack(&id, &room, &client_id, appended, true)
                }
                Err(late) => {
                    metrics::counter!("rhubarb_refused_frames_total", "code" => "not_archived")
                        .increment(1);
                    frame::error(&id, &not_archived(late))
                }
            });
        });
    }
}

/// It is kept, and will be archived, but not in time for its ack.
pub(crate) fn not_archived(late: NotArchived) -> Refusal {
    Refusal::later("not_archived", late.to_string(), ARCHIVE_AGAIN)
}
