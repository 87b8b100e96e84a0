//! What operators see: [`logs`], the [`audit`] trail, and [`metrics`]. [`throttle`] keeps strangers from filling the former.

pub mod audit;
pub mod logs;
pub mod metrics;
pub mod throttle;
