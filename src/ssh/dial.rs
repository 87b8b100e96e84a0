//! Connecting by TCP: every address a name has, IPv4 and IPv6, within one time limit.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    select,
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Dial, Event, Step,
    failure::{Failure, Phase},
};

/// How long one address has before the next is tried beside it (RFC 8305, section 5). So a time limit of seconds is
/// enough for many addresses that don't answer.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long what was written may stay unacknowledged before the connection counts as dead. It is what notices a dead
/// peer while nothing is read.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Probes of an idle connection. SSH has keepalives of its own; these keep the state of firewalls during log-in.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(15));

/// Which addresses may be connected to: asked of every one that a name resolves to, at each dial anew. By default all may.
#[derive(Clone, Default)]
pub struct Admission {
    policy: Option<Arc<Policy>>,
    /// The only networks that the credentials may be sent to.
    networks: Option<Arc<[IpNet]>>,
}

/// Judges an address; the error says in a few words what speaks against it.
type Policy = dyn Fn(SocketAddr) -> Result<(), String> + Send + Sync;

// === impl Admission ===

impl Admission {
    /// Asks `admit`, whose error says in a few words what speaks against an address.
    pub fn new(admit: impl Fn(SocketAddr) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { policy: Some(Arc::new(admit)), networks: None }
    }

    /// The same in these networks only, because the credentials may be sent to no others.
    pub fn only_in(self, networks: Arc<[IpNet]>) -> Self {
        Self { networks: Some(networks), ..self }
    }

    /// Whether an address may be connected to now.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn check(&self, address: SocketAddr) -> Result<(), Failure> {
        self.filter(vec![address]).map(drop)
    }

    /// Those of `addresses` that may be connected to.
    ///
    /// # Errors
    /// When none may: each with what speaks against it.
    fn filter(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Failure> {
        let (mut admitted, mut forbidden, mut not_listed) = (Vec::new(), Vec::new(), Vec::new());
        for address in addresses {
            match self.policy.as_ref().map_or(Ok(()), |policy| policy(address)) {
                Err(why) => forbidden.push(format!("{address}: {why}")),
                Ok(()) if self.is_listed(address) => admitted.push(address),
                Ok(()) => not_listed.push(address.to_string()),
            }
        }
        match (admitted.is_empty(), not_listed.is_empty(), forbidden.is_empty()) {
            (true, false, _) => Err(Failure::HostNotAllowed { detail: not_listed.join(", ") }),
            (true, true, false) => Err(Failure::TargetForbidden { detail: forbidden.join("; ") }),
            _ => Ok(admitted),
        }
    }

    fn is_listed(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.networks.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(&ip)))
    }
}

/// Equal when both ask the same judge, and the same networks.
impl PartialEq for Admission {
    fn eq(&self, other: &Self) -> bool {
        let same_policy = match (&self.policy, &other.policy) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_policy && self.networks == other.networks
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission(…)")
    }
}

/// Resolves a name and connects to the first of its addresses that answers, of those that are admitted: the name is not asked
/// for again.
pub(super) async fn dial(
    to: &Dial,
    admission: &Admission,
    deadline: Instant,
    events: &mpsc::Sender<Event>,
) -> Result<TcpStream, Failure> {
    // Nobody who listens for the steps is no reason not to take them.
    let _ = events.send(Event::Step(Step::Resolve)).await;
    let addresses = match to {
        Dial::Name(host, port) => resolve(host, *port, deadline).await?,
        Dial::Addresses(addresses) => addresses.to_vec(),
    };
    let addresses = admission.filter(interleave(addresses))?;
    let _ = events.send(Event::Step(Step::Dial)).await;
    connect(addresses, deadline).await
}

