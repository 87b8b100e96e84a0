//! Calls of the API server, bounded in number and in time.

use std::time::Duration;

use kube::core::Status;
use tokio::{sync::Semaphore, time::timeout};

/// How long a call may take.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// What a call is made for. Each purpose has places of its own, so that none takes another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody waits to connect, or for a ticket.
    Connection,
    /// What live sessions depend on is looked at again.
    Session,
    /// Somebody looks at a list.
    List,
    /// Nobody waits: status, events, what is not in use.
    Background,
}

/// Makes calls.
#[derive(Debug)]
pub struct Calls {
    connections: Semaphore,
    sessions: Semaphore,
    lists: Semaphore,
    background: Semaphore,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server answered with an error.
    #[error("the API server says: {}", .0.message)]
    Refused(Box<Status>),
    /// It did not answer.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(kube::Error),
    /// It did not answer in time.
    #[error("the API server did not answer within {} s", DEADLINE.as_secs())]
    Late,
}

impl Default for Calls {
    fn default() -> Self {
        // One process is one of many clients of an API server.
        Self {
            connections: Semaphore::new(8),
            sessions: Semaphore::new(8),
            lists: Semaphore::new(8),
            background: Semaphore::new(4),
        }
    }
}

impl Calls {
    /// Makes a call in its turn. Where a person waits, the turn is part of [`DEADLINE`].
    ///
    /// # Errors
    /// Why it has no result.
    pub async fn make<T>(&self, purpose: Purpose, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        let (places, waits) = match purpose {
            Purpose::Connection => (&self.connections, true),
            Purpose::List => (&self.lists, true),
            Purpose::Session => (&self.sessions, false),
            Purpose::Background => (&self.background, false),
        };
        let made = if waits {
            timeout(DEADLINE, async {
                let _place = places.acquire().await;
                call.await
            })
            .await
        } else {
            let _place = places.acquire().await;
            timeout(DEADLINE, call).await
        };
        match made {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(kube::Error::Api(status))) => Err(CallError::Refused(status)),
            Ok(Err(error)) => Err(CallError::Unreachable(error)),
            Err(_) => Err(CallError::Late),
        }
    }
}

impl CallError {
    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_not_found())
    }

    /// Whether somebody else has changed the object meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_conflict())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::future::join_all;
    use tokio::time::{Instant, sleep};

    use super::*;

    const ALL: [Purpose; 4] = [Purpose::Connection, Purpose::Session, Purpose::List, Purpose::Background];

    #[tokio::test(start_paused = true)]
    async fn calls_for_one_purpose_keep_no_other_waiting() {
        for flooded in ALL {
            let calls = Calls::default();
            let flood = join_all((0..100).map(|_| calls.make(flooded, pending::<kube::Result<()>>())));
            let others = async {
                sleep(Duration::from_secs(1)).await;
                for purpose in ALL.into_iter().filter(|purpose| *purpose != flooded) {
                    let begun = Instant::now();
                    calls.make(purpose, async { Ok(()) }).await.unwrap();
                    assert_eq!(begun.elapsed(), Duration::ZERO, "{purpose:?} behind {flooded:?}");
                }
            };
            tokio::join!(flood, others);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_knows_in_time_and_what_sessions_need_has_all_its_time() {
        let second = async || {
            sleep(Duration::from_secs(1)).await;
            Ok(())
        };
        for (purpose, in_time) in [(Purpose::Connection, 40), (Purpose::List, 40), (Purpose::Session, 100)] {
            let calls = Calls::default();
            let made = join_all((0..100).map(|_| calls.make(purpose, second()))).await;
            assert_eq!(made.iter().filter(|made| made.is_ok()).count(), in_time, "{purpose:?}");
        }
    }
}
