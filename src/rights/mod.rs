//! Who may open which WebShells, as the API server decides: [`review`] is the question, and what its answer means.

pub mod review;
