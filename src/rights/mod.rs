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