/// Asks the system's resolver, whose search lists have a part in names that don't end with a dot.
async fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    let failed = |detail: String| Failure::Dns { host: host.to_owned(), detail };
    let addresses: Vec<_> = match timeout_at(deadline, lookup_host((host, port))).await {
        Ok(addresses) => addresses.map_err(|error| failed(error.to_string()))?.collect(),
        Err(_) => return Err(Failure::Timeout { phase: Phase::Resolve, detail: host.to_owned() }),
    };
    if addresses.is_empty() { Err(failed("no address".to_owned())) } else { Ok(addresses) }
}

/// Connects to the first address that answers; each is begun in its turn, a little after the one before it.
async fn connect(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, Failure> {
    let all = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut errors = Vec::new();
    let race = async {
        loop {
            match waiting.next() {
                Some(address) => attempts.push(attempt(address)),
                None if attempts.is_empty() => return Err(failure(&errors)),
                None => {}
            }
            select! {
                Some((address, result)) = attempts.next() => match result {
                    Ok(stream) => return Ok(stream),
                    Err(error) => errors.push((address, error)),
                },
                () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
            }
        }
    };
    timeout_at(deadline, race).await.unwrap_or(Err(Failure::Timeout { phase: Phase::Dial, detail: all }))
}

async fn attempt(address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
    let connected = async {
        let stream = TcpStream::connect(address).await?;
        // A keystroke must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&KEEPALIVE)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(stream)
    };
    (address, connected.await)
}

/// Alternates between the families, beginning with the resolver's favourite (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (favourites, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first);
    let (mut favourites, mut others) = (favourites.into_iter(), others.into_iter());
    let mut order = Vec::new();
    while favourites.len() + others.len() > 0 {
        order.extend(favourites.next());
        order.extend(others.next());
    }
    order
}

