"""Every label, annotation, path, environment name and Secret key, spelled once.

Operator, trainer, studio, chart tests and playground import them from here; none spells one itself. This module
holds constants only.
"""

from __future__ import annotations

GROUP = "atelier.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FIELD_MANAGER = "atelier-operator"
"""The one manager of status and children in server-side apply."""
STUDIO_FIELD_MANAGER = "kubectl-atelier"
"""Manager of what people ask for by the plugin."""
FINALIZER = f"{GROUP}/run-data"
"""Held while deletionPolicy is Delete and the run has data in the store."""

# Labels on children (Jobs, Pods, ConfigMaps, NetworkPolicies).
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "atelier"
LABEL_KIND = f"{GROUP}/kind"
"""Which kind of object the child serves: `Dataset` or `TrainingJob`."""
LABEL_OWNER = f"{GROUP}/owner"
"""Name of the object the child serves."""
LABEL_OWNER_UID = f"{GROUP}/owner-uid"
"""UID of that object: tells a child from one of an earlier object of the same name, also where an owner reference
must not be (the collect Job of a deletion) or is gone (a pod whose Job was deleted)."""
LABEL_ROLE = f"{GROUP}/role"
"""Which subcommand the child runs: one of `roles.Role`."""
LABEL_QUEUE_NAME = "kueue.x-k8s.io/queue-name"
"""Kueue's label; on the training Job only, and only when `spec.queueName` is given."""

# Annotations.
ANNOTATION_INSPECT_REQUESTED_AT = f"{GROUP}/inspect-requested-at"
ANNOTATION_RETRY_REQUESTED_AT = f"{GROUP}/retry-requested-at"
ANNOTATION_INPUT_DIGEST = f"{GROUP}/input-digest"
"""On children: digest of what they were made from; create-or-same compares it."""

# The container and what is mounted into it.
CONTAINER = "trainer"
TRAINER_UID = 65532
INPUT_DIR = "/etc/atelier/input"
INPUT_FILE = "input.json"
CONTROL_FILE = "control.json"
STORE_SECRET_DIR = "/etc/atelier/store"
SOURCE_SECRET_DIR = "/etc/atelier/source"
TOKEN_DIR = "/etc/atelier/tokens"
STORE_VOLUME_DIR = "/mnt/atelier/store"
DATASET_VOLUME_DIR = "/mnt/atelier/dataset"
BASE_MODEL_VOLUME_DIR = "/mnt/atelier/base-model"
MODEL_CACHE_DIR = "/mnt/atelier/model-cache"
SCRATCH_DIR = "/var/lib/atelier"
"""emptyDir for pictures, weights and the latent cache; `/tmp` and `/dev/shm` are emptyDirs too."""
TERMINATION_PATH = "/dev/termination-log"
TERMINATION_LIMIT_BYTES = 4096
"""What the kubelet keeps of a termination message."""

# Environment of every pod.
ENV_POD_IP = "POD_IP"
ENV_POD_UID = "POD_UID"
"""The attempt's id: new for every pod, so no key in the store is ever written twice."""
ENV_EPHEMERAL_BYTES = "ATELIER_EPHEMERAL_BYTES"
"""What the container may write to its disk: half of it is for what is encoded, the rest for checkpoints and states."""
ENV_INPUT_DIR = "ATELIER_INPUT_DIR"
"""Where the input lies when it is not `INPUT_DIR` (tests and local runs)."""
ENV_ROOT = "ATELIER_ROOT"
"""A folder that stands for `/` in every path above (tests and local runs). Default: `/`."""

# Environment of training pods that are several processes.
ENV_PROCESSES = "ATELIER_PROCESSES"
"""Processes of this pod that train, one for each GPU. Default: 1. On a machine without GPUs they train on the processor
(tests and local runs)."""
ENV_NODES = "ATELIER_NODES"
"""Pods that train one run together. Default: 1."""
ANNOTATION_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""On pods of an Indexed Job, by Kubernetes: which of the pods that work together this is, from 0."""
ENV_NODE_INDEX = "JOB_COMPLETION_INDEX"
"""Which of them this is, from 0: set by Kubernetes in pods of an Indexed Job."""
ENV_LEADER_ADDRESS = "MASTER_ADDR"
ENV_LEADER_PORT = "MASTER_PORT"
"""Where rank 0 is found by the other pods; torchrun's names."""
LEADER_PORT = 29500
"""torchrun's own."""

