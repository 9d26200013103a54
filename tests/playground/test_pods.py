"""Pods on the playground's node get what a kubelet would give them."""

from __future__ import annotations

import json

import pytest

from atelier_playground.api import wait_for
from atelier_playground.cluster import Cluster
from atelier_playground.errors import ApiError
from cluster import PYTHON_IMAGE
from pods import build_pod, read_pod, read_termination, read_waiting_reason, wait_for_phase

pytestmark = pytest.mark.cluster


def run_to_end(cluster: Cluster, namespace: str, pod: dict) -> dict:
    """Create a pod and wait until it has ended."""
    cluster.api.create(pod, namespace)
    return wait_for_phase(cluster.api, namespace, pod["metadata"]["name"], "Succeeded", "Failed")


class TestAdmission:
    def test_restricted_pod_runs(self, cluster: Cluster, namespace: str):
        """A pod that satisfies Pod Security `restricted` runs to its end."""
        pod = run_to_end(cluster, namespace, build_pod("good", "exit 0"))
        assert (pod["status"]["phase"], read_termination(pod)["reason"]) == ("Succeeded", "Completed")

    def test_unrestricted_pod_is_refused(self, cluster: Cluster, namespace: str):
        """The API server refuses a pod that may gain privileges."""
        pod = build_pod("bad", "exit 0", container={"securityContext": {}})
        with pytest.raises(ApiError, match="violates PodSecurity"):
            cluster.api.create(pod, namespace)


