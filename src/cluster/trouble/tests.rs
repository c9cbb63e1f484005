//! Each bad cluster has a name and a remedy.

use super::*;

const AT: &str = "https://192.0.2.1:6443";

fn io(kind: io::ErrorKind) -> kube::Error {
    // As the connector hands it up: wrapped, and hidden from `source`.
    kube::Error::Service(Box::new(io::Error::other(io::Error::from(kind))))
}

fn tls(error: rustls::Error) -> kube::Error {
    kube::Error::Service(Box::new(io::Error::other(error)))
}

fn answer(code: u16, message: &str) -> kube::Error {
    let status = serde_json::json!({"status": "Failure", "code": code, "message": message, "reason": ""});
    kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
}

fn words(error: &kube::Error) -> String {
    Trouble::of(error).state(AT, None).to_string()
}

#[test]
fn every_cause_says_what_and_where_and_what_to_do() {
    let certificate = |why| tls(rustls::Error::InvalidCertificate(why));
    let elapsed = tower::timeout::error::Elapsed::new();
    let cases = [
        (io(io::ErrorKind::ConnectionRefused), "refused", "start the API server"),
        (io(io::ErrorKind::TimedOut), "no connection", "firewall"),
        (io(io::ErrorKind::UnexpectedEof), "closes our connections", "load balancer"),
        (kube::Error::Service(Box::new(elapsed)), "no answer within 15s", "etcd"),
        (certificate(CertificateError::Expired), "has expired", "renew it"),
        (certificate(CertificateError::UnknownIssuer), "certificate authority", "new kubeconfig"),
        (certificate(CertificateError::NotValidForName), "another name", "tls-server-name"),
        (certificate(CertificateError::NotValidYet), "not valid yet", "clocks"),
        (tls(rustls::Error::DecryptError), "TLS", "address in the kubeconfig"),
        (answer(401, "Unauthorized"), "does not accept our credentials", "read again by itself"),
        (answer(403, "cannot get /version"), "cannot get /version", "deploy/rbac.yaml"),
        (answer(503, "etcd"), "answers 503", "/readyz"),
        (answer(429, "slow down"), "too many requests", "who sends them"),
    ];
    for (error, what, remedy) in cases {
        let said = words(&error);
        for part in [what, AT, remedy] {
            assert!(said.contains(part), "{part:?} in {said:?}");
        }
    }
}

#[test]
fn an_outage_says_since_when_if_the_cluster_ever_answered() {
    let since = "2026-01-02T03:04:05Z".parse().unwrap();
    let refused = Trouble::of(&io(io::ErrorKind::ConnectionRefused));
    assert!(
        refused
            .clone()
            .state(AT, Some(since))
            .to_string()
            .starts_with("unreachable since 2026-01-02T03:04:05Z: ")
    );
    assert!(refused.state(AT, None).to_string().starts_with("unreachable: "));
}

#[test]
fn a_watch_that_finds_no_definition_or_no_right_counts_at_once_and_any_other_has_to_last() {
    let failed = |code| watcher::Error::InitialListFailed(answer(code, "no"));
    assert_eq!(Trouble::of_watch("polkadots", &failed(404)), (Trouble::NoCrd, true));
    assert!(!Trouble::of_watch("pods", &failed(404)).1);
    assert!(matches!(Trouble::of_watch("pods", &failed(401)), (Trouble::Unauthorized(_), true)));
    let (forbidden, at_once) = Trouble::of_watch("pods", &failed(403));
    assert!(at_once && forbidden.state(AT, None).to_string().contains("cannot list and watch pods"));
    assert!(!Trouble::of_watch("pods", &failed(500)).1);
}

#[test]
fn a_crd_that_may_not_be_installed_names_the_right_and_the_role() {
    let refused = answer(403, "User \"u\" cannot patch resource \"customresourcedefinitions\"");
    let said = ClusterState::NoCrd(Some(not_installed(&refused, AT))).to_string();
    for part in [
        "CRD is not installed, and cannot be",
        "customresourcedefinitions",
        AT,
        "polkafleet-crd",
        "kubectl apply",
    ] {
        assert!(said.contains(part), "{part:?} in {said:?}");
    }
    assert!(not_installed(&answer(503, "etcd"), AT).contains("tried again"));
}

#[test]
fn what_cannot_be_asked_says_where_first_and_what_to_do_last() {
    let missing = super::super::exec::Error::Start(
        "aws".into(),
        io::Error::from(io::ErrorKind::NotFound),
        " (see the handbook)".into(),
    );
    let error = super::super::connect::Error::from(missing);
    let said = Trouble::NoClient(error.to_string()).state("context prod", None).to_string();
    let expected = "unreachable: context prod: the exec plugin of the kubeconfig gives no credentials: \"aws\" cannot be run \
                    (entity not found); install it where polkafleet runs, or give its whole path in the kubeconfig (see the \
                    handbook)";
    assert_eq!(said, expected);
    let outside = super::super::connect::Error::InCluster(
        kube::config::InClusterError::ReadEnvironmentVariable(std::env::VarError::NotPresent),
    );
    assert!(outside.to_string().contains("give the cluster a context of a kubeconfig"), "{outside}");
}

#[test]
fn only_where_an_https_proxy_is_on_the_way_it_may_be_whose_authority_is_missing() {
    let unknown = Trouble::of(&tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)));
    let said = |way: &str| unknown.clone().state(&format!("{AT}{way} (context prod)"), None).to_string();
    let by = said(&by_way_of("https://proxy:3128"));
    for part in ["or the proxy's certificate", "https://proxy:3128", "into certificate-authority-data beside"]
    {
        assert!(by.contains(part), "{part:?} in {by}");
    }
    for other in [said(""), said(&by_way_of("http://proxy:3128"))] {
        assert!(other.contains("is not signed by") && !other.contains("proxy's"), "{other}");
    }
}

#[test]
fn that_a_cluster_stands_twice_in_the_file_is_the_same_news_however_often_it_answers() {
    let twice = |second| Trouble::Twice("other".into()).state(AT, Timestamp::from_second(second).ok());
    assert_eq!(twice(1), twice(2));
    let refused = |second| Trouble::Refused.state(AT, Timestamp::from_second(second).ok());
    assert_ne!(refused(1), refused(2));
}
