//! Calls of the API server, bounded in number and in time.

use std::time::Duration;

use kube::core::Status;
use tokio::{sync::Semaphore, time::timeout};

/// The most calls under way at once: one gateway is one of many clients.
const CONCURRENT: usize = 8;

/// How long a call may take, its turn included. A person waits for some of them.
const DEADLINE: Duration = Duration::from_secs(5);

/// Makes calls.
#[derive(Debug)]
pub struct Calls(Semaphore);

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
        Self(Semaphore::new(CONCURRENT))
    }
}

impl Calls {
    /// Makes a call in its turn.
    ///
    /// # Errors
    /// Why it has no result.
    pub async fn make<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        let in_turn = async {
            let _permit = self.0.acquire().await;
            call.await
        };
        match timeout(DEADLINE, in_turn).await {
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
