//! The protocol: one line asks, one line answers.
//!
//! ```text
//! PUT key value   OK
//! GET key         VALUE value, or NONE
//! LIST            KEYS key key …
//! ```
//!
//! Keys have no spaces, values no line breaks. What is wrong is answered with `ERROR` and the reason.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};

use crate::store::Store;

/// Serves until the store fails.
pub(crate) fn serve(listener: &TcpListener, store: Store) -> Result<()> {
    let store = Arc::new(Mutex::new(store));
    loop {
        let (connection, _) = listener.accept().context("failed to accept")?;
        let store = store.clone();
        thread::Builder::new().name("connection".into()).spawn(move || {
            // A client that went away is none of our business.
            let _gone = converse(&connection, &store);
        })?;
    }
}

fn converse(connection: &TcpStream, store: &Mutex<Store>) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut answers = connection;
    for line in BufReader::new(connection).lines() {
        let mut answer = answer(&line?, store);
        answer.push('\n');
        answers.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn answer(line: &str, store: &Mutex<Store>) -> String {
    let mut store = store.lock().expect("who panics while holding the store ends the process");
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("PUT"), Some(key), Some(value)) if !key.is_empty() => match store.put(key.to_owned(), value.to_owned()) {
            Ok(()) => "OK".to_owned(),
            Err(error) => {
                eprintln!("Error: {error:#}");
                std::process::exit(1)
            }
        },
        (Some("GET"), Some(key), None) => match store.get(key) {
            Some(value) => format!("VALUE {value}"),
            None => "NONE".to_owned(),
        },
        (Some("LIST"), None, None) => store.keys().fold("KEYS".to_owned(), |keys, key| keys + " " + key),
        _ => "ERROR expected `PUT key value`, `GET key` or `LIST`".to_owned(),
    }
}
