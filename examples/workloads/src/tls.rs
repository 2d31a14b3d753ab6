//! reqwest with its default features (rustls, aws-lc-rs, HTTP/2 by ALPN) to an axum service behind
//! tokio-rustls, whose certificate is made when it starts.
//!
//! `--listen` (default `0.0.0.0:8443`), `--certificate-listen` (default `0.0.0.0:8080`; plain HTTP,
//! where clients fetch the certificate to trust), `--name` (default `localhost`; whom the
//! certificate is for).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::Extension;
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::args;
use crate::dial;
use crate::fingerprint::fingerprint;

const REQUEST_MAX: Duration = Duration::from_secs(10);
const REQUESTS: usize = 5;

/// Long enough to span several TLS records and HTTP/2 windows.
const BODY_BYTES: usize = 200_000;

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot make a certificate or listen.
#[tokio::main]
pub async fn server_main() -> anyhow::Result<()> {
    let began = Instant::now();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([args::value_of("--name", "localhost")?])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let encrypted = TcpListener::bind(args::value_of("--listen", "0.0.0.0:8443")?).await?;
    let plain = TcpListener::bind(args::value_of("--certificate-listen", "0.0.0.0:8080")?).await?;
    let pem = cert.pem();
    let certificate = Router::new().route("/certificate", get(async move || pem.clone()));
    tokio::spawn(axum::serve(plain, certificate).into_future());

    let service = Router::new()
        .route(
            "/fingerprint",
            get(async move |secret: Extension<Secret>| format!("{} {}", secret.0.0, fingerprint(began).await)),
        )
        .route("/echo", post(async |body: String| body));
    loop {
        let (stream, _client) = encrypted.accept().await?;
        tokio::spawn(serve(acceptor.clone(), stream, service.clone()));
    }
}

/// Keying material of a connection: drawn from both sides' entropy, and equal on both sides only
/// (RFC 5705).
#[derive(Clone)]
struct Secret(String);

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, service: Router) -> anyhow::Result<()> {
    let stream = acceptor.accept(stream).await?;
    let mut secret = [0_u8; 8];
    stream.get_ref().1.export_keying_material(&mut secret, b"EXPERIMENTAL workloads", None)?;
    let secret = Secret(format!("{:016x}", u64::from_be_bytes(secret)));
    let service = TowerToHyperService::new(service.layer(Extension(secret)));
    let connection = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is the client's business; nobody here could act on it.
    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
    Ok(())
}

/// Fetches the certificate from `plain`, trusts it besides the system's, and calls `encrypted`, on
/// one connection and on several.
///
/// Both are `host:port`, and the host that of the certificate.
///
/// # Errors
///
/// When a request fails that should not, or one succeeds without trust.
pub async fn client(encrypted: &str, plain: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    // The server fetches nothing from the environment of its own, and neither should a client that
    // may sit behind a proxy meant for the world outside.
    let builder = || Client::builder().no_proxy().timeout(REQUEST_MAX);
    drop(dial::tcp(plain).await.context("failed to reach the server")?);
    let pem = builder().build()?.get(format!("http://{plain}/certificate")).send().await?.text().await?;
    let trusting = || builder().tls_certs_merge([Certificate::from_pem(pem.as_bytes())?]).build();

    let mut transcript = vec![pem.trim_end().to_owned()];
    let base = format!("https://{encrypted}");
    let stranger = builder().build()?.get(&base).send().await;
    ensure!(stranger.is_err(), "a certificate nobody vouched for was trusted");

    let one = trusting()?;
    for _ in 0..REQUESTS {
        transcript.push(call("one", &one, &base).await?);
    }
    let mut several = JoinSet::new();
    for id in 0..REQUESTS {
        let (client, base) = (trusting()?, base.clone());
        several.spawn(async move { call(&format!("several {id}"), &client, &base).await });
    }
    while let Some(line) = several.join_next().await {
        transcript.push(line??);
    }
    let body = "x".repeat(BODY_BYTES);
    let echoed = one.post(format!("{base}/echo")).body(body.clone()).send().await?.text().await?;
    ensure!(echoed == body, "the echo differs");
    transcript.push(format!("echo: {} bytes", echoed.len()));
    transcript.push(format!("client: {}", fingerprint(began).await));
    Ok(transcript.join("\n"))
}

async fn call(who: &str, client: &Client, base: &str) -> anyhow::Result<String> {
    let response = client.get(format!("{base}/fingerprint")).send().await?.error_for_status()?;
    let version = response.version();
    Ok(format!("{who}: {version:?}, server: {}", response.text().await?))
}
