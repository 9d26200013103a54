"""What is created: restricted pods, fixed keys of Secrets, the failure policy, and who may ask for progress."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atelier_contract import names
from atelier_contract.inputs import TrainingInput
from atelier_contract.roles import Role
from atelier_operator.model import CreateJob
from atelier_operator.plan.decide_dataset import decide as decide_dataset
from atelier_operator.plan.failure_policy import render_failure_policy
from atelier_operator.plan.restricted import NotRestricted, require_restricted
from operator_builders import (
    UID,
    a_dataset,
    a_dataset_view,
    a_spec,
    created,
)
from plan_stages import at_collecting, at_preflight, at_publishing, at_training, training_child

CLAIM = {"persistentVolumeClaim": {"claimName": "shared", "path": "team"}}


def every_child() -> dict[str, CreateJob]:
    """One child of each role."""
    return {
        "inspect": created(decide_dataset(a_dataset_view(), at_preflight().now))[0],
        "preflight": created(at_preflight().plan)[0],
        "train": training_child(),
        "publish": created(at_publishing().plan)[0],
        "collect": created(at_collecting().plan)[0],
    }


def pod_of(child: CreateJob) -> dict[str, Any]:
    """The pod's spec of a child."""
    spec: dict[str, Any] = child.job["spec"]["template"]["spec"]
    return spec


def volume(child: CreateJob, path: str) -> dict[str, Any]:
    """The volume mounted at a path."""
    mounts = pod_of(child)["containers"][0]["volumeMounts"]
    name = next(mount["name"] for mount in mounts if mount["mountPath"] == path)
    return next(found for found in pod_of(child)["volumes"] if found["name"] == name)


