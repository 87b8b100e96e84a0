//! The listener's certificate and key, from PEM files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates cannot be read.
    #[error("--tls-cert {}: {error}; give a file with the certificate chain in PEM, the server's own first", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: pem::Error,
    },
    /// The key cannot be read.
    #[error("--tls-key {}: {error}; give a file with the unencrypted private key in PEM", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: pem::Error,
    },
    /// They do not go together, or are of a kind that is not supported.
    #[error("--tls-cert and --tls-key: {0}; give a certificate and the key that it was made for")]
    Pair(#[from] rustls::Error),
}

/// Serves TLS 1.2 and 1.3 with the certificate chain and the key in these files. Blocks.
///
/// # Errors
/// When one of them cannot be read or used.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let certificate_error = |error| TlsError::Certificate { path: certificate.to_owned(), error };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(|certificates| certificates.collect())
        .map_err(certificate_error)?;
    if chain.is_empty() {
        return Err(certificate_error(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key { path: key.to_owned(), error })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = file("cert.pem", &pair.cert.pem());
        let key = file("key.pem", &pair.signing_key.serialize_pem());
        let other_key = file("other.pem", &other.signing_key.serialize_pem());
        let empty = file("empty.pem", "");
        let missing = directory.path().join("missing.pem");

        let error = |certificate, key| acceptor(certificate, key).err().map(|error| error.to_string());
        assert_eq!(error(&certificate, &key), None);
        for (certificate, key, flag) in [
            (&missing, &key, "--tls-cert /"),
            (&empty, &key, "--tls-cert /"),
            (&certificate, &missing, "--tls-key /"),
            (&certificate, &empty, "--tls-key /"),
            (&certificate, &certificate, "--tls-key /"),
            (&certificate, &other_key, "--tls-cert and --tls-key: "),
        ] {
            let error = error(certificate, key).unwrap();
            assert!(error.starts_with(flag) && error.contains("; give "), "{error}");
        }
    }
}
