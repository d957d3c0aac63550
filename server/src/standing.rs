//! Standing: what one connection may do now. It changes when a token comes or ends, and with each frame.

use tokio::time::Instant;

use crate::{
    app::App,
    auth::{Ring, Tenure},
    frame::{Ask, Refusal},
    limits::{Pace, Seat},
    person::{Person, Proof},
};

/// What one connection may do.
#[derive(Debug)]
pub(crate) struct Standing {
    tenure: Tenure,
    pace: Pace,
    /// Its place among its user's connections; none as long as it is nobody's.
    seat: Option<Seat>,
}

impl Standing {
    pub(crate) fn new(app: &App, person: &Person, seat: Option<Seat>) -> Self {
        Self {
            tenure: app.door.tenure(person),
            pace: Pace::default(),
            seat,
        }
    }

    /// Counts a frame of any kind; false if there are too many.
    pub(crate) fn take_frame(&mut self, app: &App) -> bool {
        self.pace.frame(&app.limits)
    }

    /// Whether a frame may be done now.
    pub(crate) fn may(&mut self, app: &App, person: &Person, ask: &Ask) -> Result<(), Refusal> {
        match ask {
            Ask::Auth(_) => self.pace.token(&app.limits)?,
            Ask::Ping => {}
            _ if person.is_stranger() => {
                let message = "send an auth frame with a token first";
                return Err(Refusal::new("unauthorized", message));
            }
            _ if self.tenure.is_over(Instant::now()) => {
                let message = "your token has expired: send an auth frame with a fresh one";
                return Err(Refusal::new("expired", message));
            }
            Ask::Join(join) => {
                self.pace.join(&app.limits)?;
                person.may_enter(&join.room_id)?;
            }
            Ask::Post(_) | Ask::Edit(_) | Ask::Delete(_) => {
                self.pace.message(&app.limits, person)?;
            }
            Ask::Leave(_) | Ask::Typing(_) => {}
        }
        Ok(())
    }

    /// Takes a token: the connection is, or goes on as, whom it names.
    pub(crate) fn authenticate(
        &mut self,
        app: &App,
        person: &Person,
        token: &str,
        rooms: usize,
    ) -> Result<Person, Refusal> {
        let named = app.door.token(token)?;
        // A guest without rooms has done nothing yet that somebody else would not like to have done.
        let is_new = match person.proof {
            Proof::Awaited => true,
            Proof::Word => rooms == 0,
            Proof::Token { .. } => false,
        };
        if is_new {
            self.seat = Some(app.limits.sit(&named)?);
        } else if named.user_id != person.user_id {
            let message = format!(
                "this connection is {}'s; open another one as somebody else",
                person.user_id
            );
            return Err(Refusal::new("unauthorized", message));
        }
        self.tenure = app.door.tenure(&named);
        Ok(named)
    }

    /// When to look again.
    pub(crate) fn rings_at(&self) -> Option<Instant> {
        self.tenure.rings_at()
    }

    /// What is due now.
    pub(crate) fn ring(&mut self) -> Option<Ring> {
        self.tenure.ring(Instant::now())
    }
}
