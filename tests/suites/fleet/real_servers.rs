//! What only a real API server has, TLS and rights: every way of a kubeconfig to say who we are and how to get there
//! works, and what is wrong with it is named.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use base64::Engine as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::workers::{VERSION, is_looked_after, says, twenty_changes};
use crate::support::daemon::Daemon;
use crate::support::planes::{self, Planes};
use crate::support::world::{Place, World};
use crate::support::{PATIENCE, eventually};
use crate::upgrade::commands::ask;

/// A world of two real clusters; the second one's entry in the kubeconfig is changed by `change`.
pub(super) async fn world(change: impl FnOnce(&mut Value, &mut Value)) -> Option<World> {
    let planes = planes::shared()?;
    let world = World::new(Place::Real(planes), 2).await;
    edit(&world, change);
    Some(world)
}

/// Edits the cluster and the user of the second member, as an editor does.
pub(super) fn edit(world: &World, change: impl FnOnce(&mut Value, &mut Value)) {
    let path = world.folder.path().join("kubeconfig");
    let mut kubeconfig: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut cluster = kubeconfig["clusters"][1]["cluster"].take();
    let mut user = kubeconfig["users"][1]["user"].take();
    change(&mut cluster, &mut user);
    kubeconfig["clusters"][1]["cluster"] = cluster;
    kubeconfig["users"][1]["user"] = user;
    let new = path.with_extension("new");
    std::fs::write(&new, kubeconfig.to_string()).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// The second cluster, as its kubeconfig now is, is looked after.
async fn works(change: impl FnOnce(&mut Value, &mut Value)) {
    let Some(world) = world(change).await else { return };
    let _daemon = world.settles(2, VERSION).await;
    is_looked_after(&world, &world.members[1]).await;
}

/// It is not: the daemon says all of `words`, and the first cluster takes twenty changes. When the kubeconfig is
/// as it was, the second one is looked after too.
pub(super) async fn fails(words: &[&str], change: impl FnOnce(&mut Value, &mut Value)) {
    let mut before = (Value::Null, Value::Null);
    let changed = |cluster: &mut Value, user: &mut Value| {
        before = (cluster.clone(), user.clone());
        change(cluster, user);
    };
    let Some(world) = world(changed).await else { return };
    world.write_fleet(2, &json!({}));
    world.fill(VERSION).await;
    let daemon = world.daemon();
    for words in words {
        says(&daemon, &[words]).await;
    }
    world.members[0].settles_at(VERSION).await;
    twenty_changes(&world, &world.members[0]).await;
    edit(&world, |cluster, user| (*cluster, *user) = before);
    world.members[1].settles_at(VERSION).await;
}

/// A server of the test's own, which ends with it.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn admin(planes: &Planes) -> Value {
    let file = planes.folder.join("cluster-2/admin.kubeconfig");
    let read: Value = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    read["users"][0]["user"].clone()
}

