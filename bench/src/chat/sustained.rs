//! A sustained flush: many rooms whose last members leave at once, beside one COPY of the same rows.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use common::{id::RoomId, testing};

use super::{
    client::Client,
    database::{copy_again, places},
    room::{Bench, fill, pause},
};
use crate::{figure::Figures, number::per_second};

/// Rooms that the messages are spread over.
const ROOMS: u64 = 20;

impl Bench {
    /// Fills rooms with so many messages together, has their members leave at once, and waits until all is
    /// in Postgres and Redis knows.
    pub(super) async fn sustain(&self, messages: u64, figures: &mut Figures) -> Result<()> {
        let (each, messages) = (messages / ROOMS, messages / ROOMS * ROOMS);
        let (mut rooms, mut members) = (Vec::<RoomId>::new(), Vec::new());
        let ports = self.stack.ports().iter().cycle();
        for (n, port) in (0..ROOMS).zip(ports) {
            let room: RoomId = testing::unique("sustained-")
                .parse()
                .context("name a room")?;
            figures.note(format!("filling room {n} of {ROOMS}"));
            fill(&self.log, &room, each).await?;
            let mut member = Client::connect(*port, "bench").await?;
            member.join(room.as_str(), 1).await?;
            rooms.push(room);
            members.push(member);
        }

        let begun = Instant::now();
        for (room, member) in rooms.iter().zip(&mut members) {
            member.leave(room.as_str()).await?;
        }
        for room in &rooms {
            while self.is_dirty(room).await? {
                pause(begun, "all rooms are flushed").await?;
            }
        }
        let took = begun.elapsed();
        let mut postgres = self.stack.place().schema.connect().await?;
        for room in &rooms {
            let archived = places(&mut postgres, room.as_str()).await?;
            ensure!(
                archived == self.history(room).await?,
                "WRONG ARCHIVE: it differs from what was in Redis"
            );
        }
        let copy = copy_again(&self.stack.place().schema, &rooms).await?;

        let rate = per_second(messages, took);
        figures.add("flush.sustained", "messages/s", rate);
        let bound = per_second(messages, copy);
        figures.add("flush.sustained.one_copy", "messages/s", bound);
        figures.add("flush.sustained.of_one_copy", "%", 100.0 * rate / bound);
        Ok(())
    }
}
