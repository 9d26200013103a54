"""The chart as Helm renders it: valid, strict about its values, and exactly the rights that the operator uses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from atelier_contract import dataset, names, template, training_job
from atelier_operator.edges.cluster import API_CALLS
from atelier_operator.plan.restricted import require_restricted
from atelier_operator.settings import read_settings
from rendered import CHART, NAMESPACE, Object, pick, render

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "namespaced": {"namespaces": ["team-a", "team-b"]},
    "everything": {
        "operator": {
            "image": {"digest": "sha256:" + "0" * 64},
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"a": "b"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"a": "b"},
        },
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"name": "other", "annotations": {"a": "b"}},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"a": "b"}}},
    },
    "little": {
        "crds": {"install": False},
        "templates": {"install": False},
        "rbac": {"aggregate": False},
        "admissionPolicy": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "metrics": {"service": False},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_chart_is_free_of_lint(variant: str) -> None:
    """Helm's own linter finds no error and no warning."""
    found = helm_python.lint(CHART, VARIANTS[variant], strict=True, namespace=NAMESPACE)
    assert not found["errors"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_objects_are_named_once(variant: str) -> None:
    """No two objects of a release share kind, namespace and name."""
    objects = render(VARIANTS[variant])
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects]
    assert len(set(keys)) == len(keys)


def list_value_paths() -> set[str]:
    text = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
    return set(re.findall(r"\.Values\.([A-Za-z.]+)", text))


def test_every_value_used_is_in_the_values_file() -> None:
    """People read values.yaml: a template uses nothing that is not there."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    missing = []
    for path in list_value_paths():
        found: Any = values
        for part in path.split("."):
            found = found[part] if isinstance(found, dict) and part in found else missing
        if found is missing:
            missing.append(path)
    assert not missing


def list_leaves(values: Any, path: str = "") -> Iterator[str]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from list_leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path


def test_every_value_in_the_file_is_used() -> None:
    """A value that no template reads would promise something and do nothing."""
    used = list_value_paths()
    through = {"operator.image", "trainer.image"}  # handed to a named template as a whole
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    idle = [leaf for leaf in list_leaves(values) if not any(leaf.startswith(path) for path in used | through)]
    assert not idle


@pytest.mark.parametrize(
    "values",
    [
        {"oprator": {}},
        {"operator": {"image": {"tagg": "1"}}},
        {"operator": {"replicas": -1}},
        {"operator": {"logLevel": "LOUD"}},
        {"trainer": {"image": {"digest": "sha256:short"}}},
        {"namespaces": ["Team_A"]},
        {"metrics": {"port": 0}},
    ],
    ids=str,
)
def test_wrong_value_is_refused(values: dict[str, Any]) -> None:
    """A misspelt name or an impossible value is refused before anything is installed."""
    with pytest.raises(helm_python.HelmError):
        render(values)


def list_rights(rules: list[Object]) -> dict[tuple[str, str], set[str]]:
    """Return verbs by API group and resource."""
    rights: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights[group, resource] |= set(rule["verbs"])
    return dict(rights)


def list_operator_roles(objects: list[Object]) -> list[Object]:
    """Return the roles that are bound to the operator's account."""
    bound = {
        (one["roleRef"]["kind"], one["roleRef"]["name"], one["metadata"].get("namespace"))
        for one in objects
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding") and one["subjects"][0]["kind"] == "ServiceAccount"
    }
    return [one for one in objects if (one["kind"], one["metadata"]["name"], one["metadata"].get("namespace")) in bound]