fn authority(planes: &Planes, number: usize) -> String {
    let pem = std::fs::read(planes.folder.join(format!("cluster-{number}/ca.crt"))).unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown() {
    let Some(planes) = planes::shared() else { return };
    works(|_, user| *user = admin(planes)).await;
}

/// In a mount namespace of its own, the daemon finds the files that a kubelet puts into every pod.
#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_of_the_pod_are_taken_where_the_file_says_in_cluster() {
    const OWN_MOUNTS: [&str; 3] = ["--user", "--map-root-user", "--mount"];
    let may = std::process::Command::new("unshare").args(OWN_MOUNTS).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this machine allows no mount namespace, in which a pod's files could be put");
        return;
    }
    let Some(world) = world(|_, _| {}).await else { return };
    let text = std::fs::read_to_string(world.folder.path().join("kubeconfig")).unwrap();
    let kubeconfig: Value = serde_json::from_str(&text).unwrap();
    let (cluster, user) = (&kubeconfig["clusters"][1]["cluster"], &kubeconfig["users"][1]["user"]);
    let pod = world.folder.path().join("serviceaccount");
    std::fs::create_dir(&pod).unwrap();
    let authority = cluster["certificate-authority-data"].as_str().unwrap();
    let authority = base64::engine::general_purpose::STANDARD.decode(authority).unwrap();
    std::fs::write(pod.join("ca.crt"), authority).unwrap();
    std::fs::write(pod.join("token"), user["token"].as_str().unwrap()).unwrap();
    std::fs::write(pod.join("namespace"), &world.namespace).unwrap();
    world.write_fleet(2, &json!({}));
    let mut fleet: Value =
        serde_yaml::from_str(&std::fs::read_to_string(world.fleet_file()).unwrap()).unwrap();
    let entry = fleet["clusters"][1].as_object_mut().unwrap();
    entry.remove("context");
    entry.remove("kubeconfig");
    entry.insert("inCluster".into(), json!(true));
    world.write_text(&serde_yaml::to_string(&fleet).unwrap());
    world.fill(VERSION).await;
    let server: http::Uri = cluster["server"].as_str().unwrap().parse().unwrap();
    let log = world.folder.path().join("pod.log");
    let there = "run=$(readlink -f /var/run); mount -t tmpfs pod \"$run\"; \
                 mkdir -p \"$run/secrets/kubernetes.io\"; \
                 cp -r \"$0\" \"$run/secrets/kubernetes.io/serviceaccount\"; exec \"$@\"";
    let child = std::process::Command::new("unshare")
        .args(OWN_MOUNTS)
        .args(["sh", "-ec", there])
        .arg(&pod)
        .args([env!("CARGO_BIN_EXE_polkafleet"), "run", "--fleet"])
        .arg(world.fleet_file())
        .env("KUBERNETES_SERVICE_HOST", server.host().unwrap())
        .env("KUBERNETES_SERVICE_PORT", server.port().unwrap().as_str())
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let _daemon = Daemon::Process { child, log };
    is_looked_after(&world, &world.members[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_checked_against_the_tls_server_name() {
    works(|cluster, _| cluster["tls-server-name"] = json!("localhost")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_named_so() {
    let words = ["is for another name", "set its tls-server-name"];
    fails(&words, |cluster, _| cluster["tls-server-name"] = json!("elsewhere.example")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_named_so() {
    let Some(planes) = planes::shared() else { return };
    let words = ["is not signed by the kubeconfig's certificate authority", "its new kubeconfig"];
    fails(&words, |cluster, _| cluster["certificate-authority-data"] = json!(authority(planes, 1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_named_so() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut made = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    made.not_before = rcgen::date_time_ymd(2020, 1, 1);
    made.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = made.self_signed(&key).unwrap().pem();
    let (certificate_file, key_file) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    std::fs::write(&certificate_file, &certificate).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let mut server = std::process::Command::new("openssl");
    server
        .args(["s_server", "-www", "-accept", "127.0.0.1:0", "-cert"])
        .arg(certificate_file)
        .arg("-key")
        .arg(key_file);
    let mut server =
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let said = server.stdout.take().unwrap();
    let _server = Ended(server);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(said));
    // Its pipe stays open, or it would end with its next word.
    let port = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:").map(str::to_owned))
        .unwrap();
    let authority = base64::engine::general_purpose::STANDARD.encode(certificate);
    let words = ["has expired", "renew it there"];
    fails(&words, |cluster, _| {
        *cluster = json!({
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority-data": authority,
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_answers_401_recovers_when_the_kubeconfig_is_rotated() {
    let words = ["does not accept our credentials", "it is read again by itself"];
    fails(&words, |_, user| *user = json!({"token": "nonsense"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_that_are_refused_take_nothing_away_and_are_told_in_the_status() {
    let Some(world) = world(|_, _| {}).await else { return };
    // A person has a kubeconfig of his own.
    let (good, mine) =
        (world.folder.path().join("kubeconfig"), world.folder.path().join("kubeconfig-of-a-person"));
    std::fs::copy(&good, &mine).unwrap();
    let daemon = world.settles(2, VERSION).await;
    let fleet = std::fs::read_to_string(world.fleet_file()).unwrap();
    let mut edition: Value = serde_yaml::from_str(&fleet).unwrap();
    for cluster in edition["clusters"].as_array_mut().unwrap() {
        cluster["kubeconfig"] = json!(mine);
    }
    let file = world.folder.path().join("edition.yaml");
    std::fs::write(&file, edition.to_string()).unwrap();
    let tells = async |is_told: bool| {
        let fleet = ["--fleet".to_owned(), file.display().to_string()];
        let words = "NEW CREDENTIALS DO NOT WORK, cluster cluster-2: its credentials could not be renewed";
        eventually(&format!("status says so: {is_told}"), PATIENCE, async || {
            let (code, said) = ask(&["status"], &fleet, &world).await;
            let right = if is_told { code == 3 } else { said.contains(" leads\n") };
            (right && said.contains(words) == is_told).then_some(())
        })
        .await;
    };
    let mut before = Value::Null;
    edit(&world, |_, user| before = std::mem::replace(user, json!({"token": "nonsense"})));
    says(&daemon, &["The credentials could not be renewed", "does not accept our credentials"]).await;
    tells(true).await;
    is_looked_after(&world, &world.members[1]).await;
    edit(&world, |_, user| *user = before);
    says(&daemon, &["New credentials are in use"]).await;
    tells(false).await;
}

/// A server tells its version to everybody: that is no sign that it knows us.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_nobody_do_not_take_the_place_of_good_ones() {
    let Some(world) = world(|_, _| {}).await else { return };
    let daemon = world.settles(2, VERSION).await;
    edit(&world, |_, user| *user = json!({}));
    says(&daemon, &["The credentials could not be renewed"]).await;
    says(&daemon, &["takes us for system:anonymous"]).await;
    is_looked_after(&world, &world.members[1]).await;
    assert!(!daemon.said().contains("forbidden: "), "{}", daemon.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_listens_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let words = ["connection refused by", "start the API server"];
    fails(&words, |cluster, _| cluster["server"] = json!(format!("https://127.0.0.1:{port}"))).await;
}

/// A queue of one that is full: packets of further connections are dropped, as by a firewall.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_swallows_packets_is_named_so() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = vec![];
    while let Ok(Ok(connection)) =
        tokio::time::timeout(std::time::Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queued.push(connection);
    }
    let words = ["no connection to", "packets are lost on the way"];
    fails(&words, |cluster, _| cluster["server"] = json!(format!("https://{address}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_while_another_takes_twenty_changes_and_its_return_is_noticed() {
    let Some(planes) = planes::shared() else { return };
    let world = World::new(Place::Real(planes), 2).await;
    let [well, ill] = &world.members[..] else { panic!() };
    world.write_fleet(2, &json!({}));
    world.fill(VERSION).await;
    let bindings: Api<RoleBinding> = Api::namespaced(ill.admin.clone(), &world.namespace);
    let mut binding = bindings.get("polkafleet").await.unwrap();
    bindings.delete("polkafleet", &DeleteParams::default()).await.unwrap();
    let daemon = world.daemon();
    says(&daemon, &["cannot list and watch"]).await;
    says(&daemon, &["see deploy/rbac.yaml"]).await;
    well.settles_at(VERSION).await;
    twenty_changes(&world, well).await;
    binding.metadata.resource_version = None;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    ill.settles_at(VERSION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_plugin_is_run_again_when_its_credential_no_longer_counts() {
    let script = "#!/bin/sh\nprintf '{\"apiVersion\": \"client.authentication.k8s.io/v1\", \
         \"kind\": \"ExecCredential\", \"status\": {\"token\": \"%s\"}}' \"$(cat \"$1\")\"\n";
    let folder = tempfile::tempdir().unwrap();
    let (plugin, token) = (folder.path().join("plugin"), folder.path().join("token"));
    std::fs::write(&plugin, script).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let changed = |_: &mut Value, user: &mut Value| {
        std::fs::write(&token, user["token"].as_str().unwrap()).unwrap();
        *user = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": plugin, "args": [token],
            "interactiveMode": "Never",
        }});
    };
    let Some(world) = world(changed).await else { return };
    let daemon = world.settles(2, VERSION).await;
    let member = &world.members[1];
    // An account that is made again is another one: the old token does not count any more.
    let accounts: Api<ServiceAccount> = Api::namespaced(member.admin.clone(), &world.namespace);
    accounts.delete("polkafleet", &DeleteParams::default()).await.unwrap();
    says(&daemon, &["does not accept our credentials"]).await;
    twenty_changes(&world, &world.members[0]).await;
    let account = serde_json::from_value(json!({"metadata": {"name": "polkafleet"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let issued = accounts.create_token_request("polkafleet", &PostParams::default(), &request).await.unwrap();
    std::fs::write(&token, issued.status.unwrap().token).unwrap();
    is_looked_after(&world, member).await;
    says(&daemon, &["New credentials are in use."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_plugin_that_fails_is_named_with_its_words() {
    let words = ["exec plugin of the kubeconfig gives no credentials", "no such session"];
    fails(&words, |_, user| {
        *user = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": ["-c", "echo no such session >&2; exit 3"], "interactiveMode": "Never",
        }});
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    works(|_, user| {
        std::fs::write(&token, user["token"].as_str().unwrap()).unwrap();
        *user = json!({"tokenFile": token});
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_in_a_file_is_followed_when_it_is_renewed() {
    let Some(planes) = planes::shared() else { return };
    let Some(world) = world(|_, user| *user = admin(planes)).await else { return };
    let beside = |name: &str, text: &[u8]| std::fs::write(world.folder.path().join(name), text).unwrap();
    edit(&world, |_, user| {
        let part = |name: &str| {
            let text = user[format!("client-{name}-data")].as_str().unwrap();
            base64::engine::general_purpose::STANDARD.decode(text).unwrap()
        };
        beside("client.crt", &part("certificate"));
        beside("client.key", &part("key"));
        *user = json!({"client-certificate": "client.crt", "client-key": "client.key"});
    });
    let daemon = world.settles(2, VERSION).await;
    assert!(!daemon.said().contains("New credentials are in use"));
    let mut renewed = b"# the same, renewed\n".to_vec();
    renewed.extend(std::fs::read(world.folder.path().join("client.crt")).unwrap());
    beside("client.crt", &renewed);
    says(&daemon, &["New credentials are in use", "kubeconfig has changed"]).await;
    is_looked_after(&world, &world.members[1]).await;
}
