//! One terminal: its replay buffer, flow control, limits and registry.

pub mod input;
pub mod replay;