def mounted(child: CreateJob) -> set[str]:
    """Every path that something is mounted at."""
    return {mount["mountPath"] for mount in pod_of(child)["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize("role", list(Role))
def test_every_pod_is_restricted(role: Role) -> None:
    """What is created for each role passes the check of Pod Security restricted."""
    require_restricted(pod_of(every_child()[role.value]))


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        ("pod", "hostNetwork", True),
        ("pod", "hostPID", True),
        ("pod", "volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
        ("context", "allowPrivilegeEscalation", True),
        ("context", "privileged", True),
        ("context", "capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        ("context", "runAsUser", 0),
        ("context", "runAsNonRoot", False),
        ("context", "seccompProfile", {"type": "Unconfined"}),
        ("context", "procMount", "Unmasked"),
    ],
)
def test_check_refuses_every_breach(place: str, field: str, value: object) -> None:
    """Each rule of the profile, broken alone, is refused by name."""
    pod = json.loads(json.dumps(pod_of(training_child())))
    target = pod if place == "pod" else pod["containers"][0]["securityContext"]
    target[field] = value
    with pytest.raises(NotRestricted):
        require_restricted(pod)


def test_pod_that_breaks_the_rules_is_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours in building a pod ends in an error, not in a Job."""
    host = [{"name": "host", "hostPath": {"path": "/"}}]
    monkeypatch.setattr("atelier_operator.plan.pods.build_volumes", lambda child: (host, []))
    with pytest.raises(NotRestricted, match="volume host"):
        at_preflight()


@pytest.mark.parametrize("role", list(Role))
def test_pods_have_no_cluster_rights(role: Role) -> None:
    """No pod gets a service account's token or the environment of services, and no sidecar is injected."""
    child = every_child()[role.value]
    assert pod_of(child)["automountServiceAccountToken"] is False
    assert pod_of(child)["enableServiceLinks"] is False
    assert child.job["spec"]["template"]["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}


@pytest.mark.parametrize("role", list(Role))
def test_container_follows_the_contract(role: Role) -> None:
    """Name, subcommand, environment and termination message are those that the trainer expects."""
    container = pod_of(every_child()[role.value])["containers"][0]
    assert container["name"] == names.CONTAINER
    assert container["args"] == [role.value]
    assert [entry["name"] for entry in container["env"]] == [
        names.ENV_POD_IP,
        names.ENV_POD_UID,
        names.ENV_EPHEMERAL_BYTES,
    ]
    assert (container["terminationMessagePath"], container["terminationMessagePolicy"]) == (
        names.TERMINATION_PATH,
        "File",
    )
    assert not {"livenessProbe", "readinessProbe", "startupProbe"} & set(container)


@pytest.mark.parametrize("role", list(Role))
def test_only_our_labels(role: Role) -> None:
    """A child and its pod carry the five labels and no other."""
    child = every_child()[role.value]
    labels = child.job["metadata"]["labels"]
    assert child.job["spec"]["template"]["metadata"]["labels"] == labels
    assert set(labels) == {
        names.LABEL_MANAGED_BY,
        names.LABEL_KIND,
        names.LABEL_OWNER,
        names.LABEL_OWNER_UID,
        names.LABEL_ROLE,
    }
    assert labels[names.LABEL_ROLE] == role.value


@pytest.mark.parametrize("role", list(Role))
def test_children_belong_to_the_object(role: Role) -> None:
    """Job, ConfigMap and NetworkPolicy are controlled by the object and never block its deletion."""
    child = every_child()[role.value]
    bodies = [child.job, child.config_map, *([child.network_policy] if child.network_policy else [])]
    for body in bodies:
        (reference,) = body["metadata"]["ownerReferences"]
        assert reference["controller"] is True
        assert reference["blockOwnerDeletion"] is False
        assert reference["uid"] == body["metadata"]["labels"][names.LABEL_OWNER_UID]


def test_only_training_asks_for_a_gpu() -> None:
    """The short Jobs ask for processor and memory alone."""
    for role, child in every_child().items():
        limits = pod_of(child)["containers"][0]["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) == (role == "train")


def test_gpus_of_zero_ask_for_none() -> None:
    """A trial on the processor names no GPU resource at all."""
    child = training_child(a_spec(pod={"gpus": 0, "memory": "2Gi"}))
    resources = pod_of(child)["containers"][0]["resources"]
    assert "nvidia.com/gpu" not in resources["limits"]
    assert resources["limits"]["memory"] == "2Gi"


def test_store_secret_is_drawn_by_key() -> None:
    """Exactly the store's keys are mounted, and a missing Secret does not keep the pod from starting."""
    secret = volume(training_child(), names.STORE_SECRET_DIR)["secret"]
    assert secret["secretName"] == names.STORE_SECRET
    assert [item["key"] for item in secret["items"]] == list(names.STORE_KEYS)
    assert secret["optional"] is True


def test_store_claim_replaces_the_secret() -> None:
    """A volume used as store is mounted to write, and no Secret is mounted then."""
    dataset = a_dataset(spec={"source": {"upload": {}}, "storage": CLAIM})
    child = training_child(a_spec(storage=CLAIM), dataset=dataset)
    assert volume(child, names.STORE_VOLUME_DIR)["persistentVolumeClaim"] == {"claimName": "shared"}
    assert names.STORE_SECRET_DIR not in mounted(child)


def test_foreign_bucket_brings_its_own_keys() -> None:
    """A dataset in a foreign bucket mounts that bucket's Secret, by the store's keys only."""
    spec = {"source": {"s3": {"uri": "s3://photos/teapots", "secretRef": {"name": "photos-key"}}}}
    secret = volume(training_child(dataset=a_dataset(spec=spec)), names.SOURCE_SECRET_DIR)["secret"]
    assert secret["secretName"] == "photos-key"
    assert [item["key"] for item in secret["items"]] == list(names.STORE_KEYS)


def test_token_comes_by_its_unusual_key_only() -> None:
    """A Secret named for a token can give nothing but the key made for it."""
    hub = {"repository": "owner/model", "revision": "a" * 40, "tokenSecretRef": {"name": "any"}}
    spec = a_spec(baseModel={"architecture": "StableDiffusion1", "source": {"huggingFace": hub}})
    secret = volume(training_child(spec), names.TOKEN_DIR)["secret"]
    assert secret["items"] == [{"key": names.KEY_HUGGING_FACE_TOKEN, "path": names.KEY_HUGGING_FACE_TOKEN}]


def test_volumes_of_pictures_and_base_model_are_read_only() -> None:
    """Claims that the trainer only reads are mounted so."""
    source = {"persistentVolumeClaim": {"claimName": "models", "path": "sd"}}
    spec = a_spec(baseModel={"architecture": "StableDiffusion1", "source": source})
    dataset = a_dataset(spec={"source": {"persistentVolumeClaim": {"claimName": "photos"}}})
    mounts = pod_of(training_child(spec, dataset=dataset))["containers"][0]["volumeMounts"]
    read_only = {mount["mountPath"] for mount in mounts if mount.get("readOnly")}
    assert {names.DATASET_VOLUME_DIR, names.BASE_MODEL_VOLUME_DIR} <= read_only


def test_scratch_space_is_writable() -> None:
    """The root is read-only, and /tmp, the scratch folder and /dev/shm are empty volumes."""
    child = training_child()
    container = pod_of(child)["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    for path in ("/tmp", names.SCRATCH_DIR, "/dev/shm"):
        assert "emptyDir" in volume(child, path)
    assert volume(child, "/dev/shm")["emptyDir"]["medium"] == "Memory"


def test_input_is_a_whole_volume() -> None:
    """The ConfigMap is mounted without subPath, so that control.json is renewed in a running pod."""
    child = training_child()
    mounts = pod_of(child)["containers"][0]["volumeMounts"]
    assert not any("subPath" in mount for mount in mounts)
    assert set(child.config_map["data"]) == {names.INPUT_FILE, names.CONTROL_FILE}
    assert volume(child, names.INPUT_DIR)["configMap"]["name"] == child.config_map["metadata"]["name"]


def test_training_input_is_the_pinned_run() -> None:
    """The trainer reads the revision, identity, image and settings that status shows."""
    stage = at_training()
    document = TrainingInput.from_bytes(training_child().config_map["data"][names.INPUT_FILE].encode())
    status = stage.view.status
    pinned = (document.dataset.revision, document.run_identity, document.spec_digest, document.trainer_image)
    assert pinned == (status.dataset_revision, status.run_identity, status.spec_digest, status.trainer_image)
    assert document.store.namespace_uid == "namespace-uid"


def test_network_policy_admits_the_operator_alone() -> None:
    """One policy selects the training pods of this object and admits the operator's pods on the progress port."""
    policy = training_child().network_policy
    assert policy is not None
    assert policy["spec"]["podSelector"]["matchLabels"][names.LABEL_OWNER_UID] == UID
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "atelier-system"}
    assert peer["podSelector"]["matchLabels"] == names.OPERATOR_LABELS
    assert rule["ports"] == [{"protocol": "TCP", "port": names.PROGRESS_PORT}]


def test_failure_policy_has_its_rules_in_order() -> None:
    """Disruptions first, then what costs nothing, then what ends the Job; new pods only after the old have ended."""
    policy = render_failure_policy()
    rules = policy["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[1]["onExitCodes"]["values"] == [30, 31]
    assert rules[2]["onExitCodes"]["values"] == [10, 11, 12, 13, 14]
    assert (policy["podReplacementPolicy"], policy["backoffLimit"]) == ("Failed", 2)


def test_finished_jobs_go_after_a_day() -> None:
    """Every child Job is removed by Kubernetes 24 hours after it has ended."""
    assert {child.job["spec"]["ttlSecondsAfterFinished"] for child in every_child().values()} == {86_400}


def test_only_short_jobs_have_a_deadline() -> None:
    """The deadline is the pod's, so that waiting for a node does not count; training's is kept by the plan."""
    for role, child in every_child().items():
        assert ("activeDeadlineSeconds" in pod_of(child)) == (role != "train")
        assert "activeDeadlineSeconds" not in child.job["spec"]


def test_placement_reaches_the_training_pod_alone() -> None:
    """Where a GPU pod must run says nothing about short Jobs; account and pull secrets serve both."""
    pod = {
        "nodeSelector": {"gpu": "big"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "priorityClassName": "low",
        "runtimeClassName": "nvidia",
        "serviceAccountName": "trainer",
        "imagePullSecrets": [{"name": "pull"}],
    }
    spec = a_spec(pod=pod)
    train = pod_of(training_child(spec))
    short = pod_of(created(at_preflight(spec).plan)[0])
    assert {key: train[key] for key in pod} == pod
    assert short["serviceAccountName"] == "trainer"
    assert short["imagePullSecrets"] == [{"name": "pull"}]
    assert not {"nodeSelector", "tolerations", "priorityClassName", "runtimeClassName"} & set(short)


def test_queued_job_is_created_suspended() -> None:
    """With a queue the training Job carries Kueue's label and waits for admission; the short Jobs do not."""
    spec = a_spec(queueName="team-a")
    train = training_child(spec).job
    assert train["metadata"]["labels"][names.LABEL_QUEUE_NAME] == "team-a"
    assert train["spec"]["suspend"] is True
    short = created(at_preflight(spec).plan)[0].job
    assert names.LABEL_QUEUE_NAME not in short["metadata"]["labels"]
    assert "suspend" not in short["spec"]


@pytest.mark.parametrize(("storage_bytes", "grace"), [(0, 120), (10_000, 120), (10 * 1_000_000_000, 210)])
def test_grace_grows_with_the_state(storage_bytes: int, grace: int) -> None:
    """A pod gets 60 s and a second for each 20 MB of state to save, at least 120 s."""
    child = training_child(storage_bytes=storage_bytes)
    assert pod_of(child)["terminationGracePeriodSeconds"] == grace


@pytest.mark.parametrize(
    ("tuning", "grace"),
    [({"optimizer": "Prodigy"}, 310), ({"emaDecay": 0.99}, 260), ({"optimizer": "Prodigy", "emaDecay": 0.99}, 360)],
)
def test_grace_counts_what_else_a_state_holds(tuning: dict, grace: int) -> None:
    """Prodigy keeps two more tensors a weight, a running mean one: 1 GB each, at 20 MB a second."""
    child = training_child(a_spec(tuning=tuning), storage_bytes=10 * 1_000_000_000)
    assert pod_of(child)["terminationGracePeriodSeconds"] == grace


def test_long_names_stay_within_a_label() -> None:
    """The longest allowed name still gives Jobs whose name fits a label, and each its own."""
    from atelier_operator.plan.names import name_errand

    first, second = (name_errand(letter * 49 + "b", Role.PREFLIGHT, "a" * 64) for letter in "ab")
    assert len(first) <= 63
    assert first != second
