//! The portal on a real API server: whose a token is, which shells are theirs, and the way to a gateway's session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod api_server;
    pub mod portal;
    pub mod site;
    pub mod waiting;
}

use std::{net::SocketAddr, sync::Arc};

use futures_util::{SinkExt as _, StreamExt as _};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::{Value, json};
use support::{
    api_server::ApiServer,
    portal::{cookie_of, form},
    site::{PATIENCE, Reply, Site, allow_many_sockets, demo_shell, exchange, request_text, shell_at},
    waiting::eventually,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use webshell::{
    api::WebShell,
    catalog::Catalog,
    config::{self, Config, Route},
    gateway::{
        login::{Auth, PortalLogins, Trust},
        origin::Origins,
    },
    portal::{Portal, PortalError},
    rights::lists::BELIEVED,
    ssh::Demo,
};

/// A running portal. Dropped, it is gone.
struct Stage {
    client: Client,
    config: Config,
    namespace: String,
    address: SocketAddr,
    admin: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<Result<(), PortalError>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
        self.running.abort();
    }
}

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// Lets `account` of namespace `people` connect to the shells of a namespace: to one, or to all.
async fn share(client: &Client, namespace: &str, shell: Option<&str>, people: &str, account: &str) {
    share_as("connect", client, namespace, shell, people, account).await;
}

/// The same by a role of this name.
async fn share_as(role: &str, client: &Client, namespace: &str, shell: Option<&str>, people: &str, account: &str) {
    let rule = PolicyRule {
        api_groups: Some(vec!["webshell.dev".to_owned()]),
        resources: Some(vec!["webshells/connect".to_owned()]),
        resource_names: shell.map(|name| vec![name.to_owned()]),
        verbs: vec!["create".to_owned()],
        ..PolicyRule::default()
    };
    let role_name = role;
    let role = Role { metadata: metadata(role_name), rules: Some(vec![rule]) };
    Api::<Role>::namespaced(client.clone(), namespace).create(&PostParams::default(), &role).await.unwrap();
    let subject = Subject {
        kind: "ServiceAccount".to_owned(),
        name: account.to_owned(),
        namespace: Some(people.to_owned()),
        ..Subject::default()
    };
    let role_ref = RoleRef {
        kind: "Role".to_owned(),
        name: role_name.to_owned(),
        api_group: "rbac.authorization.k8s.io".to_owned(),
    };
    let binding = RoleBinding { metadata: metadata(role_name), role_ref, subjects: Some(vec![subject]) };
    Api::<RoleBinding>::namespaced(client.clone(), namespace).create(&PostParams::default(), &binding).await.unwrap();
}

