//! Who may open which WebShells, as the API server decides.
//!
//! [`review`] is the question and what its answer means; [`lists`] finds out all that one user may open, within what
//! [`rate`] lets each user cause; [`turns`] keeps one user's many requests from holding up others.

pub mod lists;
pub mod rate;
pub mod review;
#[cfg(test)]
pub(crate) mod scripted;
pub mod turns;

/// Why it cannot be decided now what somebody may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// Whoever decides does not answer.
    #[error("what you may open cannot be found out now; try again in a moment")]
    Unanswered,
    /// The same user has it found out too often.
    #[error("what you may open was asked too often; try again in a moment")]
    TooOften,
}
