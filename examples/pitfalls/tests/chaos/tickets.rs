//! Split brain: no ticket is handed out twice, whoever believes to be primary.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use pitfalls::{PORT, tickets};
use tokio::time::sleep;
use windtunnel::faults::{Faults, host, net};
use windtunnel::{Chaos, chaos_test, eventually, faults, http};

use crate::{client, up_to};

const NODES: usize = 3;
const CLIENTS: usize = 3;
const TICKETS: usize = 10;
const REQUEST_MAX: Duration = Duration::from_secs(1);

/// Nodes keep their notes in memory, so nobody crashes. What is shorter makes nobody believe that another is dead.
const WEATHER: Faults = faults::plan()
    .kinds(net::partitions().and(net::latencies()).and(host::pauses()))
    .lasting_at_least(Duration::from_secs(1));

#[chaos_test(cases = 10, faults = WEATHER)]
async fn a_majority_hands_out_each_ticket_once(cx: Chaos) -> Result<()> {
    tickets_are_unique(&cx, "majority").await
}

#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "was handed out twice")]
async fn two_primaries_hand_out_the_same_ticket(cx: Chaos) -> Result<()> {
    tickets_are_unique(&cx, "living").await
}

#[chaos_test(cases = 500, faults = WEATHER)]
#[ignore = "fails by design; `cargo xtask planted` looks at what it shrinks to"]
async fn split_brain(cx: Chaos) -> Result<()> {
    tickets_are_unique(&cx, "living").await
}

async fn tickets_are_unique(cx: &Chaos, acknowledge: &'static str) -> Result<()> {
    cx.hosts("node", NODES)
        .main(tickets::main)
        .args(move |h| {
            let (id, nodes) = (h.index().to_string(), h.members().join(","));
            ["--id", &id, "--nodes", &nodes, "--acknowledge", acknowledge].map(str::to_owned)
        })
        .ready(http(PORT, "/alive"))
        .start()
        .await?;

    let handed_out = cx.storm(async || draw_from_all_clients(cx).await).await?;

    handed_out.iter().for_each(|(ticket, holder)| println!("{holder} has ticket {ticket}"));
    let mut holders = BTreeMap::new();
    for (ticket, holder) in &handed_out {
        if let Some(other) = holders.insert(ticket, holder) {
            panic!("ticket {ticket} was handed out twice: to {other} and to {holder}");
        }
    }
    let http = client(REQUEST_MAX)?;
    eventually!(within = "30s", ask_all(&http).await.is_some_and(|ticket| !holders.contains_key(&ticket)));
    Ok(())
}

/// Tickets, and who got them. Each client is on a host of its own, which no fault strikes.
async fn draw_from_all_clients(cx: &Chaos) -> Result<Vec<(u64, String)>> {
    let mut clients = Vec::new();
    for id in 0..CLIENTS {
        let (cx_of_client, name) = (cx.clone(), format!("client{id}"));
        clients.push(cx.client(&name).run(async move || draw(&cx_of_client, id).await));
    }
    let mut handed_out = Vec::new();
    for client in clients {
        let name = client.name().to_owned();
        handed_out.extend(client.await?.into_iter().map(|ticket| (ticket, name.clone())));
    }
    Ok(handed_out)
}

/// Asks one node as long as that one hands out tickets, then the next.
async fn draw(cx: &Chaos, id: usize) -> Result<Vec<u64>> {
    let http = client(REQUEST_MAX)?;
    let (mut of, mut tickets) = (id, Vec::new());
    for _ in 0..TICKETS {
        match ask(&http, of % NODES).await {
            Some(ticket) => tickets.push(ticket),
            None => of += 1,
        }
        sleep(up_to(cx, 400)).await;
    }
    Ok(tickets)
}

async fn ask(http: &reqwest::Client, node: usize) -> Option<u64> {
    let answer = http.post(format!("http://node{node}:{PORT}/ticket")).send().await.ok()?;
    answer.error_for_status().ok()?.text().await.ok()?.parse().ok()
}

async fn ask_all(http: &reqwest::Client) -> Option<u64> {
    for node in 0..NODES {
        if let Some(ticket) = ask(http, node).await {
            return Some(ticket);
        }
    }
    None
}
