//! What is wrong with a cluster that cannot be looked after: from an error to a state, in words for whoever is woken by
//! it. Each says what, where, and what to do. Pure.

use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::watcher;
use rustls::CertificateError;

use crate::fleet::Connection;
use crate::observed::{ClusterState, Outage};

/// Between the address of an API server and the proxy on the way there.
const BY_WAY_OF: &str = " by way of ";
/// Against a certificate that does not fit the kubeconfig.
const NEW_KUBECONFIG: &str =
    "if the cluster was made anew, give polkafleet its new kubeconfig; else somebody else answers";

/// Why a cluster cannot be looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody listens there.
    Refused,
    /// No connection came about in time.
    BlackHoled,
    /// A request was taken, and no answer came within this time.
    Hung(Duration),
    /// Connections are taken and closed again.
    Cut(String),
    /// The server's name has no address.
    NoAddress(String),
    /// Its certificate is not to be trusted, or ours is not trusted; why, and what to do.
    Certificate(&'static str, &'static str),
    /// Its certificate is of an authority that the kubeconfig does not have.
    UnknownIssuer,
    /// No TLS where TLS should be, or another fault of the connection's encryption.
    Tls(String),
    /// The credentials do not count.
    Unauthorized(String),
    /// They do, and do not suffice.
    Forbidden(String),
    /// The resource's definition is not there.
    NoCrd,
    /// The server answers that it cannot.
    Answers(u16, String),
    /// There is no client to ask it with; why, and what to do.
    NoClient(String),
    /// The kubeconfig has come to lead to this API server.
    Moved(String),
    /// It is the cluster that this other one of the fleet file is.
    Twice(String),
    /// Anything else, in the words of whoever noticed.
    Other(String),
}

impl Trouble {
    /// What an error of a request says.
    pub(super) fn of(error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return match status.code {
                401 => Self::Unauthorized(status.message.clone()),
                403 => Self::Forbidden(status.message.clone()),
                code => Self::Answers(code, status.message.clone()),
            };
        }
        let mut cause: &(dyn StdError + 'static) = error;
        loop {
            if let Some(found) = known(cause) {
                return found;
            }
            match beneath(cause) {
                Some(next) => cause = next,
                // The innermost cause: the layers above it say only that something went wrong.
                None => return Self::Other(cause.to_string()),
            }
        }
    }

    /// What a failed watch of `kind` says, and whether at once: any other failure has to last, for a stream that is cut
    /// or an expired version is nothing.
    pub(super) fn of_watch(kind: &str, error: &watcher::Error) -> (Self, bool) {
        let (watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source)) = error
        else {
            return (Self::Other(format!("watching {kind} fails: {error}")), false);
        };
        match Self::of(source) {
            Self::Answers(404, _) if kind == "polkadots" => (Self::NoCrd, true),
            Self::Forbidden(message) => {
                (Self::Forbidden(format!("cannot list and watch {kind} ({message})")), true)
            }
            Self::Unauthorized(message) => (Self::Unauthorized(message), true),
            Self::Other(words) => (Self::Other(format!("watching {kind} fails: {words}")), false),
            other => (other, false),
        }
    }

    /// The state of a cluster `at` which this happens, and which last answered at `since`.
    pub(super) fn state(self, at: &str, since: Option<Timestamp>) -> ClusterState {
        match self {
            Self::NoCrd => ClusterState::NoCrd(None),
            Self::Forbidden(right) => ClusterState::Forbidden(format!("{right}, at {at}")),
            Self::Unauthorized(message) => ClusterState::Unauthorized(unauthorized(&message, at)),
            // It answers whenever it is tried, so when it last did would be news each time.
            Self::Twice(_) => ClusterState::Unreachable(Outage { since: None, why: self.words(at) }),
            other => ClusterState::Unreachable(Outage { since, why: other.words(at) }),
        }
    }

    fn words(&self, at: &str) -> String {
        match self {
            Self::Refused => format!(
                "connection refused by {at}: nothing listens there; start the API server or its load balancer, or correct \
                 the address in the kubeconfig"
            ),
            Self::BlackHoled => format!(
                "no connection to {at} in time: packets are lost on the way, or its TLS never begins; look at the \
                 firewall, the route or VPN, and at the load of the API server"
            ),
            Self::Hung(bound) => format!(
                "no answer within {bound:?} from {at}: it takes requests and does not answer them; look at the API server \
                 and its etcd (load, disk, quorum)"
            ),
            Self::Cut(why) => format!(
                "{at} closes our connections ({why}); look at the API server's log and at what stands before it (load \
                 balancer, proxy)"
            ),
            Self::NoAddress(why) => format!(
                "the name of {at} has no address ({why}); look at the DNS of the machine that polkafleet runs on, or \
                 correct the name in the kubeconfig"
            ),
            Self::Certificate(what, remedy) => format!("the certificate of {at} {what}; {remedy}"),
            // The error does not say whose certificate it was.
            Self::UnknownIssuer if is_by_https(at) => format!(
                "the API server's or the proxy's certificate is not signed by the kubeconfig's certificate authority, at \
                 {at}; put the proxy's authority into certificate-authority-data beside the cluster's, or, {NEW_KUBECONFIG}"
            ),
            Self::UnknownIssuer => format!(
                "the certificate of {at} is not signed by the kubeconfig's certificate authority; {NEW_KUBECONFIG}"
            ),
            Self::Tls(why) => format!(
                "TLS with {at} fails ({why}); is it an API server, and is the address in the kubeconfig right?"
            ),
            Self::Answers(429, message) => {
                format!("{at} has too many requests (429 {message}); find out who sends them, or wait")
            }
            Self::Answers(code @ ..500, message) => format!("{at} refuses it ({code} {message})"),
            Self::Answers(code, message) => format!(
                "{at} answers {code} ({message}); the network is well, the API server is not: ask it for /readyz?verbose"
            ),
            // The place first: its words end with a remedy on this machine, and "at …" after that would name the wrong one.
            Self::NoClient(why) => format!("{at}: {why}"),
            Self::Moved(server) => format!(
                "the kubeconfig leads to another API server now, {server}, and no longer to {at}; it is connected to by \
                 itself: if that is not meant, correct the kubeconfig"
            ),
            Self::Twice(other) => format!(
                "nothing is done by this name: it leads to the same API server as cluster {other} of the fleet file, {at}; \
                 remove one of the two entries, or correct the kubeconfig"
            ),
            Self::Other(why) => format!("{why}, at {at}"),
            Self::Unauthorized(message) => unauthorized(message, at),
            Self::Forbidden(right) => format!("{right}, at {at}"),
            // It has a state of its own.
            Self::NoCrd => String::new(),
        }
    }
}

