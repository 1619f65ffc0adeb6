//! A fetch that is not for keeping: what would become of the origin's answer, known by its head.

use super::Task;
use super::asking::{Told, ToldOrNot};
use crate::rules::cache_control::Directives;
use crate::rules::storing::{Refusal, Terms};
use crate::upstream::{Asking, Fault};
use crate::wire::Framing;
use crate::wire::response::ResponseHead;
use std::time::{Duration, SystemTime};

/// The origin's answer, judged.
pub struct Probed {
    /// Its head.
    pub response: ResponseHead,
    /// On which terms it would be kept, or why not.
    pub terms: Result<Terms, Refusal>,
    /// From the question to the head.
    pub delay: Duration,
    /// When it came.
    pub now: SystemTime,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprobed {
    /// The origin gave none.
    Fault(Fault),
    /// There are as many fills as there may be.
    TooManyFills,
    /// It took longer than anybody waits here.
    Overtime,
}

impl Task {
    /// Nothing of the body is read: the connection ends with the head.
    pub(in crate::engine) async fn probe(&self) -> Result<Probed, Unprobed> {
        // Parents would keep what they bring.
        let asking = Asking { through_parent: false, ..self.asking() };
        let mut way = self.configured.upstream.way(asking);
        let mut declined = None;
        let told = loop {
            match self.ask(&mut way, None, None).await {
                Ok(ToldOrNot::Told(told)) => break *told,
                Ok(ToldOrNot::Declined(told)) => declined = Some(*told),
                Ok(ToldOrNot::Nothing) => {}
                Err(fault) => break declined.take().ok_or(Unprobed::Fault(fault))?,
            }
        };
        let Told { response, received, connection } = told;
        way.is_over(&connection.to);
        drop(connection);
        let directives = Directives::of_response(&response.fields);
        let mut terms = self.judged(&response, &directives, received);
        if let (Ok(_), Framing::Length(length)) = (&terms, response.framing)
            && !self.has_room(length)
        {
            terms = Err(Refusal::TooLarge);
        }
        Ok(Probed { response, terms, delay: received.delay, now: received.now })
    }

    /// Whether a content of this length could be kept in one of the tiers.
    fn has_room(&self, bytes: u64) -> bool {
        let disk = self.engine.store.disk().filter(|disk| disk.is_storing());
        bytes <= self.engine.object_bytes_max
            || disk.is_some_and(|disk| bytes <= disk.capacity() / super::carrying::DISK_SHARE)
    }
}
