//! WebShell: a terminal in the browser for VMs reached by SSH.
//!
//! One binary plays every role; `main.rs` hands over to one of them. The modules, from the inside out: [`protocol`] and
//! [`api`] are pure and depend on nothing of ours, [`ssh`] reaches the VM, [`session`] joins the two, [`gateway`] serves
//! browsers, [`local`] runs a gateway from manifest files, [`portal`] finds out who somebody is, and [`controller`] has
//! gateways run in a cluster. [`telemetry`] serves them all. See `docs/architecture.md`.

pub mod api;
pub mod calls;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod events;
pub mod gateway;
pub mod local;
pub mod memory;
pub mod network;
pub mod ping;
pub mod policy;
pub mod portal;
pub mod probe;
pub mod protocol;
pub mod resolve;
pub mod rights;
pub mod session;
pub mod ssh;
pub mod telemetry;
pub mod ticket;
pub mod user;
pub mod watch;
