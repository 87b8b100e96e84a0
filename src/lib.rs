//! WebShell: a terminal in the browser for VMs reached by SSH.
//!
//! One binary plays every role; `main.rs` hands over to one of them, as [`cli`] says. The modules, from the inside out:
//! [`protocol`] and [`api`] are pure and depend on nothing of ours, [`ssh`] reaches the VM, [`session`] joins it with a
//! browser, and [`gateway`] serves browsers the shells of a [`catalog`]. [`resolve`] makes those from manifests, which
//! [`local`] reads from files and [`cluster`] from a namespace. [`policy`] judges their targets.
//!
//! In a cluster [`portal`] finds out who somebody is (a [`user`]) and says so by a [`ticket`], [`rights`] finds out who may
//! open what, and [`controller`] has gateways run, as [`config`] says. They reach the API server by a [`client`], with
//! [`calls`] in their bounds, and by [`watch`]; [`events`] tell people. [`ping`] proves the way that browsers take, for
//! `webshell ping` ([`probe`]) and the controller. [`network`] says which addresses are one client's, [`memory`] keeps
//! secrets out of core dumps, and [`telemetry`] serves them all. See `docs/architecture.md`.

pub mod api;
pub mod calls;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod events;
pub mod gateway;
pub mod hex;
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
