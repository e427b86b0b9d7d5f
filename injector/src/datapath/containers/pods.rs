//! The names of containers that Kubernetes has started.

use super::Noted;

/// A container of a pod; the pod itself where there is no name.
pub(super) struct Member<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: Option<&'a str>,
}

impl Member<'_> {
    /// Names it: a pod as `POD` or `NAMESPACE/POD`, a container by its name, and behind that of its pod.
    pub(super) fn name(&self, noted: Noted) -> Noted {
        let Self {
            namespace,
            pod,
            container,
        } = self;
        let mut names = match container {
            Some(container) => vec![
                format!("{pod}/{container}"),
                format!("{namespace}/{pod}/{container}"),
                (*container).to_owned(),
            ],
            None => vec![(*pod).to_owned(), format!("{namespace}/{pod}")],
        };
        names.extend(noted.names);
        Noted {
            names,
            is_pod: container.is_none(),
            ..noted
        }
    }
}

/// Takes its name apart, as the kubelet gives it to Docker, and CRI-O to what it stores: `k8s_POD_` stands before a pod
/// in the former, and nothing in the latter.
pub(super) fn by_name(noted: Noted) -> Noted {
    let Some(name) = noted.names.first().cloned() else {
        return noted;
    };
    let parts: Vec<_> = name.split('_').collect();
    let (container, pod, namespace) = match parts[..] {
        ["k8s", "POD", pod, namespace, _, _] | ["k8s", pod, namespace, _, _] => {
            (None, pod, namespace)
        }
        ["k8s", container, pod, namespace, _, _] => (Some(container), pod, namespace),
        _ => return noted,
    };
    let member = Member {
        namespace,
        pod,
        container,
    };
    member.name(noted)
}
