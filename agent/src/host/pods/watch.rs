//! Lists the pods of a node and watches them, with timeouts and exponential backoff. The names of
//! containers are in the status of a pod, not in its metadata, so that whole pods are requested.

use std::{
    convert::Infallible,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client, Config, Error,
    api::{ListParams, WatchEvent, WatchParams},
    config::InClusterError,
    core::ApiResource,
};

use super::{
    object::{PodObject, parse},
    table::Pods,
};
use crate::errors::chain;

/// Timeout of connecting and of writing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of reading, longer than the server keeps a watch open.
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// Requested duration of a watch, seconds; the maximum is 295.
const WATCH_SECONDS: u32 = 240;
/// Number of pods per page of a list.
const PAGE_SIZE: u32 = 100;
/// Maximum number of pages of a list, far more than a node has pods.
const MAX_PAGES: usize = 64;
/// Delay after the first failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Maximum delay after repeated failures.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// A watch that lasted this long resets the delay.
const STABLE: Duration = Duration::from_secs(60);
/// HTTP status for a resource version that is too old.
const GONE: u16 = 410;

/// Client configuration from the service account of the agent's pod.
pub(super) fn config() -> Result<Config, InClusterError> {
    let mut config = Config::incluster()?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(CONNECT_TIMEOUT);
    Ok(config)
}

/// Keeps `pods` up to date.
pub(super) async fn watch_forever(config: Config, node: &str, pods: &Pods) {
    let client = match Client::try_from(config) {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(
                reason = chain(&error),
                "failed to create the Kubernetes client, pod names not available"
            );
            return;
        }
    };
    let api = Api::all_with(client, &ApiResource::erase::<v1::Pod>(&()));
    let of_node = format!("spec.nodeName={node}");
    let mut delay = FIRST_DELAY;
    loop {
        let began = Instant::now();
        let Err(error) = list_and_watch(&api, &of_node, pods).await;
        if began.elapsed() >= STABLE || is_too_old(&error) {
            delay = FIRST_DELAY;
        }
        let seconds = delay.as_secs();
        tracing::warn!(
            reason = chain(&error),
            seconds,
            "pod watch failed, retrying"
        );
        // The agents of a cluster lose the API server at the same time and must not reconnect at
        // the same time.
        tokio::time::sleep(delay.mul_f64(0.5 + random_fraction())).await;
        delay = (delay * 2).min(MAX_DELAY);
    }
}

/// Lists the pods, then watches them until an error occurs.
async fn list_and_watch(
    api: &Api<PodObject>,
    of_node: &str,
    pods: &Pods,
) -> Result<Infallible, Error> {
    let mut version = list(api, of_node, pods).await?;
    let wanted = WatchParams::default()
        .fields(of_node)
        .timeout(WATCH_SECONDS);
    loop {
        let mut events = std::pin::pin!(api.watch(&wanted, &version).await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    update_version(&mut version, &pod);
                    add(pods, pod);
                }
                WatchEvent::Deleted(pod) => {
                    update_version(&mut version, &pod);
                    if let Some(pod) = parse(pod) {
                        pods.lock().remove(&pod.uid);
                    }
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(Error::Api(status)),
            }
        }
    }
}

/// Lists all pods of the node and returns the resource version to watch from.
async fn list(api: &Api<PodObject>, of_node: &str, pods: &Pods) -> Result<String, Error> {
    let mut wanted = ListParams::default().fields(of_node).limit(PAGE_SIZE);
    let mut found = Vec::new();
    let mut version = String::new();
    for _ in 0..MAX_PAGES {
        let page = api.list(&wanted).await?;
        version = page.metadata.resource_version.unwrap_or_default();
        found.extend(page.items.into_iter().filter_map(parse));
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => wanted = wanted.continue_token(&next),
            None => break,
        }
    }
    let mut pods = pods.lock();
    pods.replace(found);
    tracing::info!(pods = pods.len(), "pod names loaded");
    Ok(version)
}

fn add(pods: &Pods, pod: PodObject) {
    if let Some(pod) = parse(pod)
        && !pods.lock().add(pod)
    {
        tracing::debug!("pod table full, pod ignored");
    }
}

fn update_version(version: &mut String, pod: &PodObject) {
    if let Some(newer) = &pod.metadata.resource_version {
        version.clone_from(newer);
    }
}

fn is_too_old(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == GONE)
}

/// A random number between 0 and 1.
fn random_fraction() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}