WANTED = {(group, resource): set(verbs) for group, calls in API_CALLS.items() for resource, verbs in calls.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_rights_are_what_the_operator_uses(variant: str) -> None:
    """The operator is given every right it uses and none that it does not."""
    roles = list_operator_roles(render(VARIANTS[variant]))
    assert list_rights([rule for role in roles for rule in role["rules"]]) == WANTED


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_role_names_secrets_or_everything(variant: str) -> None:
    """No rule of the chart reaches Secrets, by name or by star, and none lets anybody raise their own rights."""
    for role in render(VARIANTS[variant]):
        for (group, resource), verbs in list_rights(role.get("rules") or []).items():
            assert "*" not in {group, resource, *verbs}
            assert not resource.startswith("secrets")
            assert not verbs & {"escalate", "bind", "impersonate"}


def test_namespaced_operator_has_no_right_elsewhere() -> None:
    """With `namespaces` set, what is left for the whole cluster is reading templates, namespaces and nodes."""
    objects = render(VARIANTS["namespaced"])
    (role,) = (one for one in list_operator_roles(objects) if one["kind"] == "ClusterRole")
    rights = list_rights(role["rules"])
    assert {resource for _, resource in rights} == {"trainingtemplates", "namespaces", "nodes"}
    assert not {verb for verbs in rights.values() for verb in verbs} - {"get", "list", "watch"}


def test_lease_is_limited_to_the_release() -> None:
    """Leases of others in the same namespace can be neither read nor taken."""
    (role,) = pick(render(), "Role", "atelier-lease")
    limited = [rule for rule in role["rules"] if rule["verbs"] != ["create"]]
    assert [rule["resourceNames"] for rule in limited] == [[read_environment()[names.ENV_LEASE_NAME]]]


def test_people_who_edit_may_write_and_people_who_view_may_read() -> None:
    """Creating TrainingJobs equals creating Jobs: it goes to edit, never to view."""
    objects = render()
    rights = {
        label: list_rights(role["rules"])
        for role in pick(objects, "ClusterRole")
        for label in role["metadata"]["labels"]
        if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    edit = rights["rbac.authorization.k8s.io/aggregate-to-edit"]
    view = rights["rbac.authorization.k8s.io/aggregate-to-view"]
    for plural in (dataset.PLURAL, training_job.PLURAL):
        assert {"create", "patch", "delete"} <= edit[names.GROUP, plural]
        assert view[names.GROUP, plural] == {"get", "list", "watch"}
    assert not [key for key in (*edit, *view) if "/" in key[1]]


def test_everybody_reads_templates_and_nobody_writes_them() -> None:
    """Templates have no namespace, so no role in a namespace reaches them: reading is for all who are logged in."""
    objects = render()
    (binding,) = (
        one for one in pick(objects, "ClusterRoleBinding") if one["subjects"][0]["name"] == "system:authenticated"
    )
    (role,) = pick(objects, "ClusterRole", binding["roleRef"]["name"])
    assert list_rights(role["rules"]) == {(names.GROUP, template.PLURAL): {"get", "list", "watch"}}


def read_environment(values: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the plain values of the operator's environment."""
    (deployment,) = pick(render(values), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def test_operator_reads_what_the_chart_writes() -> None:
    """The operator's settings take the rendered environment, and every name in it is the contract's."""
    environment = read_environment({"namespaces": ["team-a", "team-b"], "operator": {"concurrency": 4}})
    settings = read_settings(environment)
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.concurrency == 4
    assert settings.trainer_image == "atelier/trainer:0.1.0"
    spelled = {value for key, value in vars(names).items() if key.startswith("ENV_")}
    assert set(environment) <= spelled


def test_digest_wins_over_tag() -> None:
    """An image by digest is asked for by digest."""
    digest = "sha256:" + "0" * 64
    environment = read_environment({"trainer": {"image": {"digest": digest, "tag": "latest"}}})
    assert environment[names.ENV_TRAINER_IMAGE] == f"atelier/trainer@{digest}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_operator_pod_is_restricted(variant: str) -> None:
    """The operator itself satisfies Pod Security `restricted`, reads nothing but /tmp back, and has a memory limit."""
    (deployment,) = pick(render(VARIANTS[variant]), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    require_restricted(pod)
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"]


def test_probes_ask_the_port_that_is_served() -> None:
    """Probes, port and the operator's setting are one number, and the paths are the contract's."""
    (deployment,) = pick(render({"metrics": {"port": 9999}}), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9999}]
    assert container["livenessProbe"]["httpGet"] == {"path": names.HEALTH_PATH, "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": names.READY_PATH, "port": "metrics"}
    assert read_environment({"metrics": {"port": 9999}})[names.ENV_OPERATOR_PORT] == "9999"


def test_operator_pods_carry_the_labels_that_runs_let_in() -> None:
    """A run's NetworkPolicy admits pods with the contract's labels: the operator's have them."""
    (deployment,) = pick(render(), "Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= names.OPERATOR_LABELS.items()


def test_operator_may_reach_training_pods() -> None:
    """The operator's own fence has a gate to the port where trainers answer."""
    (policy,) = pick(render(), "NetworkPolicy")
    gates = [gate for gate in policy["spec"]["egress"] if "to" in gate]
    assert [gate["ports"][0]["port"] for gate in gates] == [names.PROGRESS_PORT]
    (pods,) = gates[0]["to"]
    assert pods["podSelector"]["matchLabels"] == {names.LABEL_MANAGED_BY: names.MANAGED_BY}


def test_policy_names_the_contract_s_keys() -> None:
    """The API server lets through exactly the Secret keys that the contract names."""
    (policy,) = pick(render(), "ValidatingAdmissionPolicy", f"{NAMESPACE}-atelier-jobs")
    (rule,) = (rule for rule in policy["spec"]["validations"] if "fixed keys" in rule["message"])
    (listed,) = re.findall(r"i\.key in (\[.*?\])", rule["expression"])
    assert set(yaml.safe_load(listed)) == {*names.STORE_KEYS, names.KEY_HUGGING_FACE_TOKEN, names.KEY_INVOKEAI_TOKEN}


def test_definitions_are_printed_as_generated() -> None:
    """What is installed is what crds/generate.py wrote, and an uninstall keeps it."""
    rendered = {one["metadata"]["name"]: one for one in pick(render(), "CustomResourceDefinition")}
    generated = [yaml.safe_load(path.read_text()) for path in sorted((CHART.parents[1] / "crds").glob("*.yaml"))]
    assert rendered == {one["metadata"]["name"]: one for one in generated}
    assert {one["metadata"]["annotations"]["helm.sh/resource-policy"] for one in generated} == {"keep"}
