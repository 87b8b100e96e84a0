//! What a gateway and its portal know of each other, and what a browser carries between them.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{sync::Arc, time::Duration};

use serde_json::json;
use webshell::{
    gateway::login::Trust,
    ticket::{Keys, SigningKey},
};

use super::site::Reply;

/// The portal's origin.
pub const PORTAL: &str = "https://shell.example.com";

/// The origin of the gateway of namespace `demo`.
pub const GATEWAY: &str = "https://demo.shell.example.com";

/// What a gateway at `origin` is told.
pub fn trust(origin: &str, keys: &[&SigningKey]) -> Arc<Trust> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let keys = Keys::parse(&json!({"keys": keys}).to_string()).unwrap();
    let lifetime = Duration::from_secs(8 * 3600);
    Arc::new(Trust {
        origin: origin.parse().unwrap(),
        portal: PORTAL.parse().unwrap(),
        lifetime,
        keys,
        service: None,
        shares_origin: false,
    })
}

/// The form that the portal's page sends.
pub fn form(ticket: &str, shell: &str) -> String {
    format!("ticket={ticket}&shell={shell}")
}

/// The cookie that an answer sets, as a browser sends it back.
pub fn cookie_of<S>(reply: &Reply<S>) -> String {
    let cookie = reply.header("set-cookie").expect("a cookie");
    cookie.split(';').next().unwrap().to_owned()
}
