use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OUTER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
const SHORT: &str = "0123456789ab";
const UID: &str = "8fd4bc31-4e7c-4f40-a1b2-d1d57f0e0c11";
const UNDERSCORES: &str = "8fd4bc31_4e7c_4f40_a1b2_d1d57f0e0c11";
const HASH: &str = "4f2a91c6d3e85b07a1c2d3e4f5061728";

/// Container and workload of a process named `curl` without a known pod.
fn names(placement: &Placement) -> (String, String) {
    let owner = placement.owner(None, "curl");
    assert_eq!((owner.namespace, owner.pod), Default::default());
    (owner.container, owner.workload)
}

/// Paths as the runtimes and drivers create them, with the pod and the container that they show.
#[test]
fn paths_of_each_runtime_and_driver() {
    let burstable = "kubepods.slice/kubepods-burstable.slice";
    let kind = "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice";
    for (case, path, pod) in [
        (
            "containerd, systemd driver",
            format!(
                "/{burstable}/kubepods-burstable-pod{UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            Some(UID),
        ),
        (
            "containerd, systemd driver, guaranteed",
            format!("/kubepods.slice/kubepods-pod{UNDERSCORES}.slice/cri-containerd-{ID}.scope"),
            Some(UID),
        ),
        (
            "containerd, cgroupfs driver",
            format!("/kubepods/besteffort/pod{UID}/{ID}"),
            Some(UID),
        ),
        (
            "containerd, cgroupfs driver, guaranteed",
            format!("/kubepods/pod{UID}/{ID}"),
            Some(UID),
        ),
        (
            "containerd with the systemd driver of the kubelet only",
            format!(
                "/system.slice/containerd.service/kubepods-burstable-pod{UNDERSCORES}.slice:cri-containerd:{ID}"
            ),
            Some(UID),
        ),
        (
            "containerd with the systemd driver of the kubelet only, at the root",
            format!("/kubepods-pod{UNDERSCORES}.slice:cri-containerd:{ID}"),
            Some(UID),
        ),
        (
            "CRI-O, systemd driver",
            format!("/{burstable}/kubepods-burstable-pod{UNDERSCORES}.slice/crio-{ID}.scope"),
            Some(UID),
        ),
        (
            "CRI-O with crun, systemd driver",
            format!(
                "/{burstable}/kubepods-burstable-pod{UNDERSCORES}.slice/crio-{ID}.scope/container"
            ),
            Some(UID),
        ),
        (
            "CRI-O, cgroupfs driver",
            format!("/kubepods/burstable/pod{UID}/crio-{ID}"),
            Some(UID),
        ),
        (
            "cri-dockerd, systemd driver",
            format!("/{burstable}/kubepods-burstable-pod{UNDERSCORES}.slice/docker-{ID}.scope"),
            Some(UID),
        ),
        (
            "a static pod",
            format!("/{burstable}/kubepods-burstable-pod{HASH}.slice/cri-containerd-{ID}.scope"),
            Some(HASH),
        ),
        (
            "kind, systemd driver, from inside the node",
            format!(
                "/{kind}/kubelet-kubepods-besteffort-pod{UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            Some(UID),
        ),
        (
            "kind, systemd driver, from the host",
            format!(
                "/system.slice/docker-{OUTER}.scope/{kind}/kubelet-kubepods-besteffort-pod{UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            Some(UID),
        ),
        (
            "kind, cgroupfs driver, from the host",
            format!("/docker/{OUTER}/kubelet/kubepods/burstable/pod{UID}/{ID}"),
            Some(UID),
        ),
        (
            "another cgroupRoot with a dash",
            format!(
                "/my.slice/my-pods.slice/my-pods-kubepods.slice/my-pods-kubepods-pod{UNDERSCORES}.slice/crio-{ID}.scope"
            ),
            Some(UID),
        ),
        (
            "k3s in a container",
            format!("/docker/{OUTER}/kubepods/besteffort/pod{UID}/{ID}"),
            Some(UID),
        ),
        (
            "from a cgroup namespace, systemd driver",
            format!("/../../kubepods-burstable-pod{UNDERSCORES}.slice/cri-containerd-{ID}.scope"),
            Some(UID),
        ),
        (
            "from a cgroup namespace, cgroupfs driver",
            format!("/../../pod{UID}/{ID}"),
            Some(UID),
        ),
        (
            "Docker, systemd driver",
            format!("/system.slice/docker-{ID}.scope"),
            None,
        ),
        ("Docker, cgroupfs driver", format!("/docker/{ID}"), None),
        (
            "Docker in Docker",
            format!("/docker/{OUTER}/docker/{ID}"),
            None,
        ),
        ("nerdctl", format!("/default/{ID}"), None),
        (
            "podman, systemd driver",
            format!("/machine.slice/libpod-{ID}.scope/container"),
            None,
        ),
        (
            "podman with a pod of its own, systemd driver",
            format!("/machine.slice/machine-libpod_pod_{OUTER}.slice/libpod-{ID}.scope"),
            None,
        ),
        (
            "podman, cgroupfs driver",
            format!("/libpod_parent/libpod-{ID}"),
            None,
        ),
        (
            "systemd inside a container",
            format!("/machine.slice/libpod-{ID}.scope/container/system.slice/nginx.service"),
            None,
        ),
    ] {
        let placement = Placement::from_path(&path);
        assert_eq!(placement.pod_uid(), pod, "{case}: {path}");
        let expected = (SHORT.to_owned(), "curl".to_owned());
        assert_eq!(names(&placement), expected, "{case}: {path}");
        for content in [
            format!("0::{path}\n"),
            format!("12:memory:{path}\n1:name=systemd:{path}\n0::/\n"),
        ] {
            assert_eq!(Placement::from_proc(&content), placement, "{case}");
        }
    }
}

#[test]
fn slices_that_are_no_pods() {
    for path in [
        "/kubepods.slice/kubepods-podman.slice".to_owned(),
        "/kubepods.slice/kubepods-burstable.slice".to_owned(),
        format!("/system.slice/app-pod{UNDERSCORES}.slice"),
        format!("/machine.slice/machine-libpod_pod_{OUTER}.slice"),
    ] {
        let placement = Placement::from_path(&path);
        assert_eq!(placement, Placement::default(), "{path}");
    }
}

#[test]
fn units_then_process_names() {
    for (cgroup, expected) in [
        ("0::/system.slice/haproxy.service\n", "haproxy.service"),
        (
            "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
            "postgresql@15-main.service",
        ),
        (
            "1:name=systemd:/system.slice/nginx.service/workers\n0::/\n",
            "nginx.service",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service\n",
            "user@1000.service/sync.service",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice\n",
            "curl",
        ),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "curl"),
        ("0::/lxc.payload.web/system.slice/nginx.service\n", "curl"),
        ("0::/\n", "curl"),
        ("", "curl"),
        ("rubbish", "curl"),
    ] {
        let (container, workload) = names(&Placement::from_proc(cgroup));
        assert_eq!((container.as_str(), workload.as_str()), ("", expected));
    }
    let of_a_unit = format!("/system.slice/web.service/libpod-payload-{ID}");
    let expected = (SHORT.to_owned(), "web.service".to_owned());
    assert_eq!(names(&Placement::from_path(&of_a_unit)), expected);
}

#[test]
fn positions_that_users_control_name_no_unit_of_the_system() {
    const MANAGER: &str = "0::/user.slice/user-1000.slice/user@1000.service";
    let users_container = format!("user@1000.service/{SHORT}");
    for (case, cgroup, container, workload) in [
        (
            "a unit's name below a login session",
            "0::/user.slice/user-1000.slice/session-3.scope/haproxy.service\n".to_owned(),
            "",
            "curl",
        ),
        (
            "a unit's name directly below the user's manager",
            format!("{MANAGER}/haproxy.service\n"),
            "",
            "user@1000.service/haproxy.service",
        ),
        (
            "a unit's name inside a unit of the user",
            format!("{MANAGER}/app.slice/sync.service/haproxy.service\n"),
            "",
            "user@1000.service/sync.service",
        ),
        (
            "a whole path of the system below the user's manager",
            format!("{MANAGER}/system.slice/haproxy.service\n"),
            "",
            "user@1000.service/haproxy.service",
        ),
        (
            "another user's manager below the user's manager",
            format!("{MANAGER}/user.slice/user-0.slice/user@0.service/x.service\n"),
            "",
            "user@1000.service/user@0.service",
        ),
        (
            "a scope of the user with a unit's name inside",
            format!("{MANAGER}/app.slice/run-1.scope/haproxy.service\n"),
            "",
            "curl",
        ),
        (
            "a container of the user",
            format!("{MANAGER}/user.slice/libpod-{ID}.scope/container\n"),
            &users_container,
            "curl",
        ),
        (
            "a container of the user in a unit",
            format!("{MANAGER}/app.slice/web.service/libpod-payload-{ID}\n"),
            &users_container,
            "user@1000.service/web.service",
        ),
        (
            "a pod's name below the user's manager",
            format!("{MANAGER}/kubepods.slice/kubepods-pod{UNDERSCORES}.slice/crio-{ID}.scope\n"),
            &users_container,
            "curl",
        ),
        (
            "a pod's name of the cgroupfs driver below the user's manager",
            format!("{MANAGER}/kubepods/pod{UID}/{ID}\n"),
            &users_container,
            "curl",
        ),
        (
            "a manager in another user's slice is a unit as any other",
            "0::/user.slice/user-1.slice/user@2.service/x.service\n".to_owned(),
            "",
            "user@2.service",
        ),
        (
            "the runtime directory's unit of a user",
            "0::/user.slice/user-1000.slice/user-runtime-dir@1000.service\n".to_owned(),
            "",
            "user-runtime-dir@1000.service",
        ),
        (
            "a unit's name inside a unit of the system",
            "0::/system.slice/ci-runner.service/haproxy.service\n".to_owned(),
            "",
            "ci-runner.service",
        ),
        (
            "a unit in a slice of its own",
            "0::/web.slice/web-front.slice/haproxy.service\n".to_owned(),
            "",
            "haproxy.service",
        ),
        (
            "a unit without a slice",
            "0::/haproxy.service\n".to_owned(),
            "",
            "haproxy.service",
        ),
        (
            "a unit's name below a group that is neither slice nor service",
            "0::/build/haproxy.service\n".to_owned(),
            "",
            "curl",
        ),
        (
            "a unit, seen from a container",
            "0::/../../../system.slice/haproxy.service\n".to_owned(),
            "",
            "haproxy.service",
        ),
        (
            "a user's unit, seen from a container",
            "0::/../../../user.slice/user-7.slice/user@7.service/app.slice/a.service\n".to_owned(),
            "",
            "user@7.service/a.service",
        ),
        (
            "version 1 of control groups",
            "5:cpu:/user.slice\n1:name=systemd:/user.slice/user-7.slice/user@7.service/x.service\n0::/\n"
                .to_owned(),
            "",
            "user@7.service/x.service",
        ),
    ] {
        let placement = Placement::from_proc(&cgroup);
        let (found_container, found_workload) = names(&placement);
        let found = (found_container.as_str(), found_workload.as_str());
        assert_eq!(found, (container, workload), "{case}: {cgroup}");
        assert_eq!(placement.pod_uid(), None, "{case}: {cgroup}");
    }
}

#[test]
fn containers_of_one_pod_have_the_names_of_its_status() {
    let path = |id: &str| format!("/kubepods/pod{UID}/{id}");
    let pod = Pod {
        uid: UID.to_owned(),
        namespace: "shop".to_owned(),
        name: "till-0".to_owned(),
        containers: vec![
            (ID.to_owned(), "proxy".to_owned()),
            (OUTER.to_owned(), "app".to_owned()),
        ],
        ..Pod::default()
    };
    for (id, container, complete) in [
        (ID, "proxy", true),
        (OUTER, "app", true),
        // Its status is not known yet.
        (&ID.replace('0', "e"), "e123456789ab", false),
    ] {
        let placement = Placement::from_path(&path(id));
        let expected = Owner {
            namespace: "shop".to_owned(),
            pod: "till-0".to_owned(),
            container: container.to_owned(),
            workload: "till-0".to_owned(),
        };
        assert_eq!(placement.owner(Some(&pod), "curl"), expected);
        assert_eq!(placement.is_named_by(Some(&pod)), complete);
        assert!(!placement.is_named_by(None));
    }
    assert!(Placement::from_path("/system.slice/a.service").is_named_by(None));
}

#[test]
fn names_in_the_form_of_a_unit_or_a_pod_are_marked() {
    for (process, expected) in [
        ("haproxy.service", "process/haproxy.service"),
        ("shop/web", "process/shop/web"),
        ("nginx: worker", "nginx: worker"),
    ] {
        assert_eq!(process_workload(process), expected);
    }
}
