//! The certificate in force, and how another takes its place without a dropped connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What both sides may agree to speak, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate and key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that can't be read, or is not PEM.
    #[error("tls.{what}: {} can't be read as PEM: {cause}", path.display())]
    Unreadable {
        /// Which of the two: `cert` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What reading it said.
        cause: PemError,
    },
    /// A certificate file without one.
    #[error("tls.cert: {} holds no certificate; give the chain as PEM, the server's own first", .0.display())]
    NoCertificate(PathBuf),
    /// Two files that don't belong together, or a key of a kind not supported.
    #[error("tls: {} and {} can't be used together: {cause}", cert.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library said.
        cause: rustls::Error,
    },
}

/// The server's side of TLS, 1.2 and 1.3. Clones share what is in force.
#[derive(Debug, Clone)]
pub struct TlsReload {
    files: Arc<Files>,
    current: Arc<ArcSwap<ServerConfig>>,
}

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl TlsReload {
    /// Reads a certificate chain and its key, both PEM.
    pub fn load(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, Error> {
        let files = Files { cert: cert.into(), key: key.into() };
        let current = Arc::new(ArcSwap::from_pointee(files.read()?));
        Ok(Self { files: Arc::new(files), current })
    }

    /// Reads both files again. New connections get the new pair; if it is no good, the old one stays.
    pub fn reload(&self) -> Result<(), Error> {
        self.current.store(Arc::new(self.files.read()?));
        Ok(())
    }

    /// What a connection that begins now uses to its end.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

impl Files {
    fn read(&self) -> Result<ServerConfig, Error> {
        let chain = read_chain(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|cause| Error::Unreadable {
            what: "key",
            path: self.key.clone(),
            cause,
        })?;
        let mismatch = |cause| Error::Mismatch { cert: self.cert.clone(), key: self.key.clone(), cause };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(mismatch)?;
        config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable = |cause| Error::Unreadable { what: "cert", path: path.to_owned(), cause };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    if chain.is_empty() { Err(Error::NoCertificate(path.to_owned())) } else { Ok(chain) }
}
