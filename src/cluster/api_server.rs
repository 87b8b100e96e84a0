//! Where the API server is, which is no target of sessions.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use hyper::http::Uri;
use tokio::{net::lookup_host, sync::watch, time::sleep};
use tracing::{info, warn};

use crate::policy::Reserved;

/// How often its name is resolved anew.
const PERIOD: Duration = Duration::from_secs(60);

/// The host in its URL. In a cluster that is nearly always an address.
pub(super) fn host(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// The addresses of a host.
///
/// # Errors
/// What the resolver said.
pub(super) async fn addresses(host: &str) -> io::Result<BTreeSet<IpAddr>> {
    Ok(lookup_host((host, 443)).await?.map(|address| address.ip()).collect())
}

/// Keeps the API server's addresses among the reserved ones, whatever they become; never returns. What was resolved last
/// counts while nothing can be resolved.
pub(super) async fn follow<F>(resolve: impl Fn() -> F, reserved: watch::Sender<Reserved>)
where
    F: Future<Output = io::Result<BTreeSet<IpAddr>>>,
{
    let mut well = true;
    loop {
        sleep(PERIOD).await;
        let resolved = resolve().await;
        // Once, and not at every attempt.
        if std::mem::replace(&mut well, resolved.is_ok())
            && let Err(error) = &resolved
        {
            warn!(%error, "the API server's name cannot be resolved; its last addresses stay reserved");
        }
        let Some(now) = resolved.ok().filter(|addresses| !addresses.is_empty()).map(Reserved::in_cluster) else {
            continue;
        };
        let changed = reserved.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        if changed {
            info!("the API server has other addresses");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::time::timeout;

    use super::*;
    use crate::policy::TargetPolicy;

    #[test]
    fn an_address_has_no_brackets() {
        assert_eq!(host(&"https://[fd00::1]:6443".parse().unwrap()), "fd00::1");
        assert_eq!(host(&"https://kubernetes.default.svc".parse().unwrap()), "kubernetes.default.svc");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_changes_is_reserved_and_stays_so_while_it_cannot_be_resolved() {
        let set = |address: &str| BTreeSet::from([address.parse().unwrap()]);
        let answers = [Ok(set("10.0.0.1")), Err(()), Ok(BTreeSet::new()), Ok(set("10.0.0.2"))];
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let resolve = || {
            let answer = answers.lock().next();
            async {
                match answer {
                    Some(answer) => answer.map_err(|()| io::Error::other("no answer")),
                    None => std::future::pending().await,
                }
            }
        };
        let (sender, mut reserved) = watch::channel(Reserved::in_cluster(set("10.0.0.1")));
        let may_reach = |reserved: &Reserved, host: &str| {
            let policy = TargetPolicy { reserved: reserved.clone(), ..TargetPolicy::default() };
            policy.admit((host.parse::<IpAddr>().unwrap(), 22).into()).is_ok()
        };
        let watching = async {
            reserved.changed().await.unwrap();
            // Neither of the answers before it has changed anything.
            assert_eq!(answers.lock().len(), 0);
            let now = reserved.borrow();
            assert!(!may_reach(&now, "10.0.0.2") && may_reach(&now, "10.0.0.1"));
        };
        tokio::select! {
            () = follow(resolve, sender) => unreachable!(),
            seen = timeout(10 * PERIOD, watching) => seen.unwrap(),
        }
    }
}