/// The portal's own rights, as docs/operations.md names them; a client that has them and no others.
async fn portal_client(server: &ApiServer, namespace: &str) -> Client {
    let user = format!("portal-of-{namespace}");
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    let subjects = json!([{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]);
    let reference = |kind: &str| json!({"kind": kind, "name": user, "apiGroup": "rbac.authorization.k8s.io"});
    let named = json!({"name": user});
    let role = json!({"metadata": named, "rules": [
        rule("authentication.k8s.io", "tokenreviews", &["create"]),
        rule("authorization.k8s.io", "subjectaccessreviews", &["create"]),
        rule("webshell.dev", "webshells", &["list", "watch"]),
    ]});
    create::<ClusterRole>(Api::all(server.client()), role).await;
    let binding = json!({"metadata": named, "roleRef": reference("ClusterRole"), "subjects": subjects});
    create::<ClusterRoleBinding>(Api::all(server.client()), binding).await;
    let mut keys = rule("", "configmaps", &["get", "create", "patch"]);
    keys["resourceNames"] = json!(["webshell-portal-keys"]);
    create::<Role>(Api::namespaced(server.client(), namespace), json!({"metadata": named, "rules": [keys]})).await;
    let binding = json!({"metadata": named, "roleRef": reference("Role"), "subjects": subjects});
    create::<RoleBinding>(Api::namespaced(server.client(), namespace), binding).await;
    server.client_as(&user, &["system:authenticated"])
}

async fn create<K>(api: Api<K>, object: Value)
where
    K: kube::Resource + serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn create_shell(client: &Client, namespace: &str, name: &str) {
    let shell: WebShell = serde_json::from_value(json!({
        "apiVersion": "webshell.dev/v1alpha1", "kind": "WebShell", "metadata": {"name": name},
        "spec": {
            "target": {"host": "10.0.4.12"},
            "credentials": {"secretRef": {"name": "db-1-ssh"}},
            "hostKey": {"knownHosts": "10.0.4.12 ssh-ed25519 AAAA"},
        },
    }))
    .unwrap();
    Api::<WebShell>::namespaced(client.clone(), namespace).create(&PostParams::default(), &shell).await.unwrap();
}

async fn create_account(client: &Client, namespace: &str, name: &str) {
    let account = ServiceAccount { metadata: metadata(name), ..ServiceAccount::default() };
    Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
}

/// What `kubectl create token` prints.
async fn token(client: &Client, namespace: &str, account: &str, audiences: &[&str]) -> String {
    let audiences = audiences.iter().map(|&audience| audience.to_owned()).collect();
    let spec = TokenRequestSpec { audiences, ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token
}

impl Stage {
    /// A portal that has published its keys and knows all shells.
    async fn set() -> Self {
        let server = ApiServer::shared().await;
        let client = server.client();
        let namespace = server.namespace().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin_address) = (listener.local_addr().unwrap(), admin.local_addr().unwrap());
        let config: Config = config::parse(
            "config.yaml",
            &format!(
                "gateway: {{image: 'webshell:1'}}\n\
                 route: {{kind: None, mode: Host, host: shell.test, scheme: http, port: {}}}\n",
                address.port()
            ),
        )
        .unwrap();
        let stop = CancellationToken::new();
        let own = portal_client(server, &namespace).await;
        let portal = Portal {
            config: config.clone(),
            client: own.clone(),
            watcher: own,
            namespace: namespace.clone(),
            pod: "webshell-portal-0".to_owned(),
            listener,
            admin,
            stop: stop.clone(),
        };
        let running = tokio::spawn(portal.run());
        let stage = Self { client, config, namespace, address, admin: admin_address, stop, running };
        eventually("a portal that is ready", async || (stage.admin("/readyz").await.status == 200).then_some(())).await;
        stage
    }

    fn route(&self) -> &Route {
        &self.config.route
    }

    fn origin(&self) -> String {
        self.route().portal_origin()
    }

    async fn admin(&self, path: &str) -> Reply<TcpStream> {
        let stream = TcpStream::connect(self.admin).await.unwrap();
        exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await
    }

    async fn send(&self, request: &str, headers: &[(&str, &str)], body: &str) -> Reply<TcpStream> {
        let host = format!("shell.test:{}", self.address.port());
        let mut all = vec![("Host", host.as_str())];
        all.extend_from_slice(headers);
        exchange(TcpStream::connect(self.address).await.unwrap(), &request_text(request, &all, body)).await
    }

    async fn get(&self, path: &str, cookie: &str) -> Reply<TcpStream> {
        self.send(&format!("GET {path}"), &[("Cookie", cookie)], "").await
    }

    async fn log_in(&self, token: &str) -> Reply<TcpStream> {
        let body = json!({"token": token}).to_string();
        self.send("POST /-/login", &[("Origin", &self.origin())], &body).await
    }

    /// Logs a ServiceAccount in; the cookie as browsers send it.
    async fn cookie(&self, namespace: &str, account: &str) -> String {
        let token = token(&self.client, namespace, account, &["webshell.dev"]).await;
        let reply = self.log_in(&token).await;
        assert_eq!(reply.status, 204, "{}", reply.body);
        cookie_of(&reply)
    }

    /// Takes somebody who is logged in here to a gateway; the cookie there.
    async fn log_in_at(&self, gateway: &Site, team: &str, login: &str) -> String {
        let sent = gateway.get(&format!("/{team}/-/login?shell=db-1"), &[]).await;
        let authorize = sent.header("location").unwrap().strip_prefix(&self.origin()).unwrap().to_owned();
        let page = self.get(&authorize, login).await;
        let (nonce, own) = (cookie_of(&sent), self.origin());
        let headers = [("Cookie", nonce.as_str()), ("Origin", own.as_str())];
        let body = form(field(&page.body, "ticket"), "db-1");
        let reply = gateway.send(&format!("POST /{team}/-/session"), &headers, &body).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        cookie_of(&reply)
    }

    /// The shells that are listed, of these namespaces alone: other tests have theirs.
    async fn listed(&self, cookie: &str, namespaces: &[&str]) -> Vec<String> {
        let reply = self.get("/-/shells", cookie).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let list: Value = serde_json::from_str(&reply.body).unwrap();
        let shells = list["shells"].as_array().unwrap().iter();
        shells
            .filter(|shell| namespaces.contains(&shell["namespace"].as_str().unwrap()))
            .map(|shell| shell["url"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until the portal has seen a WebShell, as one who may open everything.
    async fn sees(&self, namespace: &str, name: &str, cookie: &str) {
        let url = self.route().url(namespace, name);
        eventually("the WebShell in the list", async || {
            self.listed(cookie, &[namespace]).await.contains(&url).then_some(())
        })
        .await;
    }

    /// The keys that it has published, as a gateway gets them.
    async fn keys(&self) -> String {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let published = config_maps.get("webshell-portal-keys").await.unwrap();
        let keys: Vec<Value> =
            published.data.unwrap().values().map(|text| serde_json::from_str(text).unwrap()).collect();
        json!({"keys": keys}).to_string()
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_token_made_for_webshell_logs_in_and_no_other() {
    let stage = Stage::set().await;
    let people = ApiServer::shared().await.namespace().await;
    create_account(&stage.client, &people, "ada").await;
    assert_eq!(stage.get("/-/session", "").await.body, "{\"tokenAudience\":\"webshell.dev\",\"user\":null}");
    assert_eq!(stage.get("/-/shells", "").await.status, 401);

    let good = token(&stage.client, &people, "ada", &["webshell.dev"]).await;
    let for_api = token(&stage.client, &people, "ada", &[]).await;
    let for_other = token(&stage.client, &people, "ada", &["vault"]).await;
    let altered = format!("{}AAAA", good.split_at(good.len() - 4).0);
    for (what, token) in
        [("the API's", &for_api), ("another's", &for_other), ("altered", &altered), ("empty", &String::new())]
    {
        let reply = stage.log_in(token).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{what}");
        assert!(reply.body.contains("kubectl create token SERVICEACCOUNT --audience webshell.dev"), "{}", reply.body);
    }
    let body = json!({"token": good}).to_string();
    let port = stage.address.port();
    for origin in ["null", "http://evil.test", "http://team-a.shell.test", "https://shell.test", "http://shell.test"] {
        assert_eq!(stage.send("POST /-/login", &[("Origin", origin)], &body).await.status, 403, "{origin}");
    }
    assert_eq!(
        stage.send("POST /-/login", &[("Origin", &format!("http://team-a.shell.test:{port}"))], &body).await.status,
        403
    );
    assert_eq!(stage.send("POST /-/login", &[], &body).await.status, 403);
    let own = stage.origin();
    assert_eq!(stage.send("POST /-/login", &[("Origin", &own)], "token").await.status, 400);
    assert_eq!(stage.send("POST /-/login", &[("Origin", &own)], &"x".repeat(32 * 1024)).await.status, 413);
    assert_eq!(stage.send("GET /-/login", &[], "").await.status, 405);

    let reply = stage.log_in(&good).await;
    assert_eq!(reply.status, 204, "{}", reply.body);
    let set = reply.header("set-cookie").unwrap();
    assert!(set.contains("; Path=/; Max-Age=28800; HttpOnly; SameSite=Lax"), "{set}");
    let cookie = cookie_of(&reply);
    let session: Value = serde_json::from_str(&stage.get("/-/session", &cookie).await.body).unwrap();
    assert_eq!(session["user"], format!("system:serviceaccount:{people}:ada"));

    assert_eq!(stage.send("POST /-/logout", &[("Cookie", &cookie)], "").await.status, 403);
    assert_eq!(stage.send("POST /-/logout", &[("Cookie", &cookie), ("Origin", &own)], "").await.status, 204);
    assert_eq!(stage.get("/-/shells", &cookie).await.status, 401);
    let metrics = stage.admin("/metrics").await.body;
    assert!(metrics.contains("webshell_logins_total{outcome=\"refused\"} 4\n"), "{metrics}");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_list_shows_what_rbac_allows() {
    let stage = Stage::set().await;
    let server = ApiServer::shared().await;
    let (people, one, all, none) =
        (server.namespace().await, server.namespace().await, server.namespace().await, server.namespace().await);
    for account in ["ada", "ben"] {
        create_account(&stage.client, &people, account).await;
    }
    share(&stage.client, &one, Some("db-1"), &people, "ada").await;
    share(&stage.client, &all, None, &people, "ada").await;
    for (namespace, name) in [(&one, "db-1"), (&one, "db-2"), (&all, "a"), (&all, "b"), (&none, "web")] {
        create_shell(&stage.client, namespace, name).await;
    }
    let ada = stage.cookie(&people, "ada").await;
    stage.sees(&all, "b", &ada).await;
    stage.sees(&one, "db-1", &ada).await;
    let mut listed = stage.listed(&ada, &[&one, &all, &none]).await;
    listed.sort();
    let mut expected =
        vec![stage.route().url(&one, "db-1"), stage.route().url(&all, "a"), stage.route().url(&all, "b")];
    expected.sort();
    assert_eq!(listed, expected);
    let ben = stage.cookie(&people, "ben").await;
    assert_eq!(stage.listed(&ben, &[&one, &all, &none]).await, Vec::<String>::new());
    // No namespace learns who somebody is who has nothing there.
    let nonce = "0".repeat(64);
    for (namespace, shell, cookie, status) in [
        (&one, "db-1", &ada, 200),
        (&one, "db-2", &ada, 403),
        (&none, "web", &ada, 403),
        (&one, "db-1", &ben, 403),
        (&all, "gone", &ada, 403),
    ] {
        let path = format!("/-/authorize?namespace={namespace}&shell={shell}&nonce={nonce}");
        let reply = stage.get(&path, cookie).await;
        assert_eq!((reply.status, reply.body.contains("name=\"ticket\"")), (status, status == 200), "{path}");
    }
    // Its readiness follows the resource.
    let ready = json!({"status": {"target": "10.0.4.12:22", "conditions": [{
        "type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let shells: Api<WebShell> = Api::namespaced(stage.client.clone(), &all);
    shells.patch_status("a", &PatchParams::default(), &Patch::Merge(&ready)).await.unwrap();
    eventually("the shell, shown as ready", async || {
        let list: Value = serde_json::from_str(&stage.get("/-/shells", &ada).await.body).unwrap();
        let shell = list["shells"].as_array().unwrap().iter().find(|shell| shell["url"] == expected_url(&stage, &all));
        let shell = shell.unwrap();
        (shell["ready"] == true && shell["target"] == "10.0.4.12:22").then_some(())
    })
    .await;
    let left: Value = serde_json::from_str(&stage.get("/-/shells", &ada).await.body).unwrap();
    let other =
        left["shells"].as_array().unwrap().iter().find(|shell| shell["name"] == "b" && shell["namespace"] == all);
    assert_eq!(other.unwrap()["message"], "It was not looked at yet");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn an_authorizer_is_told_all_that_a_token_says_of_its_user() {
    let stage = Stage::set().await;
    let server = ApiServer::shared().await;
    let (people, team) = (server.namespace().await, server.namespace().await);
    create_account(&stage.client, &people, "ada").await;
    share(&stage.client, &team, Some("db-1"), &people, "ada").await;
    create_shell(&stage.client, &team, "db-1").await;
    let ada = stage.cookie(&people, "ada").await;
    stage.sees(&team, "db-1", &ada).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), &people);
    let uid = accounts.get("ada").await.unwrap().metadata.uid.unwrap();
    let user = format!("system:serviceaccount:{people}:ada");
    let mut reviews = server.access_reviews(&team);
    reviews.retain(|review| review["user"] == user);
    assert!(reviews.iter().any(|review| review["resourceAttributes"]["name"] == "db-1"), "{reviews:?}");
    for review in reviews {
        assert_eq!(review["uid"], uid, "{review}");
        // By which one token is told from another.
        let credential = review["extra"]["authentication.kubernetes.io/credential-id"][0].as_str();
        assert!(credential.is_some_and(|id| id.starts_with("JTI=")), "{review}");
    }
}

fn expected_url(stage: &Stage, namespace: &str) -> String {
    stage.route().url(namespace, "a")
}

/// The value of a field of the form on a page.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).expect(page);
    rest.split('"').next().unwrap()
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_whole_way_leads_from_a_token_to_a_terminal() {
    let stage = Stage::set().await;
    let server = ApiServer::shared().await;
    let (people, team) = (server.namespace().await, server.namespace().await);
    create_account(&stage.client, &people, "ada").await;
    share(&stage.client, &team, None, &people, "ada").await;
    create_shell(&stage.client, &team, "db-1").await;
    let trust = Trust::new(&stage.config.gateway_settings(&team, &stage.namespace), &stage.keys().await).unwrap();
    let told = watch::channel(Arc::new(trust)).1;
    let auth = Auth::Portal(Arc::new(PortalLogins::new(team.clone(), told.clone()).unwrap()));
    let mut catalog: Catalog = shell_at("127.0.0.1:9".parse().unwrap());
    let (_, mut entry) = catalog.shells.pop_first().unwrap();
    entry.key = webshell::catalog::ShellKey { namespace: team.clone(), name: "db-1".into() };
    catalog.shells.insert(entry.key.clone(), entry);
    let gateway = Site::start_as(catalog, auth, Origins::told(told)).await;
    let gateway_origin = stage.route().origin(&team);

    // The browser opens the shell, and is sent to log in.
    let sent = gateway.get(&format!("/{team}/db-1/"), &[]).await;
    let sent = gateway.get(sent.header("location").unwrap(), &[]).await;
    let nonce_cookie = cookie_of(&sent);
    let authorize = sent.header("location").unwrap().strip_prefix(&stage.origin()).unwrap().to_owned();
    let page = stage.get(&authorize, "").await;
    assert_eq!((page.status, page.body.contains("name=\"ticket\"")), (200, false), "a log-in, and no ticket");
    let ada = stage.cookie(&people, "ada").await;
    stage.sees(&team, "db-1", &ada).await;

    // Logged in, the same address has the ticket, in a form for that gateway.
    let page = stage.get(&authorize, &ada).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.header("referrer-policy"), Some("strict-origin"));
    assert!(page.header("content-security-policy").unwrap().contains(&format!("form-action 'self' {gateway_origin};")));
    assert!(page.body.contains(&format!("action=\"{gateway_origin}/{team}/-/session\"")), "{}", page.body);
    let ticket = field(&page.body, "ticket");
    let posted = |cookie: String, ticket: String| {
        let headers = [("Cookie".to_owned(), cookie), ("Origin".to_owned(), stage.origin())];
        let body = form(&ticket, "db-1");
        let (gateway, team) = (&gateway, &team);
        async move {
            let headers = headers.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
            gateway.send(&format!("POST /{team}/-/session"), &headers, &body).await
        }
    };
    let reply = posted(nonce_cookie.clone(), ticket.to_owned()).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, Some(format!("/{team}/db-1/").as_str())),
        "{}",
        reply.body
    );
    let session = cookie_of(&reply);
    assert_eq!(posted(nonce_cookie, ticket.to_owned()).await.status, 401, "a ticket works once");

    let who = gateway.get(&format!("/{team}/-/session"), &[("Cookie", &session)]).await;
    let who: Value = serde_json::from_str(&who.body).unwrap();
    assert_eq!(who["user"], format!("system:serviceaccount:{people}:ada"));
    let terminal =
        gateway.open(&format!("/{team}/db-1/ws"), &[("Cookie", &session), ("Origin", &gateway_origin)]).await;
    assert_eq!(terminal.status, 101);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn log_out_at_the_portal_reaches_every_gateway() {
    let stage = Stage::set().await;
    let server = ApiServer::shared().await;
    let people = server.namespace().await;
    for account in ["ada", "ben"] {
        create_account(&stage.client, &people, account).await;
    }
    let (ada, ben) = (stage.cookie(&people, "ada").await, stage.cookie(&people, "ben").await);
    let demo = Demo::start(&CancellationToken::new()).await.unwrap();
    let mut gateways = Vec::new();
    for _ in 0..2 {
        let team = server.namespace().await;
        for (role, account) in [("connect-ada", "ada"), ("connect-ben", "ben")] {
            share_as(role, &stage.client, &team, None, &people, account).await;
        }
        create_shell(&stage.client, &team, "db-1").await;
        stage.sees(&team, "db-1", &ada).await;
        let trust = Trust::new(&stage.config.gateway_settings(&team, &stage.namespace), &stage.keys().await).unwrap();
        // The Service's name means nothing outside of a cluster.
        let service = Some(stage.address.to_string());
        let told = watch::channel(Arc::new(Trust { service, ..trust })).1;
        let auth = Auth::Portal(Arc::new(PortalLogins::new(team.clone(), told.clone()).unwrap()));
        let mut catalog = demo_shell(&demo);
        let (_, mut entry) = catalog.shells.pop_first().unwrap();
        entry.key = webshell::catalog::ShellKey { namespace: team.clone(), name: "db-1".into() };
        catalog.shells.insert(entry.key.clone(), entry);
        gateways.push((Site::start_as(catalog, auth, Origins::told(told)).await, team));
    }
    let mut terminals = Vec::new();
    for (gateway, team) in &gateways {
        for login in [&ada, &ben] {
            let cookie = stage.log_in_at(gateway, team, login).await;
            let origin = stage.route().origin(team);
            let headers = [("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
            let opened = gateway.open(&format!("/{team}/db-1/ws"), &headers).await;
            assert_eq!(opened.status, 101);
            let mut socket = ClientBuilder::new().take_over(opened.stream);
            socket.send(Message::text("echo sum $((40 + 2))\n")).await.unwrap();
            read_to(&mut socket, "sum 42").await;
            terminals.push((socket, cookie));
        }
    }

    let own = stage.origin();
    assert_eq!(stage.send("POST /-/logout", &[("Cookie", &ada), ("Origin", &own)], "").await.status, 204);
    let [(ada_a, cookie_a), (ben_a, ben_cookie), (ada_b, cookie_b), (ben_b, _)] = &mut terminals[..] else { panic!() };
    for terminal in [ada_a, ada_b] {
        assert_eq!(read_to(terminal, "never shown").await, Some((4210, "logged-out".to_owned())));
    }
    for ((gateway, team), cookie) in gateways.iter().zip([cookie_a, cookie_b]) {
        assert_eq!(gateway.get(&format!("/{team}/-/session"), &[("Cookie", cookie)]).await.status, 401);
    }
    // Nobody else's.
    let (gateway, team) = &gateways[0];
    assert_eq!(gateway.get(&format!("/{team}/-/session"), &[("Cookie", ben_cookie)]).await.status, 200);
    for terminal in [ben_a, ben_b] {
        terminal.send(Message::text("echo product $((6 * 7))\n")).await.unwrap();
        assert_eq!(read_to(terminal, "product 42").await, None);
    }

    // Browsers have no way there.
    let question = json!({"nonce": "0".repeat(32), "sids": ["0".repeat(32)]}).to_string();
    assert_eq!(stage.send("POST /-/ended", &[], &question).await.status, 404);
    let ask = async |body: &str| {
        let request = request_text("POST /-/ended", &[("Host", "webshell-portal.webshell.svc")], body);
        exchange(TcpStream::connect(stage.address).await.unwrap(), &request).await.status
    };
    assert_eq!(ask(&question).await, 200);
    assert_eq!(ask("{}").await, 400);
    assert_eq!(ask(&"x".repeat(65 * 1024)).await, 413);
}

/// Reads from a raw terminal until something is there; the close where that comes first.
async fn read_to(socket: &mut WebSocketStream<TcpStream>, wanted: &str) -> Option<(u16, String)> {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        let message = timeout(PATIENCE, socket.next()).await.expect("a message").unwrap().unwrap();
        if let Some((code, reason)) = message.as_close() {
            return Some((u16::from(code), reason.to_owned()));
        }
        seen.push_str(message.as_text().unwrap_or_default());
    }
    None
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_right_counts_as_soon_as_it_is_given() {
    let stage = Stage::set().await;
    let server = ApiServer::shared().await;
    let (people, team) = (server.namespace().await, server.namespace().await);
    for account in ["ada", "ben"] {
        create_account(&stage.client, &people, account).await;
    }
    create_shell(&stage.client, &team, "db-1").await;
    let ben = stage.cookie(&people, "ben").await;
    let authorize = format!("/-/authorize?namespace={team}&shell=db-1&nonce={}", "a".repeat(64));
    assert_eq!(stage.get(&authorize, &ben).await.status, 403);
    share(&stage.client, &team, None, &people, "ben").await;
    // Sooner than the list forgets what it was told.
    let opens = async || (stage.get(&authorize, &ben).await.status != 403).then_some(());
    timeout(BELIEVED / 2, eventually("ben may open the shell", opens)).await.unwrap();
    let ada = stage.cookie(&people, "ada").await;
    assert_eq!(stage.get(&authorize, &ada).await.status, 403, "nobody else may");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn keys_are_published_once_and_those_of_the_dead_are_swept() {
    let server = ApiServer::shared().await;
    let stage = Stage::set().await;
    let config_maps: Api<ConfigMap> = Api::namespaced(server.client(), &stage.namespace);
    let published = config_maps.get("webshell-portal-keys").await.unwrap();
    let (first, _) = published.data.clone().unwrap().pop_first().unwrap();
    let ends = |config_map: &ConfigMap| -> u64 {
        let kid = first.strip_suffix(".json").unwrap();
        config_map.metadata.annotations.as_ref().unwrap()[&format!("ends.webshell.dev/{kid}")].parse().unwrap()
    };
    let stale = json!({
        "metadata": {"annotations": {"ends.webshell.dev/dead": "1000"}},
        "data": {"dead.json": "{}", "other": "somebody else's"},
    });
    config_maps.patch("webshell-portal-keys", &PatchParams::default(), &Patch::Merge(&stale)).await.unwrap();

    // The same pod's next process, which has a key of its own, and has the last one's end in time.
    let listener = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let portal = Portal {
        config: stage.config.clone(),
        client: server.client(),
        watcher: server.client(),
        namespace: stage.namespace.clone(),
        pod: "webshell-portal-0".to_owned(),
        listener: listener().await,
        admin: listener().await,
        stop: stop.clone(),
    };
    stage.stop.cancel();
    let running = tokio::spawn(portal.run());
    let left = eventually("another key, and none of the dead", async || {
        let config_map = config_maps.get("webshell-portal-keys").await.unwrap();
        let data = config_map.data.as_ref().unwrap();
        (!data.contains_key("dead.json") && data.len() == 3 && data.contains_key("other")).then_some(config_map)
    })
    .await;
    assert!(ends(&left) + 23 * 3600 < ends(&published), "{left:?}");
    stop.cancel();
    timeout(PATIENCE, running).await.expect("the portal's end").unwrap().unwrap();
}

/// An address that was free a moment ago.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_command_serves_logs_no_token_and_stops_when_told() {
    let server = ApiServer::shared().await;
    let (namespace, people) = (server.namespace().await, server.namespace().await);
    create_account(&server.client(), &people, "ada").await;
    let (address, admin) = (free_address().await, free_address().await);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    let port = address.port();
    let settings = format!(
        "gateway: {{image: x}}\nroute: {{kind: None, mode: Path, host: shell.test, scheme: http, port: {port}}}\n"
    );
    std::fs::write(&config, settings).unwrap();
    let process = tokio::process::Command::new(env!("CARGO_BIN_EXE_webshell"))
        .args(["portal", "--log-level", "trace", "--namespace", &namespace, "--pod-name", "webshell-portal-0"])
        .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
        .arg("--config")
        .arg(&config)
        .env("KUBECONFIG", server.kubeconfig())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("a portal that is ready", async || {
        let stream = TcpStream::connect(admin).await.ok()?;
        (exchange(stream, "GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n").await.status == 200).then_some(())
    })
    .await;

    let good = token(&server.client(), &people, "ada", &["webshell.dev"]).await;
    let bad = "a-canary-that-is-no-token";
    let host = format!("shell.test:{port}");
    let origin = format!("http://{host}");
    for (token, status) in [(good.as_str(), 204), (bad, 401)] {
        let body = json!({"token": token}).to_string();
        let request = request_text("POST /-/login", &[("Host", &host), ("Origin", &origin)], &body);
        let reply = exchange(TcpStream::connect(address).await.unwrap(), &request).await;
        assert_eq!(reply.status, status, "{}", reply.body);
        if status == 204 {
            let cookie = reply.header("set-cookie").unwrap();
            assert!(cookie.starts_with("webshell=") && cookie.contains("; Path=/;"), "{cookie}");
        }
    }
    let pid = rustix::process::Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = timeout(PATIENCE, process.wait_with_output()).await.expect("the portal's end").unwrap();
    let logs = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{logs}");
    assert!(logs.contains("somebody logged in") && logs.contains("a log-in was refused"), "{logs}");
    let signature = good.rsplit('.').next().unwrap();
    assert!(!logs.contains(signature) && !logs.contains(bad), "{logs}");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn who_tries_tokens_out_shuts_nobody_out() {
    let stage = Stage::set().await;
    let people = ApiServer::shared().await.namespace().await;
    create_account(&stage.client, &people, "ada").await;
    for number in 0..40 {
        assert_eq!(stage.log_in(&format!("no-token-{number}")).await.status, 401);
    }
    assert_eq!(stage.log_in("no-token-0").await.status, 401, "known again");
    stage.cookie(&people, "ada").await;
    let many = (0..40).map(|number| format!("none-either-{number}")).collect::<Vec<_>>();
    let wrong = futures_util::future::join_all(many.iter().map(|token| stage.log_in(token)));
    let (wrong, _) = tokio::join!(wrong, stage.cookie(&people, "ada"));
    assert!(wrong.iter().all(|reply| reply.status == 401));
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn health_is_answered_whatever_else_is_open() {
    allow_many_sockets();
    let stage = Stage::set().await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(stage.admin).await.unwrap());
    }
    assert_eq!((stage.admin("/healthz").await.status, stage.admin("/readyz").await.status), (200, 200));
    for _ in 0..2100 {
        idle.push(TcpStream::connect(stage.address).await.unwrap());
    }
    assert_eq!(stage.get("/", "").await.status, 200, "the page, too");
}
