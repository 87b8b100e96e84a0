//! Opens listeners, with errors that say the way out.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {address}: {}", problem(.error))]
pub struct ListenError {
    flag: &'static str,
    address: SocketAddr,
    error: io::Error,
}

/// Listens on the address that an argument gives.
///
/// # Errors
/// When the system does not let it.
pub async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| ListenError { flag, address, error })
}

fn problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use, perhaps by another webshell; stop that, or choose another port (0 takes a free one)"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address; choose one that it has".to_owned(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one".to_owned(),
        _ => format!("cannot be listened on: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_said_with_the_way_out() {
        let taken = listen("--listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = listen("--listen", address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("--listen {address}: the port is in use")), "{error}");
        assert!(error.contains("choose another port"), "{error}");
    }
}
