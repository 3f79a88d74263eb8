//! Lists the pods of a node and watches them, for ever: patient, with time limits, and slower after each failure. Of a pod its
//! metadata alone is asked for, so that no environment and no command line ever arrives.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client, Config, Error,
    api::{ListParams, PartialObjectMeta, WatchEvent, WatchParams},
    config::InClusterError,
};

use super::{Pod, Pods};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may be silent: longer than the server keeps a watch.
const SILENCE: Duration = Duration::from_secs(WATCH as u64 + 10);
/// How long the server keeps a watch, seconds; at the most 295.
const WATCH: u32 = 240;
/// Pods in one answer.
const PAGE: u32 = 100;
/// Answers to one list: nobody runs more pods on a node than these hold.
const MAX_PAGES: usize = 64;
/// The wait after a first failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A watch that held for as long was no failure.
const HELD: Duration = Duration::from_secs(60);
/// Of a pod from a file on the node: the hash that stands for it in cgroups (`ConfigHashAnnotationKey`,
/// pkg/kubelet/types/pod_update.go).
const FILE_HASH: &str = "kubernetes.io/config.hash";
/// The resource version is too old.
const GONE: u16 = 410;

type Metadata = PartialObjectMeta<v1::Pod>;

/// Of the service account of the pod that this process is in.
pub(super) fn config() -> Result<Config, InClusterError> {
    let mut config = Config::incluster()?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(CONNECT);
    Ok(config)
}

/// Keeps `pods` what the API server says.
pub(super) async fn forever(config: Config, node: &str, pods: &Pods) {
    let client = match Client::try_from(config) {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(reason = crate::chain(&error), "pods have no names");
            return;
        }
    };
    let api: Api<v1::Pod> = Api::all(client);
    let of_node = format!("spec.nodeName={node}");
    let mut wait = FIRST_WAIT;
    loop {
        let began = Instant::now();
        let Err(error) = follow(&api, &of_node, pods).await;
        if began.elapsed() >= HELD || too_old(&error) {
            wait = FIRST_WAIT;
        }
        let seconds = wait.as_secs();
        tracing::warn!(
            reason = crate::chain(&error),
            seconds,
            "pods not told, asking again"
        );
        // Agents of a whole fleet lose the API server in the same moment, and must not come back in one.
        tokio::time::sleep(wait.mul_f64(0.5 + share())).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Lists, then watches for as long as that goes well.
async fn follow(api: &Api<v1::Pod>, of_node: &str, pods: &Pods) -> Result<Never, Error> {
    let mut version = list(api, of_node, pods).await?;
    let wanted = WatchParams::default().fields(of_node).timeout(WATCH);
    loop {
        let mut events = std::pin::pin!(api.watch_metadata(&wanted, &version).await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    keep_version(&mut version, &pod);
                    take(pods, pod);
                }
                WatchEvent::Deleted(pod) => {
                    keep_version(&mut version, &pod);
                    if let Some(pod) = read(pod) {
                        pods.lock().remove(&pod.uid);
                    }
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(Error::Api(status)),
            }
        }
    }
}

/// Nothing returns it.
enum Never {}

/// All pods of the node, page by page; returns the version from which to watch.
async fn list(api: &Api<v1::Pod>, of_node: &str, pods: &Pods) -> Result<String, Error> {
    let mut wanted = ListParams::default().fields(of_node).limit(PAGE);
    let mut found = Vec::new();
    let mut version = String::new();
    for _ in 0..MAX_PAGES {
        let page = api.list_metadata(&wanted).await?;
        version = page.metadata.resource_version.unwrap_or_default();
        found.extend(page.items.into_iter().filter_map(read));
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => wanted = wanted.continue_token(&next),
            None => break,
        }
    }
    let mut names = pods.lock();
    names.replace(found);
    tracing::info!(pods = names.len(), "pods of this node named");
    Ok(version)
}

fn take(pods: &Pods, pod: Metadata) {
    if let Some(pod) = read(pod)
        && !pods.lock().add(pod)
    {
        tracing::debug!("more pods than are remembered");
    }
}

fn keep_version(version: &mut String, pod: &Metadata) {
    if let Some(newer) = &pod.metadata.resource_version {
        version.clone_from(newer);
    }
}

fn read(pod: Metadata) -> Option<Pod> {
    let metadata = pod.metadata;
    let annotations = metadata.annotations.unwrap_or_default();
    let from_file = annotations.get(FILE_HASH).cloned();
    Some(Pod {
        uid: from_file.or(metadata.uid)?,
        namespace: metadata.namespace?,
        name: metadata.name?,
    })
}

fn too_old(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == GONE)
}

/// By chance between 0 and 1: of this process and moment.
fn share() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}
