//! The proxies that a kubeconfig names are gone through, and those that cannot be are named.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::real_servers::{edit, fails, world};
use super::workers::{VERSION, says};
use crate::support::daemon::{Daemon, command};

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_a_kubeconfig_is_used_and_that_of_the_environment_breaks_nothing() {
    goes_through("http", "me:secret@").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks_proxy_is_used_as_of_an_ssh_session() {
    goes_through("socks5", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_proxy_is_used_where_its_authority_stands_beside_the_clusters() {
    goes_through("https", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_proxy_takes_the_place_of_the_first_one_without_a_new_session() {
    let (first, second) = (Proxy::start("http").await, Proxy::start("http").await);
    let Some(world) = world(|cluster, _| cluster["proxy-url"] = json!(first.url())).await else { return };
    let daemon = world.settles(2, VERSION).await;
    edit(&world, |cluster, _| cluster["proxy-url"] = json!(second.url()));
    says(&daemon, &["New credentials are in use"]).await;
    assert!(second.used.load(Ordering::SeqCst) > 0);
    assert!(!daemon.said().contains("leads to another API server"), "{}", daemon.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_proxy_of_another_authority_is_named_and_where_that_has_to_stand() {
    let proxy = Proxy::start("https").await;
    let to = [&proxy.url(), " is not signed by", "into certificate-authority-data beside the cluster's"];
    fails(&to, |cluster, _| cluster["proxy-url"] = json!(proxy.url())).await;
    assert_eq!(proxy.used.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_be_used_is_named_without_its_password_and_with_what_can() {
    let words = [
        "proxy-url \\\"ftp://127.0.0.1:3128\\\"",
        "write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT",
    ];
    fails(&words, |cluster, _| cluster["proxy-url"] = json!("ftp://me:secret@127.0.0.1:3128")).await;
}

/// The second cluster is reached through a proxy, of which no password is told.
async fn goes_through(scheme: &'static str, user: &str) {
    let proxy = Proxy::start(scheme).await;
    let changed = |cluster: &mut Value, _: &mut Value| {
        cluster["proxy-url"] = json!(proxy.url().replace("://", &format!("://{user}")));
        let authorities = cluster["certificate-authority-data"].as_str().unwrap();
        let mut authorities = STANDARD.decode(authorities).unwrap();
        authorities.extend(proxy.certificate.as_bytes());
        cluster["certificate-authority-data"] = json!(STANDARD.encode(authorities));
    };
    let Some(world) = world(changed).await else { return };
    world.write_fleet(2, &json!({}));
    world.fill(VERSION).await;
    let daemon = in_an_environment(world.fleet_file(), "HTTPS_PROXY", "proxy.invalid:3128");
    for member in &world.members {
        member.settles_at(VERSION).await;
    }
    assert!(proxy.used.load(Ordering::SeqCst) > 0);
    assert!(!daemon.said().contains("secret"), "{}", daemon.said());
}

/// The daemon as a process with one more variable in its environment.
fn in_an_environment(fleet: PathBuf, name: &str, value: &str) -> Daemon {
    let log = fleet.with_extension("log");
    let out = std::fs::File::create(&log).unwrap();
    let mut command = command();
    command.env(name, value).args(["run", "--fleet"]).arg(fleet);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out).spawn().unwrap();
    Daemon::Process { child, log }
}

/// A proxy that knows what is needed and no more; it ends with the test's runtime.
struct Proxy {
    scheme: &'static str,
    port: u16,
    /// Its own certificate, which only an HTTPS proxy shows.
    certificate: String,
    /// How often it was told where to go.
    used: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(scheme: &'static str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let ring = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let used = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&used);
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                let (tls, used) = (tls.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    match scheme {
                        "https" => pass(scheme, tls.accept(inbound).await?, &used).await,
                        _ => pass(scheme, inbound, &used).await,
                    }
                });
            }
        });
        Self { scheme, port, certificate, used }
    }

    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }
}

/// Hears where to go, goes there, and passes on what either side says.
async fn pass(
    scheme: &str,
    mut inbound: impl AsyncRead + AsyncWrite + Unpin,
    used: &AtomicUsize,
) -> std::io::Result<(u64, u64)> {
    let (to, yes): (_, &[u8]) = match scheme {
        "socks5" => (asked_of_socks(&mut inbound).await?, b"\x05\0\0\x01\0\0\0\0\0\0"),
        _ => (asked_to_connect(&mut inbound).await?, b"HTTP/1.1 200 OK\r\n\r\n"),
    };
    used.fetch_add(1, Ordering::SeqCst);
    let mut outbound = TcpStream::connect(to).await?;
    inbound.write_all(yes).await?;
    tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await
}

/// Where to, by HTTP's CONNECT.
async fn asked_to_connect(inbound: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<String> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(inbound.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("CONNECT "), "{head}");
    Ok(head.split_whitespace().nth(1).unwrap_or_default().to_owned())
}

/// Where to, by SOCKS 5 without a password (RFC 1928).
async fn asked_of_socks(inbound: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<String> {
    let mut methods = vec![0; 2];
    inbound.read_exact(&mut methods).await?;
    methods.resize(usize::from(methods[1]), 0);
    inbound.read_exact(&mut methods).await?;
    inbound.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    inbound.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0], "CONNECT");
    let host = if request[3] == 1 {
        std::net::Ipv4Addr::from(inbound.read_u32().await?).to_string()
    } else {
        let mut name = vec![0; usize::from(inbound.read_u8().await?)];
        inbound.read_exact(&mut name).await?;
        String::from_utf8(name).unwrap()
    };
    Ok(format!("{host}:{}", inbound.read_u16().await?))
}
