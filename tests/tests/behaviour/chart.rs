//! Results of the Helm chart and the kustomization for an operator's settings.

use std::fs;
use std::path::{Component, Path};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Probe;
use reprise_tests::manifests::{added, deploy, documents, helm, pod, tool, typed};
use tempfile::TempDir;

/// Capabilities that the agent always has, in the notation of the manifests.
const ALWAYS: [&str; 3] = ["DAC_READ_SEARCH", "SYS_ADMIN", "SYS_PTRACE"];

fn with(more: &[&str]) -> Vec<String> {
    let mut all: Vec<_> = ALWAYS.iter().chain(more).map(ToString::to_string).collect();
    all.sort_unstable();
    all
}

fn helm_daemon_set(values: &[&str]) -> DaemonSet {
    typed(&documents(&helm(values))["DaemonSet"])
}

/// Renders an overlay of the kustomization with these components, as an operator would write it.
fn overlay_daemon_set(components: &[&str]) -> DaemonSet {
    let directory = TempDir::new().expect("failed to create a directory");
    let real = |path: &Path| fs::canonicalize(path).expect("no such directory");
    // kustomize rejects absolute paths.
    let up = real(directory.path())
        .components()
        .fold(String::new(), |up, part| match part {
            Component::Normal(_) => up + "../",
            _ => up,
        });
    let relative = |name: &str| {
        let path = real(&deploy(name)).display().to_string();
        up.clone() + path.trim_start_matches('/')
    };
    let mut text = format!("resources:\n  - {}\ncomponents:\n", relative("kubernetes"));
    for component in components {
        text += &format!("  - {}\n", relative(&format!("kubernetes/{component}")));
    }
    fs::write(directory.path().join("kustomization.yaml"), text).expect("failed to write");
    let mut kubectl = tool("kubectl");
    let output = kubectl.arg("kustomize").arg(directory.path()).output();
    typed(&documents(&output.expect("failed to start kubectl"))["DaemonSet"])
}

#[test]
fn older_kernels_get_more_capabilities() {
    for (oldest, components, more) in [
        ("6.9", &[][..], &[][..]),
        ("5.11", &["kernels-before-6.9"], &["NET_ADMIN"]),
        (
            "5.4",
            &["kernels-before-6.9", "kernels-before-5.11"],
            &["NET_ADMIN", "SYS_RESOURCE"],
        ),
    ] {
        let helm_daemon_set = helm_daemon_set(&[&format!("oldestKernel={oldest:?}")]);
        assert_eq!(added(pod(&helm_daemon_set)), with(more), "{oldest}");
        if components.is_empty() {
            continue;
        }
        let overlay_daemon_set = overlay_daemon_set(components);
        assert_eq!(added(pod(&overlay_daemon_set)), with(more), "{oldest}");
    }
}

#[test]
fn a_web_configuration_comes_from_a_secret() {
    let scheme = |probe: &Option<Probe>| {
        let get = probe.as_ref().and_then(|probe| probe.http_get.as_ref());
        get.expect("no probe").scheme.clone()
    };
    for (tls, expected) in [(false, None), (true, Some("HTTPS".to_owned()))] {
        let components: &[&str] = match tls {
            true => &["web-config", "web-config-tls"],
            false => &["web-config"],
        };
        for daemon_set in [
            helm_daemon_set(&[&format!(
                r#"webConfig={{"secret":"reprise-web","tls":{tls}}}"#
            )]),
            overlay_daemon_set(components),
        ] {
            let pod = pod(&daemon_set);
            let container = &pod.containers[0];
            let args = container.args.clone().expect("no arguments");
            let at = args.iter().position(|word| word == "--web-config");
            let file = &args[at.expect("no such flag") + 1];
            let mounts = container.volume_mounts.iter().flatten();
            let mut mounts =
                mounts.filter(|mount| file.strip_prefix(&mount.mount_path) == Some("/web.yml"));
            let mount = mounts.next().expect("the file is nowhere");
            assert_eq!(mount.read_only, Some(true));
            let mut volumes = pod.volumes.iter().flatten();
            let volume = volumes.find(|volume| volume.name == mount.name);
            let secret = volume.and_then(|volume| volume.secret.as_ref());
            assert_eq!(
                secret.and_then(|secret| secret.secret_name.as_deref()),
                Some("reprise-web")
            );
            for probe in [
                &container.liveness_probe,
                &container.readiness_probe,
                &container.startup_probe,
            ] {
                assert_eq!(scheme(probe), expected);
            }
        }
    }
}

#[test]
fn without_pod_names_there_is_no_token() {
    let documents = documents(&helm(&["podNames=false"]));
    assert!(!documents.contains_key("ClusterRole"), "{documents:?}");
    let daemon_set: DaemonSet = typed(&documents["DaemonSet"]);
    let pod = pod(&daemon_set);
    assert_eq!(pod.automount_service_account_token, Some(false));
    let args = pod.containers[0].args.clone().expect("no arguments");
    assert!(
        args.ends_with(&["--pod-names".to_owned(), "off".to_owned()]),
        "{args:?}"
    );
}

#[test]
fn invalid_values_are_rejected() {
    for value in [
        r#"oldestKernel="4.19""#,
        "oldestKernel=6.9",
        r#"webConfig={"secret":"x","file":"../web.yml"}"#,
        r#"prometheusRule.runbookBase="docs/""#,
    ] {
        let output = helm(&[value]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value} was taken");
        assert!(stderr.contains("schema"), "{value}: {stderr}");
    }
}