/// Sums up why no address could be connected to. A refusal tells most: there is a host, and nothing listens.
fn failure(errors: &[(SocketAddr, io::Error)]) -> Failure {
    let detail = errors.iter().map(|(address, error)| format!("{address}: {error}")).collect::<Vec<_>>().join("; ");
    let any = |kind| errors.iter().any(|(_, error)| error.kind() == kind);
    if any(io::ErrorKind::ConnectionRefused) {
        Failure::Refused { detail }
    } else if any(io::ErrorKind::TimedOut) {
        Failure::Timeout { phase: Phase::Dial, detail }
    } else {
        Failure::Unreachable { detail }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};
    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace().map(|a| a.parse().unwrap()).collect()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// A loopback address where nothing listens.
    async fn deaf() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// A loopback address that answers nothing: its queue of connections is full.
    async fn silent() -> (SocketAddr, Socket, Vec<TcpStream>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&addresses("127.0.0.1:0")[0].into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queue.push(stream.unwrap());
        }
        (address, socket, queue)
    }

    #[tokio::test]
    async fn an_address_that_is_silent_is_followed_by_the_next() {
        let (address, _socket, _queue) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(vec![address, listener.local_addr().unwrap()], soon()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn silence_is_awaited_no_longer_than_the_limit() {
        let (address, _socket, _queue) = silent().await;
        let failure = connect(vec![address], Instant::now() + Duration::from_millis(100)).await.unwrap_err();
        let Failure::Timeout { phase: Phase::Dial, detail } = failure else { panic!("{failure:?}") };
        assert_eq!(detail, address.to_string());
    }

    #[test]
    fn families_alternate_beginning_with_the_first() {
        let order = interleave(addresses("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1 2.2.2.2:1"));
        assert_eq!(order, addresses("[::1]:1 1.1.1.1:1 [::2]:1 2.2.2.2:1 [::3]:1"));
        let order = interleave(addresses("1.1.1.1:1 2.2.2.2:1"));
        assert_eq!(order, addresses("1.1.1.1:1 2.2.2.2:1"));
        assert_eq!(interleave(Vec::new()), []);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = connect(vec![deaf().await, deaf().await, address], soon()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn refusals_name_every_address() {
        let (a, b) = (deaf().await, deaf().await);
        let failure = connect(vec![a, b], soon()).await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Refused { detail }
            if detail.contains(&a.to_string()) && detail.contains(&b.to_string())),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn an_unknown_name_is_a_failure_of_dns() {
        let to = Dial::Name("no-such-host.invalid".to_owned(), 22);
        let (events, _receiver) = mpsc::channel(8);
        let failure = dial(&to, &Admission::default(), soon(), &events).await.unwrap_err();
        assert!(matches!(failure, Failure::Dns { host, .. } if host == "no-such-host.invalid"));
    }

    #[tokio::test]
    async fn however_an_address_is_written_it_is_judged_and_none_that_is_refused_is_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refuses = Admission::new(|address| match address.ip().to_canonical().is_loopback() {
            true => Err("loopback".to_owned()),
            false => Ok(()),
        });
        let (events, _receiver) = mpsc::channel(64);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "localhost",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "0:0:0:0:0:0:0:1",
        ] {
            let to = Dial::Name(host.to_owned(), port);
            let failure = dial(&to, &refuses, soon(), &events).await.unwrap_err();
            let forbidden = matches!(&failure, Failure::TargetForbidden { detail } if detail.contains("loopback"));
            assert!(forbidden, "{host}: {failure:?}");
            if host == "127.0.0.1" {
                dial(&to, &Admission::default(), soon(), &events).await.unwrap();
                listener.accept().await.unwrap();
            }
        }
        assert!(timeout(Duration::ZERO, listener.accept()).await.is_err(), "something was dialled");
    }

    #[tokio::test]
    async fn addresses_that_are_known_are_judged_and_dialled_in_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (events, _receiver) = mpsc::channel(8);
        let to = Dial::Addresses([deaf().await, address].into());
        let stream = dial(&to, &Admission::default(), soon(), &events).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let refuses = Admission::new(|_| Err("not there".to_owned()));
        let failure = dial(&to, &refuses, soon(), &events).await.unwrap_err();
        assert!(matches!(failure, Failure::TargetForbidden { .. }), "{failure:?}");
    }

    #[test]
    fn of_many_addresses_those_admitted_remain() {
        let admission = Admission::new(|address| match address.ip().is_loopback() {
            true => Err("loopback".to_owned()),
            false => Ok(()),
        });
        let mixed = addresses("127.0.0.1:22 192.0.2.1:22 [::1]:22");
        assert_eq!(admission.filter(mixed), Ok(addresses("192.0.2.1:22")));
        let failure = admission.filter(addresses("127.0.0.1:22 [::1]:22")).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "The target must not be reached from here (127.0.0.1:22: loopback; [::1]:22: loopback)."
        );
    }

    #[test]
    fn networks_limit_what_the_policy_admits() {
        let loopback = |address: SocketAddr| match address.ip().is_loopback() {
            true => Err("loopback".to_owned()),
            false => Ok(()),
        };
        let networks: Arc<[IpNet]> = ["10.0.0.0/8", "::1/128"].iter().map(|network| network.parse().unwrap()).collect();
        let admission = Admission::new(loopback).only_in(Arc::clone(&networks));
        let mixed = addresses("[::1]:22 [::ffff:10.0.4.12]:22 192.0.2.1:22");
        assert_eq!(admission.filter(mixed), Ok(addresses("[::ffff:10.0.4.12]:22")));
        let failure = admission.filter(addresses("127.0.0.1:22 192.0.2.1:22 [2001:db8::1]:22")).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "The Secret's credentials may not be sent to this host (192.0.2.1:22, [2001:db8::1]:22)."
        );
        let failure = admission.check(addresses("[::1]:22")[0]).unwrap_err();
        assert!(matches!(failure, Failure::TargetForbidden { .. }), "{failure:?}");

        let other = Admission::default().only_in(networks);
        assert!(admission == admission.clone() && admission != other && other != Admission::default());
        assert_eq!(Admission::default(), Admission::default());
    }
}
