//! The controller's pings of gateways through their public URLs, against a real API server, and an ingress controller of the
//! tests' own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod api_server;
    pub mod controller;
    pub mod waiting;
}

use std::{net::Ipv4Addr, sync::Arc};

use futures_util::{SinkExt as _, StreamExt as _};
use kube::ResourceExt as _;
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use support::{
    api_server::ApiServer,
    controller::{Running, Tenant, eventually, settled, sum},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_websockets::{Message, ServerBuilder};
use webshell::{controller::kind::Kind, protocol::ping};

/// What an ingress controller leads to: the gateway of this identity, or nothing.
type Leads = watch::Sender<Option<String>>;

/// Settings with the public URL at a port of this machine.
fn settings(scheme: &str, port: u16) -> String {
    let route = format!("kind: Ingress, mode: Path, host: shell.localhost, scheme: {scheme}, port: {port}");
    format!("gateway: {{image: 'webshell:1'}}\nroute: {{{route}}}\n")
}

/// A namespace with the WebShell `db-1`, for which all is well that its route has no part in; and the identity of its gateway.
async fn tenant(server: &ApiServer) -> (Tenant, String) {
    let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.object(Kind::Deployment).await;
    let pod = tenant.make_pod("webshell-gateway-1").await.get("webshell-gateway-1").await.unwrap();
    tenant.let_credentials_resolve("db-1").await;
    tenant.let_gateway_run().await;
    let identity = format!("{}/{}", tenant.namespace, pod.uid().unwrap());
    (tenant, identity)
}

/// Serves the public URL for as long as the tasks live.
fn serve(listener: TcpListener, leads: &Leads, tls: Option<TlsAcceptor>) -> JoinSet<()> {
    let (mut tasks, leads) = (JoinSet::new(), leads.subscribe());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (identity, tls) = (leads.borrow().clone(), tls.clone());
            connections.spawn(async move {
                match tls {
                    None => answer(stream, identity).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, identity).await;
                        }
                    }
                }
            });
        }
    });
    tasks
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, identity: Option<String>) {
    let Some(identity) = identity else {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        return;
    };
    let Ok((_, mut socket)) = ServerBuilder::new().accept(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let Some(answer) = message.as_text().and_then(|text| ping::answer(text, &identity)) else { return };
        let _ = socket.send(Message::text(answer)).await;
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_webshell_is_ready_once_its_gateway_answers_and_a_restart_takes_nothing_back() {
    let server = ApiServer::start().await;
    let (listener, port) = listen().await;
    let leads = Leads::default();
    let _ingress = serve(listener, &leads, None);
    let running = Running::start(&server, &settings("http", port), "webshell-system").await;
    let (tenant, identity) = tenant(&server).await;

    let why = tenant.condition("db-1", "RouteReady", "Unknown/Probing").await;
    assert!(why.ends_with("has not answered at its public URL yet"), "{why}");
    eventually("a ping", async || running.text().contains(r#"probes_total{outcome="status"}"#).then_some(())).await;
    eventually("Ready to wait for the route", async || {
        let why = tenant.condition("db-1", "Ready", "False/NotReady").await;
        why.starts_with("RouteReady is Unknown (Probing): ").then_some(())
    })
    .await;

    leads.send_replace(Some(identity));
    tenant.condition("db-1", "RouteReady", "True/Routed").await;
    tenant.condition("db-1", "Ready", "True/Ready").await;
    let before = settled(async || tenant.versions().await).await;
    running.stop();

    let running = Running::start(&server, &settings("http", port), "webshell-system").await;
    eventually("a ping", async || running.text().contains(r#"probes_total{outcome="proved"}"#).then_some(())).await;
    settled(async || running.reconciles()).await;
    assert_eq!(tenant.versions().await, before);
    assert!(!running.text().contains("webshell_api_writes_total{"), "{}", running.text());
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_answer_of_another_gateway_proves_nothing() {
    let server = ApiServer::start().await;
    let (listener, port) = listen().await;
    let leads = Leads::default();
    let _ingress = serve(listener, &leads, None);
    let _running = Running::start(&server, &settings("http", port), "webshell-system").await;
    let (tenant, identity) = tenant(&server).await;
    leads.send_replace(Some(format!("{}/another", tenant.namespace)));

    let why = tenant.condition("db-1", "RouteReady", "Unknown/NotReported").await;
    assert!(why.contains("a gateway answers that is none of this namespace's"), "{why}");
    tenant.condition("db-1", "Ready", "True/Ready").await;

    tenant.change_status(Kind::Ingress, json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})).await;
    let why = tenant.condition("db-1", "RouteReady", "Unknown/ProbeFailed").await;
    assert!(
        why.starts_with(&format!("ws://gateways.shell.localhost:{port}/{}/-/ping: a gateway", tenant.namespace)),
        "{why}"
    );

    leads.send_replace(Some(identity));
    tenant.condition("db-1", "RouteReady", "True/Routed").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_url_that_cannot_be_reached_holds_nothing_back_and_writes_nothing() {
    let server = ApiServer::start().await;
    // Nobody else gets the port, and nobody listens yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let running = Running::start(&server, &settings("http", port), "webshell-system").await;
    let (tenant, identity) = tenant(&server).await;

    let why = tenant.condition("db-1", "RouteReady", "Unknown/NotReported").await;
    assert!(why.contains(&format!("gateways.shell.localhost:{port} refuses connections")), "{why}");
    tenant.condition("db-1", "Ready", "True/Ready").await;
    let before = settled(async || tenant.versions().await).await;
    let pings = || sum(&running.metrics, "webshell_route_probes_total");
    let earlier = pings();
    eventually("more pings", async || (pings() > earlier + 1).then_some(())).await;
    assert_eq!(tenant.versions().await, before);

    let _ingress = serve(socket.listen(16).unwrap(), &Leads::new(Some(identity)), None);
    tenant.condition("db-1", "RouteReady", "True/Routed").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_certificate_of_an_unknown_authority_is_told_of() {
    let server = ApiServer::start().await;
    let (listener, port) = listen().await;
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let _ingress = serve(listener, &Leads::default(), Some(TlsAcceptor::from(Arc::new(config))));
    let _running = Running::start(&server, &settings("https", port), "webshell-system").await;
    let (tenant, _) = tenant(&server).await;

    let why = tenant.condition("db-1", "RouteReady", "Unknown/NotReported").await;
    assert!(why.contains("its certificate is not trusted: its issuer is unknown"), "{why}");
    assert!(why.ends_with("name that by route.caConfigMap"), "{why}");
    tenant.condition("db-1", "Ready", "True/Ready").await;
}