class TestSandbox:
    def test_exit_code_and_message_arrive(self, cluster: Cluster, namespace: str):
        """The exit code and the termination message of a container reach its status."""
        pod = run_to_end(cluster, namespace, build_pod("told", "printf 'too dark' > /dev/termination-log; exit 13"))
        ended = read_termination(pod)
        assert (ended["exitCode"], ended["reason"], ended["message"]) == (13, "Error", "too dark")

    def test_message_is_cut_at_4096_bytes(self, cluster: Cluster, namespace: str):
        """Of a longer termination message the last 4096 bytes are kept."""
        script = "head -c 5000 /dev/zero | tr '\\0' a > /dev/termination-log; printf end >> /dev/termination-log"
        message = read_termination(run_to_end(cluster, namespace, build_pod("long", script)))["message"]
        assert (len(message), message[-4:]) == (4096, "aend")

    def test_message_may_come_from_the_log(self, cluster: Cluster, namespace: str):
        """With FallbackToLogsOnError and no message, the end of the log is the message."""
        policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        pod = run_to_end(cluster, namespace, build_pod("fallback", "echo it broke; exit 1", container=policy))
        assert read_termination(pod)["message"] == "it broke\n"

    def test_container_sees_only_its_image(self, cluster: Cluster, namespace: str):
        """Nothing of the machine but the image's view and the pod's mounts is there, and the root refuses writes."""
        script = "ls / > /dev/termination-log; touch /etc/x 2>/dev/null && exit 1; test -w /tmp && exit 2; exit 0"
        ended = read_termination(run_to_end(cluster, namespace, build_pod("alone", script)))
        entries = set(ended["message"].split()) - {"bin", "sbin", "lib", "lib64"}
        assert (ended["exitCode"], entries) == (0, {"dev", "etc", "home", "proc", "tmp", "usr"})

    def test_user_and_processes_are_its_own(self, cluster: Cluster, namespace: str):
        """The program is process 1 under the uid that the pod asks for, without any capability."""
        script = (
            "echo $$$$ $(id -u) $(id -g) $(grep -c '^Cap.*:.0*$' /proc/self/status) $(hostname) > /dev/termination-log"
        )
        context = {"runAsNonRoot": True, "runAsUser": 4321, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = run_to_end(cluster, namespace, build_pod("who", script, securityContext=context))
        assert read_termination(pod)["message"] == "1 4321 4321 5 who\n"

    def test_unknown_program_fails(self, cluster: Cluster, namespace: str):
        """A command that the image does not have ends the container with an error that names it."""
        pod = build_pod("nothing", "", container={"command": ["/no/such/program"]})
        ended = run_to_end(cluster, namespace, pod)
        assert (ended["status"]["phase"], "/no/such/program" in cluster.api.read_logs(namespace, "nothing")) == (
            "Failed",
            True,
        )

    def test_memory_over_the_limit_kills(self, cluster: Cluster, namespace: str):
        """A container that takes more memory than its limit is killed as OOMKilled with exit code 137."""
        hungry = "import time; kept = bytearray(b'x') * (200 << 20); time.sleep(60)"
        container = {
            "command": ["/opt/venv/bin/python", "-c", hungry],
            "resources": {"limits": {"memory": "64Mi"}},
        }
        pod = run_to_end(cluster, namespace, build_pod("hungry", "", PYTHON_IMAGE, container))
        ended = read_termination(pod)
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


class TestImages:
    def test_unknown_image_keeps_the_pod_pending(self, cluster: Cluster, namespace: str):
        """A pod whose image cannot be pulled waits with ImagePullBackOff and stays Pending."""
        cluster.api.create(build_pod("lost", "", "atelier.test/unknown:9"), namespace)
        wait_for(
            lambda: read_waiting_reason(read_pod(cluster.api, namespace, "lost")) == "ImagePullBackOff",
            "the pod says ImagePullBackOff",
        )
        assert read_pod(cluster.api, namespace, "lost")["status"]["phase"] == "Pending"

    def test_image_that_appears_is_used(self, cluster: Cluster, namespace: str):
        """A waiting pod starts once its image is in the registry."""
        from atelier_playground.images import build_system_image

        cluster.api.create(build_pod("patient", "exit 0", "atelier.test/late:1"), namespace)
        wait_for(lambda: read_waiting_reason(read_pod(cluster.api, namespace, "patient")) is not None, "the pod waits")
        cluster.add_image("atelier.test/late", build_system_image())
        wait_for_phase(cluster.api, namespace, "patient", "Succeeded")

    def test_project_is_absent_from_an_image_without_it(self, cluster: Cluster, namespace: str):
        """An image without source roots cannot import the project, although the environment is an editable install."""
        code = "import torch.version, importlib.util as u; print(u.find_spec('atelier_contract'))"
        container = {"command": ["/opt/venv/bin/python", "-c", "import importlib.util as u; " + code.split("; ")[1]]}
        run_to_end(cluster, namespace, build_pod("bare", "", PYTHON_IMAGE, container))
        assert cluster.api.read_logs(namespace, "bare") == "None\n"


class TestEnvironment:
    def test_fields_and_keys_reach_the_environment(self, cluster: Cluster, namespace: str):
        """Variables come from the pod's fields, from ConfigMaps and Secrets, and from each other."""
        cluster.api.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"colour": "blue"}}, namespace
        )
        env = [
            {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "colour"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k", "optional": True}}},
            {"name": "BOTH", "value": "$(COLOUR)-$$(COLOUR)"},
        ]
        script = "echo $UID $IP $COLOUR ${NONE-unset} $BOTH > /dev/termination-log"
        pod = run_to_end(cluster, namespace, build_pod("env", script, container={"env": env}))
        expected = [pod["metadata"]["uid"], pod["status"]["podIP"], "blue", "unset", "blue-$(COLOUR)"]
        assert read_termination(pod)["message"].split() == expected

    def test_missing_key_keeps_the_container_waiting(self, cluster: Cluster, namespace: str):
        """A variable from a Secret that is not there holds the container back and says so."""
        env = [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]
        cluster.api.create(build_pod("held", "exit 0", container={"env": env}), namespace)
        wait_for(
            lambda: read_waiting_reason(read_pod(cluster.api, namespace, "held")) == "CreateContainerConfigError",
            "the container says what is missing",
        )


class TestVolumes:
    def test_config_map_changes_arrive(self, cluster: Cluster, namespace: str):
        """A running container sees the new contents of a ConfigMap under the same path."""
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "control"}, "data": {"stop": "no"}}
        cluster.api.create(document, namespace)
        container = {"volumeMounts": [{"name": "control", "mountPath": "/etc/control"}]}
        script = "until grep -q yes /etc/control/stop; do sleep 0.1; done"
        volume = {"name": "control", "configMap": {"name": "control"}}
        cluster.api.create(build_pod("watching", script, container=container, volumes=[volume]), namespace)
        wait_for_phase(cluster.api, namespace, "watching", "Running")
        cluster.api.patch("v1", "ConfigMap", "control", {"data": {"stop": "yes"}}, namespace)
        wait_for_phase(cluster.api, namespace, "watching", "Succeeded")

    def test_optional_secret_may_be_missing(self, cluster: Cluster, namespace: str):
        """A missing optional Secret is an empty directory."""
        container = {"volumeMounts": [{"name": "s", "mountPath": "/etc/s"}]}
        volume = {"name": "s", "secret": {"secretName": "absent", "optional": True}}
        script = 'test -d /etc/s && test -z "$(ls /etc/s)"'
        pod = run_to_end(cluster, namespace, build_pod("optional", script, container=container, volumes=[volume]))
        assert pod["status"]["phase"] == "Succeeded"

    def test_required_secret_is_waited_for(self, cluster: Cluster, namespace: str):
        """A missing Secret shows as a FailedMount Event, and the pod starts once it is there."""
        container = {"volumeMounts": [{"name": "s", "mountPath": "/etc/s", "readOnly": True}]}
        volume = {"name": "s", "secret": {"secretName": "late", "items": [{"key": "k", "path": "deep/k"}]}}
        pod = build_pod("waits", "grep -q v /etc/s/deep/k", container=container, volumes=[volume])
        cluster.api.create(pod, namespace)
        wait_for(
            lambda: [one for one in cluster.api.list("v1", "Event", namespace) if one["reason"] == "FailedMount"],
            "an Event says that the mount failed",
        )
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"k": "v"}}
        cluster.api.create(secret, namespace)
        wait_for_phase(cluster.api, namespace, "waits", "Succeeded")

    def test_token_is_known_to_the_api(self, cluster: Cluster, namespace: str):
        """A pod reaches the API server with its own token, trusting the authority it was given."""
        code = (
            "import json, os, ssl, urllib.request as u\n"
            "d = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
            "t = open(d + 'token').read()\n"
            "e = os.environ\n"
            "b = 'https://' + e['KUBERNETES_SERVICE_HOST'] + ':' + e['KUBERNETES_SERVICE_PORT']\n"
            "p = '/apis/authentication.k8s.io/v1/selfsubjectreviews'\n"
            "h = {'Authorization': 'Bearer ' + t, 'Content-Type': 'application/json'}\n"
            "q = json.dumps({'apiVersion': 'authentication.k8s.io/v1', 'kind': 'SelfSubjectReview'}).encode()\n"
            "r = u.Request(b + p, q, h)\n"
            "print(u.urlopen(r, context=ssl.create_default_context(cafile=d + 'ca.crt')).read().decode())\n"
        )
        container = {"command": ["/opt/venv/bin/python", "-c", code]}
        pod = build_pod("known", "", PYTHON_IMAGE, container, automountServiceAccountToken=True)
        run_to_end(cluster, namespace, pod)
        review = json.loads(cluster.api.read_logs(namespace, "known"))
        assert review["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"

    def test_empty_directory_outlives_a_restart(self, cluster: Cluster, namespace: str):
        """An emptyDir keeps its files when the container restarts, and is writable."""
        container = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
        script = "test -e /scratch/once && exit 0; touch /scratch/once; exit 1"
        volume = {"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}
        pod = build_pod("again", script, container=container, volumes=[volume], restartPolicy="OnFailure")
        cluster.api.create(pod, namespace)
        ended = wait_for_phase(cluster.api, namespace, "again", "Succeeded")
        assert ended["status"]["containerStatuses"][0]["restartCount"] == 1

    def test_claim_keeps_files_between_pods(self, cluster: Cluster, namespace: str):
        """A claim of the default class is bound, and what one pod writes the next one reads."""
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"}, "spec": spec}
        cluster.api.create(claim, namespace)
        container = {"volumeMounts": [{"name": "disk", "mountPath": "/disk"}]}
        volume = {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}
        run_to_end(
            cluster, namespace, build_pod("writes", "echo kept > /disk/f", container=container, volumes=[volume])
        )
        script = "cat /disk/f > /dev/termination-log"
        reader = build_pod("reads", script, container=container, volumes=[volume])
        assert read_termination(run_to_end(cluster, namespace, reader))["message"] == "kept\n"


class TestLife:
    def test_deletion_gives_grace(self, cluster: Cluster, namespace: str):
        """A deleted pod gets SIGTERM, may end in order within its grace, and its last state is seen before it goes."""
        script = "trap 'echo saved > /dev/termination-log; exit 30' TERM; while :; do sleep 0.1; done"
        pod = build_pod("graceful", script)
        # A finalizer keeps the object, so that the state after the end can be looked at.
        pod["metadata"]["finalizers"] = ["atelier.test/look"]
        cluster.api.create(pod, namespace)
        wait_for_phase(cluster.api, namespace, "graceful", "Running")
        cluster.api.delete("v1", "Pod", "graceful", namespace)
        ended = read_termination(wait_for_phase(cluster.api, namespace, "graceful", "Failed"))
        assert (ended["exitCode"], ended["message"]) == (30, "saved\n")
        cluster.api.patch("v1", "Pod", "graceful", {"metadata": {"finalizers": None}}, namespace)
        wait_for(lambda: cluster.api.find("v1", "Pod", "graceful", namespace) is None, "the pod is gone")

    def test_deaf_program_is_killed_after_its_grace(self, cluster: Cluster, namespace: str):
        """A program that ignores SIGTERM is killed when the grace is over."""
        pod = build_pod("deaf", "trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=1)
        pod["metadata"]["finalizers"] = ["atelier.test/look"]
        cluster.api.create(pod, namespace)
        wait_for_phase(cluster.api, namespace, "deaf", "Running")
        cluster.api.delete("v1", "Pod", "deaf", namespace)
        ended = read_termination(wait_for_phase(cluster.api, namespace, "deaf", "Failed"))
        cluster.api.patch("v1", "Pod", "deaf", {"metadata": {"finalizers": None}}, namespace)
        assert ended["exitCode"] == 137

    def test_deadline_fails_the_pod(self, cluster: Cluster, namespace: str):
        """A pod that outlives activeDeadlineSeconds fails with DeadlineExceeded."""
        cluster.api.create(build_pod("late", "sleep 60", activeDeadlineSeconds=1), namespace)
        pod = wait_for_phase(cluster.api, namespace, "late", "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"

    def test_initial_containers_come_first(self, cluster: Cluster, namespace: str):
        """Containers start only after every initial container has succeeded."""
        mounts = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
        pod = build_pod("ordered", "cat /shared/f > /dev/termination-log", container=mounts)
        first = {**pod["spec"]["containers"][0], "name": "first", "command": ["/bin/sh", "-c", "echo 1 > /shared/f"]}
        pod["spec"] |= {"initContainers": [first], "volumes": [{"name": "shared", "emptyDir": {}}]}
        assert read_termination(run_to_end(cluster, namespace, pod))["message"] == "1\n"

    def test_readiness_follows_the_probe(self, cluster: Cluster, namespace: str):
        """A container is ready once its probe passes, asked on the pod's own address."""
        code = (
            "import http.server, os\n"
            "http.server.HTTPServer((os.environ['IP'], 8080), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
        )
        container = {
            "command": ["/opt/venv/bin/python", "-c", code],
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        }
        cluster.api.create(build_pod("serves", "", PYTHON_IMAGE, container), namespace)
        wait_for(
            lambda: read_pod(cluster.api, namespace, "serves")["status"].get("containerStatuses", [{}])[0].get("ready"),
            "the container is ready",
        )

    def test_failed_job_is_counted(self, cluster: Cluster, namespace: str):
        """The Job controller applies podFailurePolicy to exit codes that come from the node."""
        pod = build_pod("unused", "exit 13")["spec"]
        rule = {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [13]}}
        spec = {"backoffLimit": 2, "podFailurePolicy": {"rules": [rule]}, "template": {"spec": pod}}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "fails"}, "spec": spec}
        cluster.api.create(job, namespace)

        def read_reason() -> str | None:
            conditions = cluster.api.get("batch/v1", "Job", "fails", namespace)["status"].get("conditions") or ()
            return next((one["reason"] for one in conditions if one["type"] == "Failed"), None)

        assert wait_for(read_reason, "the Job has failed") == "PodFailurePolicy"


class TestLogs:
    def test_kubectl_reads_and_follows_logs(self, cluster: Cluster, namespace: str):
        """`kubectl logs -f` shows what a container writes until it ends."""
        cluster.api.create(build_pod("talks", "for i in 1 2 3; do echo line $i; sleep 0.2; done"), namespace)
        wait_for_phase(cluster.api, namespace, "talks", "Running", "Succeeded")
        assert cluster.kubectl("logs", "-f", "-n", namespace, "talks") == "line 1\nline 2\nline 3\n"

    def test_tail_shows_the_last_lines(self, cluster: Cluster, namespace: str):
        """`kubectl logs --tail` shows only the last lines."""
        run_to_end(cluster, namespace, build_pod("talked", "seq 1000"))
        assert cluster.kubectl("logs", "--tail", "2", "-n", namespace, "talked") == "999\n1000\n"
