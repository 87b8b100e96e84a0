//! One terminal: its replay buffer, flow control, limits and registry.