fn unauthorized(message: &str, at: &str) -> String {
    format!(
        "{at} does not accept our credentials (401 {message}); put new ones into the kubeconfig: it is read again by itself"
    )
}

/// What is wrong with a request that failed `at` a place, and what to do: kube's own words name the outermost layer.
#[must_use]
pub fn in_words(error: &kube::Error, at: &str) -> String {
    Trouble::of(error).words(at)
}

/// Why the CRD could not be installed, and what to do.
pub(super) fn not_installed(error: &kube::Error, at: &str) -> String {
    match Trouble::of(error) {
        Trouble::Forbidden(right) => format!(
            "{right}, at {at}; grant the ClusterRole polkafleet-crd (deploy/rbac.yaml), or kubectl apply -f deploy/crd.yaml"
        ),
        other => format!("{}; it is tried again", other.state(at, None)),
    }
}

/// That the worker of a cluster has crashed, for everybody who sees how the cluster is: what a panic said may hold a part of
/// an answer, and stays in this process's log.
pub(super) const CRASHED: &str = "the worker of this cluster has crashed in polkafleet itself and is started again by itself; \
    please report it, with what the daemon's log says of it";

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> &str {
    let said = panic.downcast_ref::<&str>().copied();
    said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it does not say why")
}

/// Where a connection leads, as far as the kubeconfig's reader knows it.
pub(super) fn place(connection: &Connection) -> String {
    match connection {
        Connection::InCluster => "the cluster that polkafleet runs in".into(),
        Connection::Kubeconfig { path: Some(path), context } => {
            format!("context {context} of {}", path.display())
        }
        Connection::Kubeconfig { path: None, context } => {
            format!("context {context} of the default kubeconfig")
        }
    }
}

/// The proxy on the way, after the address of an API server.
pub(super) fn by_way_of(proxy: &str) -> String {
    format!("{BY_WAY_OF}{proxy}")
}

/// Whether the way to such a place is an HTTPS proxy, which has a certificate too and is held to the same authorities.
fn is_by_https(at: &str) -> bool {
    at.split_once(BY_WAY_OF).is_some_and(|(_, proxy)| proxy.starts_with("https://"))
}

/// An error under an error. What an I/O error is made of hides from `source`.
fn beneath<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return Some(inner);
    }
    error.source()
}

fn known(error: &(dyn StdError + 'static)) -> Option<Trouble> {
    if error.is::<tower::timeout::error::Elapsed>() {
        return Some(Trouble::Hung(super::limits::ANSWER_BOUND));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>()
        && (error.is_incomplete_message() || error.is_canceled())
    {
        return Some(Trouble::Cut(error.to_string()));
    }
    let error = error.downcast_ref::<io::Error>()?;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Trouble::Refused),
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(Trouble::BlackHoled)
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Trouble::Cut(error.to_string())),
        // The standard library has no kind for it.
        _ if error.to_string().starts_with("failed to lookup address") => {
            Some(Trouble::NoAddress(error.to_string()))
        }
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> Trouble {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Trouble::Certificate(
                "has expired",
                "renew it there (kubeadm certs renew apiserver, then restart the API server)",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Trouble::Certificate("is not valid yet", "compare the clocks of this machine and of that one")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Trouble::Certificate(
                    "is for another name",
                    "correct the address in the kubeconfig, or set its tls-server-name",
                )
            }
            CertificateError::UnknownIssuer => Trouble::UnknownIssuer,
            CertificateError::BadSignature => Trouble::Certificate("has a bad signature", NEW_KUBECONFIG),
            CertificateError::Revoked => Trouble::Certificate("was revoked", "give the server a new one"),
            other => Trouble::Tls(format!("its certificate: {other}")),
        },
        rustls::Error::AlertReceived(alert) => {
            Trouble::Tls(format!("it refuses us: {alert:?}; perhaps our client certificate"))
        }
        other => Trouble::Tls(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
