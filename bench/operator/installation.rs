//! The chart, installed on an API server of its own, and namespaces with WebShells.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use kube::{
    Client, Config, Resource as _,
    api::DynamicObject,
    config::{KubeConfigOptions, Kubeconfig},
    core::ApiResource,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use webshell::{
    api::WebShell,
    controller::{build::NAME, kind::Kind},
    ticket::SigningKey,
};

use crate::{
    api_server::ApiServer,
    machine::output,
    plain::{Call, send_all},
    writes::kinds,
};

/// The namespace of controller and portals.
pub const SYSTEM: &str = "webshell-system";

/// The host of the portal; those of gateways are below it.
pub const HOST: &str = "shell.example.com";

/// How many WebShells a namespace has.
pub const SHELLS: usize = 10;

/// The Secret that WebShells name.
pub const SECRET: &str = "key";

/// An installation with as many namespaces.
pub struct Installation {
    pub server: ApiServer,
    /// Signs tickets, as a portal does.
    pub key: SigningKey,
    namespaces: usize,
    directory: TempDir,
}

impl Installation {
    /// Installs the chart with its defaults, and makes namespaces and WebShells.
    pub async fn start(namespaces: usize) -> Self {
        let server = ApiServer::start().await;
        let (key, directory) = (SigningKey::generate().unwrap(), tempfile::tempdir().unwrap());
        let installation = Self { server, key, namespaces, directory };
        let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let client = installation.server.client();
        send_all(&client, [Call::create("/api/v1/namespaces", &namespace(SYSTEM))]).await;
        installation.apply_chart();
        installation.write_account(SYSTEM, "webshell-controller");
        let key = installation.key.jwk();
        let keys = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "webshell-portal-keys"},
            "data": {format!("{}.json", key.kid): json!(key).to_string()},
        });
        let path = format!("/api/v1/namespaces/{SYSTEM}/configmaps/webshell-portal-keys");
        send_all(&client, [Call::apply(&path, "portal", &keys)]).await;
        let names = installation.namespaces();
        send_all(&client, names.map(|name| Call::create("/api/v1/namespaces", &namespace(&name)))).await;
        installation.make_shells(&client, namespaces).await;
        installation
    }

    fn apply_chart(&self) {
        let helm = Path::new(&env::var("WEBSHELL_KUBERNETES").unwrap()).join("helm");
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/webshell");
        let host = format!("route.host={HOST}");
        let options = ["--namespace", SYSTEM, "--no-hooks", "--set", "crds.install=false", "--set", &host];
        let objects = output(helm.to_str().unwrap(), &[&["template", "webshell", chart], &options[..]].concat());
        let file = self.file("chart.yaml");
        fs::write(&file, objects).unwrap();
        self.server.kubectl(&["apply", "--server-side", "--filename", file.to_str().unwrap()]).unwrap();
        let settings = ["--namespace", SYSTEM, "get", "configmap", "webshell-config", "--output"];
        let settings = self.server.kubectl(&[&settings[..], &["jsonpath={.data.config\\.yaml}"]].concat()).unwrap();
        fs::write(self.settings(), settings).unwrap();
    }

    /// The namespaces with WebShells.
    pub fn namespaces(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.namespaces).map(namespace)
    }

    /// The controller's settings.
    pub fn settings(&self) -> PathBuf {
        self.file("config.yaml")
    }

    /// A path for a file that goes with the installation.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration file of a client that is the controller.
    pub fn controller(&self) -> PathBuf {
        self.file("webshell-controller")
    }

    /// Writes the configuration file of a client that is a ServiceAccount, by its name.
    pub fn write_account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.server.kubectl(&["create", "token", "--duration=8h", "--namespace", namespace, name]);
        let admin = fs::read_to_string(self.server.kubeconfig()).unwrap();
        let (rest, _) = admin.split_once("\nusers:").unwrap();
        let file = self.file(name);
        fs::write(&file, format!("{rest}\nusers: [{{name: admin, user: {{token: {}}}}}]\n", token.unwrap())).unwrap();
        file
    }

    /// A client that is the controller.
    pub async fn controllers_client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.controller()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// Takes away all that a controller has made in the first so many namespaces, and makes their WebShells anew.
    pub async fn reset(&self, client: &Client, namespaces: usize) {
        let kinds: Vec<_> = kinds().map(Kind::resource).collect();
        let shells = ApiResource::erase::<WebShell>(&());
        let deletions = self.namespaces().take(namespaces).flat_map(|namespace| {
            let path = |resource| DynamicObject::url_path(resource, Some(&namespace));
            let objects = kinds.iter().map(|resource| format!("{}/{NAME}", path(resource)));
            objects.chain([path(&shells)]).map(|path| Call::delete(&path)).collect::<Vec<_>>()
        });
        send_all(client, deletions).await;
        self.make_shells(client, namespaces).await;
    }

    async fn make_shells(&self, client: &Client, namespaces: usize) {
        let resource = ApiResource::erase::<WebShell>(&());
        let shells = self.namespaces().take(namespaces).enumerate().flat_map(|(number, namespace)| {
            let path = DynamicObject::url_path(&resource, Some(&namespace));
            let target = move |shell| format!("10.{}.{}.{}", number / 250, number % 250, shell + 1);
            (0..SHELLS)
                .map(move |shell| Call::create(&path, &web_shell(&format!("db-{shell}"), &target(shell), 22, KEY)))
        });
        send_all(client, shells).await;
    }
}

/// A host key.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJyWtRqxlhuIzRUw6xhbAK7YHGlfPcFwD1FGLEkUDPLZ";

/// The name of a namespace with WebShells.
fn namespace(number: usize) -> String {
    format!("team-{number:04}")
}

/// A WebShell on a host with this key.
pub fn web_shell(name: &str, host: &str, port: u16, key: &str) -> Value {
    json!({
        "apiVersion": "webshell.dev/v1alpha1", "kind": "WebShell", "metadata": {"name": name},
        "spec": {
            "target": {"host": host, "port": port, "user": crate::sshd::Sshd::user()},
            "credentials": {"secretRef": {"name": SECRET}},
            "hostKey": {"knownHosts": format!("[{host}]:{port} {key}\n")},
        },
    })
}
