//! The Kubernetes manifests and the Helm chart in `deploy/`, rendered by the real tools and parsed
//! as API types without loss of fields.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PodSpec, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use reprise_tests::manifests::{added, deploy, documents, helm, pod, tool, typed};
use serde_json::Value;

/// Asserts what all deployments have in common.
fn assert_observes(pod: &PodSpec) {
    assert_eq!(pod.host_pid, Some(true));
    let [container] = pod.containers.as_slice() else {
        panic!("one container, not {:?}", pod.containers);
    };
    let security = container.security_context.as_ref().expect("no context");
    assert_eq!(security.privileged, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(added(pod), ["DAC_READ_SEARCH", "SYS_ADMIN", "SYS_PTRACE"]);
    // Every mount needs a volume and every probe a port.
    let volumes: Vec<_> = pod
        .volumes
        .iter()
        .flatten()
        .map(|volume| &volume.name)
        .collect();
    for mount in container.volume_mounts.iter().flatten() {
        assert!(volumes.contains(&&mount.name), "{mount:?}");
        assert_eq!(mount.read_only, Some(true), "{mount:?}");
    }
    let ports = container.ports.as_ref().expect("no ports");
    let port = ports[0].container_port;
    let listen = container.args.as_ref().and_then(|args| args.get(2));
    assert_eq!(listen, Some(&format!("0.0.0.0:{port}")));
    for (probe, path) in [
        (&container.liveness_probe, "/healthz"),
        (&container.readiness_probe, "/readyz"),
        (&container.startup_probe, "/readyz"),
    ] {
        let get = probe.as_ref().and_then(|probe| probe.http_get.as_ref());
        assert_eq!(get.expect("no probe").path.as_deref(), Some(path));
    }
}

/// The service account may only read pods, and the pods know their node.
fn assert_names_pods(documents: &BTreeMap<String, Value>) {
    let role: ClusterRole = typed(&documents["ClusterRole"]);
    let [rule] = role.rules.as_deref().unwrap_or_default() else {
        panic!("one rule, not {:?}", role.rules);
    };
    assert_eq!(rule.verbs, ["get", "list", "watch"]);
    assert_eq!(rule.resources.as_deref(), Some(&["pods".to_owned()][..]));
    assert_eq!(rule.api_groups.as_deref(), Some(&[String::new()][..]));
    let binding: ClusterRoleBinding = typed(&documents["ClusterRoleBinding"]);
    assert_eq!(binding.role_ref.kind, "ClusterRole");
    assert_eq!(Some(&binding.role_ref.name), role.metadata.name.as_ref());
    let account: ServiceAccount = typed(&documents["ServiceAccount"]);
    let daemon_set: DaemonSet = typed(&documents["DaemonSet"]);
    let [subject] = binding.subjects.as_deref().unwrap_or_default() else {
        panic!("one subject, not {:?}", binding.subjects);
    };
    assert_eq!(Some(&subject.name), account.metadata.name.as_ref());
    assert_eq!(subject.namespace, account.metadata.namespace);
    let pod = pod(&daemon_set);
    assert_eq!(pod.service_account_name.as_ref(), Some(&subject.name));
    assert_eq!(pod.automount_service_account_token, Some(true));
    let mut environment = pod.containers[0].env.iter().flatten();
    let node = environment.find(|variable| variable.name == "NODE_NAME");
    let source = node.and_then(|node| node.value_from.as_ref()?.field_ref.as_ref());
    assert_eq!(source.expect("no node").field_path, "spec.nodeName");
}

#[test]
fn the_kustomization_is_valid_for_the_api() {
    let output = tool("kubectl")
        .arg("kustomize")
        .arg(deploy("kubernetes"))
        .output()
        .expect("failed to start kubectl");
    let documents = documents(&output);
    assert_eq!(documents.len(), 5, "{:?}", documents.keys());
    assert_names_pods(&documents);
    let _: Namespace = typed(&documents["Namespace"]);
    let _: ServiceAccount = typed(&documents["ServiceAccount"]);
    let kustomized: DaemonSet = typed(&documents["DaemonSet"]);
    assert_observes(pod(&kustomized));

    // The chart with default values starts the same pod.
    let charted = self::documents(&helm::<&str>(&[]));
    assert_names_pods(&charted);
    let charted: DaemonSet = typed(&charted["DaemonSet"]);
    let mut pod_of_chart = pod(&charted).clone();
    pod_of_chart.service_account_name = Some("reprise".to_owned());
    pod_of_chart.containers[0].image_pull_policy = None;
    assert_eq!(&pod_of_chart, pod(&kustomized));
}

#[test]
fn the_chart_is_valid_for_the_api() {
    let lint = tool("helm")
        .args(["lint", "--strict"])
        .arg(deploy("helm/reprise"))
        .output()
        .expect("failed to start helm");
    assert!(
        lint.status.success(),
        "{}",
        String::from_utf8_lossy(&lint.stdout)
    );
    let documents = documents(&helm(&[
        r#"peerGroups={"plant-north":["10.1.0.0/16","fd00:1::/32"]}"#,
        r#"extraArgs=["--max-peers","10"]"#,
        r#"port=9999"#,
        r#"image={"repository":"registry.example/reprise","tag":"1","pullPolicy":"Always"}"#,
        r#"imagePullSecrets=[{"name":"pull"}]"#,
        r#"podAnnotations={"a/b":"c"}"#,
        r#"podLabels={"team":"tls"}"#,
        r#"priorityClassName="system-node-critical""#,
    ]));
    assert_eq!(documents.len(), 5, "{:?}", documents.keys());
    let _: ServiceAccount = typed(&documents["ServiceAccount"]);
    let peers: ConfigMap = typed(&documents["ConfigMap"]);
    let file = &peers.data.as_ref().expect("no data")["peers.toml"];
    assert_eq!(
        file,
        "[groups]\n\"plant-north\" = [\"10.1.0.0/16\",\"fd00:1::/32\"]\n"
    );
    let daemon_set: DaemonSet = typed(&documents["DaemonSet"]);
    let pod = pod(&daemon_set);
    assert_observes(pod);
    let container = &pod.containers[0];
    assert_eq!(
        container.image.as_deref(),
        Some("registry.example/reprise:1")
    );
    let args = container.args.clone().expect("no arguments");
    let expected = [
        "run",
        "--listen",
        "0.0.0.0:9999",
        "--peer-file",
        "/etc/reprise/peers.toml",
        "--max-peers",
        "10",
    ];
    assert_eq!(args, expected);
    // The flag names the mounted file.
    let volume = pod
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == "peers");
    let source = volume.and_then(|volume| volume.config_map.as_ref());
    assert_eq!(
        source.map(|source| &source.name),
        peers.metadata.name.as_ref()
    );
}

#[test]
fn the_schema_rejects_invalid_values() {
    for value in [
        "port=0",
        r#"port="9797""#,
        "nonsense=1",
        r#"image={"repository":""}"#,
        r#"peerGroups={"x":["everywhere"]}"#,
        r#"image.pullPolicy="sometimes""#,
        r#"resources={"limit":{}}"#,
    ] {
        let output = helm(&[value]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value} was taken");
        assert!(stderr.contains("schema"), "{value}: {stderr}");
    }
}
