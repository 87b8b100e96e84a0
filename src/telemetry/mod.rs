//! What operators see: [`logs`], the [`audit`] trail, and [`metrics`].

pub mod audit;
pub mod logs;
pub mod metrics;
