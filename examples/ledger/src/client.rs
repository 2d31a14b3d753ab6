//! What a program that uses the service links.

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, ToSocketAddrs};

/// A request that did not succeed. A put may have taken place nonetheless.
#[derive(Debug, Error)]
pub enum Error {
    /// The connection could not be made, or broke.
    #[error("the connection failed: {0}")]
    Connection(#[from] std::io::Error),
    /// Something else came than what the protocol has.
    #[error("an answer that cannot be: {0:?}")]
    Answer(String),
}

/// A connection to the service.
///
/// A request that is dropped before its answer came leaves the connection in a state of which nothing is known: make a
/// new one.
#[derive(Debug)]
pub struct Client {
    connection: BufReader<TcpStream>,
}

impl Client {
    /// Connects to the service at `address`, for instance `ledger:7000`.
    ///
    /// # Errors
    ///
    /// Nobody answers there.
    pub async fn connect(address: impl ToSocketAddrs) -> Result<Self, Error> {
        let connection = TcpStream::connect(address).await?;
        connection.set_nodelay(true)?;
        Ok(Self { connection: BufReader::new(connection) })
    }

    /// Stores `value` under `key`; `Ok` means that it is on the disk. A key has no spaces, a value no line breaks.
    ///
    /// # Errors
    ///
    /// The connection failed; the put may have taken place.
    pub async fn put(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let answer = self.ask(&format!("PUT {key} {value}\n")).await?;
        if answer == "OK" { Ok(()) } else { Err(Error::Answer(answer)) }
    }

    /// The value under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub async fn get(&mut self, key: &str) -> Result<Option<String>, Error> {
        let answer = self.ask(&format!("GET {key}\n")).await?;
        match answer.strip_prefix("VALUE ") {
            Some(value) => Ok(Some(value.to_owned())),
            None if answer == "NONE" => Ok(None),
            None => Err(Error::Answer(answer)),
        }
    }

    /// All keys, in order.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub async fn list(&mut self) -> Result<Vec<String>, Error> {
        let answer = self.ask("LIST\n").await?;
        let keys = answer.strip_prefix("KEYS").map(|keys| keys.split_whitespace().map(str::to_owned).collect());
        keys.ok_or(Error::Answer(answer))
    }

    async fn ask(&mut self, request: &str) -> Result<String, Error> {
        self.connection.get_mut().write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        self.connection.read_line(&mut answer).await?;
        match answer.strip_suffix('\n') {
            Some(answer) => Ok(answer.to_owned()),
            None => Err(Error::Connection(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
