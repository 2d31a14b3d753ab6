//! A poisoned cache: when names resolve again as they should, requests reach whom they name.

use std::time::Duration;

use anyhow::Result;
use pitfalls::{PORT, names};
use tokio::time::sleep;
use windtunnel::faults::{Faults, net};
use windtunnel::{Chaos, chaos_test, eventually, faults, tcp};

use crate::{client, get, up_to};

const GATEWAYS: usize = 2;
const SITES: usize = 3;
const VISITS: usize = 20;

/// Many: of all the hosts that may be misled about another, only gateways ask, and only for sites.
const WEATHER: Faults =
    faults::plan().kinds(net::dns_hijacks()).at_most(24).lasting_at_least(Duration::from_millis(500));

#[chaos_test(cases = 20, faults = WEATHER)]
async fn a_cache_that_forgets_finds_the_way_back(cx: Chaos) -> Result<()> {
    visitors_reach_whom_they_name(&cx, "briefly").await
}

#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "the gateway is poisoned")]
async fn a_cache_that_never_forgets_stays_poisoned(cx: Chaos) -> Result<()> {
    visitors_reach_whom_they_name(&cx, "forever").await
}

#[chaos_test(cases = 500, faults = WEATHER)]
#[ignore = "fails by design; `cargo xtask planted` looks at what it shrinks to"]
async fn poisoned_cache(cx: Chaos) -> Result<()> {
    visitors_reach_whom_they_name(&cx, "forever").await
}

async fn visitors_reach_whom_they_name(cx: &Chaos, remember: &'static str) -> Result<()> {
    let sites = cx.hosts("site", SITES).main(names::site_main).args(|h| [h.name().to_owned()]);
    sites.ready(tcp(PORT)).start().await?;
    let gateways = cx.hosts("gateway", GATEWAYS).main(names::gateway_main);
    gateways.args(move |_| ["--remember", remember].map(str::to_owned)).ready(tcp(PORT)).start().await?;
    let http = client(Duration::from_secs(2))?;

    cx.storm(async || {
        for _ in 0..VISITS {
            let (gateway, site) = (cx.random::<usize>() % GATEWAYS, cx.random::<usize>() % SITES);
            // One that fails in a storm is no failure.
            println!("a visit: {:?}", visit(&http, gateway, site).await);
            sleep(up_to(cx, 600)).await;
        }
    })
    .await;

    for gateway in 0..GATEWAYS {
        for site in 0..SITES {
            eventually!(within = "30s", visit(&http, gateway, site).await, "the gateway is poisoned");
        }
    }
    Ok(())
}

/// Visits a site through a gateway.
async fn visit(http: &reqwest::Client, gateway: usize, site: usize) -> Result<(), String> {
    let page = get(http, &format!("gateway{gateway}"), &format!("/site/site{site}")).await;
    match page.map_err(|error| error.to_string())? {
        page if page == format!("this is site{site}") => Ok(()),
        page => Err(format!("gateway{gateway} was asked for site{site}, and answered `{page}`")),
    }
}