# What the trainer serves on POD_IP.
PROGRESS_PORT = 8080
PROGRESS_PATH = "/progress"
METRICS_PATH = "/metrics"
HEALTH_PATH = "/healthz"
PROGRESS_LIMIT_BYTES = 64 * 1024
PROGRESS_TIMEOUT_SECONDS = 5

# The Secret that describes a namespace's store.
STORE_SECRET = "atelier-storage"
KEY_ENDPOINT = "endpoint"
KEY_REGION = "region"
KEY_BUCKET = "bucket"
KEY_PREFIX = "prefix"
KEY_ACCESS_KEY_ID = "accessKeyId"
KEY_SECRET_ACCESS_KEY = "secretAccessKey"
KEY_CA_BUNDLE = "caBundle"
KEY_ADDRESSING_STYLE = "addressingStyle"
STORE_KEYS = (
    KEY_ENDPOINT,
    KEY_REGION,
    KEY_BUCKET,
    KEY_PREFIX,
    KEY_ACCESS_KEY_ID,
    KEY_SECRET_ACCESS_KEY,
    KEY_CA_BUNDLE,
    KEY_ADDRESSING_STYLE,
)
# Unusual on purpose: a foreign Secret named in a spec has no such key, so nothing of it can be drawn in.
KEY_HUGGING_FACE_TOKEN = "atelier-hf-token"
KEY_INVOKEAI_TOKEN = "atelier-invokeai-token"

# Limits that follow from Kubernetes.
MAX_NAME_LENGTH = 50
"""Of a TrainingJob or Dataset: child names add up to 13 characters and must stay below 64."""
MAX_STATUS_BYTES = 32 * 1024

# Environment of the operator: the chart writes it, `atelier_operator.settings` alone reads it.
ENV_POD_NAME = "POD_NAME"
"""Holder of the Lease: a restarted container of the same pod takes it back at once. (Also ENV_POD_IP: the address to
serve metrics on; every address where it is left out.)"""
ENV_POD_NAMESPACE = "POD_NAMESPACE"
"""Where the operator runs: its Lease lies there, and the NetworkPolicy of a run lets that namespace in."""
ENV_TRAINER_IMAGE = "ATELIER_TRAINER_IMAGE"
"""Required. Image of every child Job; by digest in production: it is part of a run's identity."""
ENV_IMAGE_PULL_POLICY = "ATELIER_IMAGE_PULL_POLICY"
"""imagePullPolicy of every child Job. Default: IfNotPresent."""
ENV_NAMESPACES = "ATELIER_NAMESPACES"
"""Namespaces to look after, separated by commas. Default: all of the cluster."""
ENV_OPERATOR_PORT = "ATELIER_OPERATOR_PORT"
"""Port of /metrics, /healthz and /readyz. Default: OPERATOR_PORT."""
ENV_LEASE_NAME = "ATELIER_LEASE_NAME"
"""Name of the Lease. Default: OPERATOR_LEASE."""
ENV_CONCURRENCY = "ATELIER_CONCURRENCY"
"""Objects looked at at once. Default: 16."""
ENV_LOG_LEVEL = "ATELIER_LOG_LEVEL"
"""DEBUG, INFO, WARNING or ERROR. Default: INFO."""
OPERATOR_PORT = 8081
READY_PATH = "/readyz"
"""Beside METRICS_PATH and HEALTH_PATH: the operator's caches are filled (it may be a standby without the Lease)."""
OPERATOR_LEASE = "atelier-operator"
LABEL_APP_NAME = "app.kubernetes.io/name"
LABEL_APP_COMPONENT = "app.kubernetes.io/component"
OPERATOR_LABELS = {LABEL_APP_NAME: "atelier", LABEL_APP_COMPONENT: "operator"}
"""Labels of the operator's pods; a run's NetworkPolicy admits pods that carry them."""

# Environment of the studio: what a person may set on their own machine.
ENV_STORE_ENDPOINT = "ATELIER_STORE_ENDPOINT"
"""Address of the store as reached from here, where the Secret's is known inside the cluster only."""
ENV_INVOKEAI_TOKEN = "ATELIER_INVOKEAI_TOKEN"
"""Bearer token of an InvokeAI server with accounts, where the job names no Secret that holds one."""
