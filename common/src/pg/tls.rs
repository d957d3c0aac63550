//! What is asked of Postgres's certificate.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::{PgError, address::Mode};

/// The files that an address names.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) root: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
}

/// How TLS is spoken in a mode.
///
/// # Errors
/// If a file cannot be used.
pub(super) fn config(mode: Mode, files: &Files) -> Result<ClientConfig, PgError> {
    let provider = Arc::new(ring::default_provider());
    let wrong = |error: Error| PgError::Certificate(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = if mode == Mode::VerifyFull {
        builder.with_root_certificates(roots(files)?)
    } else {
        let chain = if mode == Mode::VerifyCa {
            let roots = Arc::new(roots(files)?);
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            Some(
                verifier
                    .build()
                    .map_err(|error| PgError::Certificate(error.to_string()))?,
            )
        } else {
            None
        };
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient { provider, chain }))
    };
    match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
            let chain = chain.map_err(|error| unreadable(cert, &error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(wrong)
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(PgError::Certificate(
            "sslcert and sslkey belong together".to_owned(),
        )),
    }
}

fn unreadable(file: &str, error: &dyn std::error::Error) -> PgError {
    PgError::Certificate(format!("{file}: {error}"))
}

/// Who is trusted: the authority that is named, or those of this machine.
fn roots(files: &Files) -> Result<RootCertStore, PgError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &files.root {
        let certificates =
            CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, &error))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unreadable(file, &error))?;
            roots
                .add(certificate)
                .map_err(|error| unreadable(file, &error))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        let what = files.root.as_deref().unwrap_or("this machine's store");
        return Err(PgError::Certificate(format!(
            "{what} has no certificate of an authority"
        )));
    }
    Ok(roots)
}

/// Asks for less than `verify-full`: that the chain is trusted, or nothing.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
