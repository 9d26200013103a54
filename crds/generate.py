"""Write the three CRDs from the contract's models: here, and byte for byte the same into the chart.

    python crds/generate.py           write them
    python crds/generate.py --check   change nothing; fail and name every file that is not what the models say

The models are the one source. What only an API server can hold is added here: the rules that make a field immutable,
the rules of the whole object, printer columns, selectable fields, names. It may not know a cluster.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from atelier_contract import dataset, names, template, training_job
from atelier_contract.dataset import DatasetSpec, DatasetStatus
from atelier_contract.template import TrainingTemplateSpec
from atelier_contract.training_job import MUTABLE_FIELDS, TrainingJobSpec
from atelier_contract.training_job_status import TrainingJobStatus
from crd_schema import Schema, build_structural_schema

HERE = Path(__file__).resolve().parent
TARGETS = (HERE, HERE.parent / "charts" / "atelier" / "files" / "crds")
MAX_CRD_BYTES = 256 * 1024
"""kubectl's client-side apply keeps a copy of the object in an annotation, and annotations end there."""
HEADER = (
    "# Generated from crds/atelier_contract by crds/generate.py. Do not edit: change the models and run it again.\n"
)

Rule = dict[str, str]

WAY_OUT = "cannot change after creation: create a new TrainingJob, which may startFrom a checkpoint of this one"
NAME_RULE = {
    "rule": f"size(self.metadata.name) <= {names.MAX_NAME_LENGTH}",
    "message": f"metadata.name may have at most {names.MAX_NAME_LENGTH} characters, because the names of Jobs are made "
    "from it: choose a shorter name",
}
SELECTION_RULE = {
    "rule": "!has(oldSelf.status) || !has(oldSelf.status.collection) || !has(oldSelf.status.collection.startedAt)"
    " || (has(self.spec.selection) == has(oldSelf.spec.selection)"
    " && (!has(self.spec.selection) || self.spec.selection == oldSelf.spec.selection))",
    "message": "spec.selection is frozen once deletion has begun (status.collection.startedAt): what was kept lies "
    "under models/ in the store, the rest is gone",
}


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; a wide one is shown with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the column as a CRD spells it."""
        column: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            column["description"] = self.description
        return {**column, "priority": 1} if self.wide else column


AGE = Column("Age", ".metadata.creationTimestamp", "date")
READY = '.status.conditions[?(@.type=="Ready")]'


@dataclass(frozen=True)
class Kind:
    """One CRD: its names, its models and what the API server adds."""

    kind: str
    plural: str
    short_name: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel] | None
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    immutable: bool = False
    root_rules: tuple[Rule, ...] = ()
    namespaced: bool = True

    @property
    def file_name(self) -> str:
        """Name of its file, as the API calls it."""
        return f"{names.GROUP}_{self.plural}.yaml"


KINDS = (
    Kind(
        kind=dataset.KIND,
        plural=dataset.PLURAL,
        short_name=dataset.SHORT_NAME,
        description="Pictures and captions that TrainingJobs of the same namespace learn from.",
        spec=DatasetSpec,
        status=DatasetStatus,
        columns=(
            Column("State", f"{READY}.reason", description="Inspected, or why it cannot be used."),
            Column("Items", ".status.items", "integer", "Usable pictures."),
            Column("Captioned", ".status.captioned", "integer", "Usable pictures that have a caption."),
            Column("Usable", ".status.usableFor", description="Types of training it can be used for."),
            AGE,
            Column("Bytes", ".status.bytes", "integer", "Size of the usable pictures.", wide=True),
            Column("Revision", ".status.revision", description="Digest of the contents.", wide=True),
            Column("Message", f"{READY}.message", wide=True),
        ),
        root_rules=(NAME_RULE,),
    ),
    Kind(
        kind=training_job.KIND,
        plural=training_job.PLURAL,
        short_name=training_job.SHORT_NAME,
        description="One training run: what to learn, from which pictures, on which base model, and what to keep.",
        spec=TrainingJobSpec,
        status=TrainingJobStatus,
        columns=(
            Column("State", f"{READY}.reason", description="Where the run stands, in one word."),
            Column("Progress", ".status.progress.percent", "integer", "Share of the steps done, in percent."),
            Column("Step", ".status.progress.step", "integer", "Optimiser steps done."),
            Column("Loss", ".status.progress.loss", description="Training loss, smoothed."),
            Column("ETA", ".status.progress.remainingSeconds", "integer", "Estimate of the seconds left."),
            Column("Kept", ".status.kept", description="Checkpoints kept of all."),
            AGE,
            Column("Base", ".spec.baseModel.architecture", description="Family of the base model.", wide=True),
            Column("Dataset", ".spec.datasetRef.name", wide=True),
            Column("Node", ".status.attempts[-1:].node", description="Where the last attempt runs.", wide=True),
            Column("Message", f"{READY}.message", wide=True),
        ),
        selectable=(".spec.datasetRef.name", ".spec.baseModel.architecture", ".spec.modelName"),
        immutable=True,
        root_rules=(NAME_RULE, SELECTION_RULE),
    ),
    Kind(
        kind=template.KIND,
        plural=template.PLURAL,
        short_name=template.SHORT_NAME,
        description="Training settings for an objective, for all namespaces of the cluster.",
        spec=TrainingTemplateSpec,
        status=None,
        columns=(
            AGE,
            Column("Description", ".spec.description", description="When to use it.", wide=True),
        ),
        namespaced=False,
    ),
)


def build_immutability_rules(fields: tuple[str, ...]) -> list[Rule]:
    """Return the rules for `spec` that hold each field to what it was, present or absent.

    They stand on the parent: a rule on the field itself is not asked when the field is added or removed.
    """
    return [
        {
            "rule": f"has(self.{field}) == has(oldSelf.{field})"
            f" && (!has(self.{field}) || self.{field} == oldSelf.{field})",
            "message": f"{field} {WAY_OUT}",
            "fieldPath": f".{field}",
        }
        for field in fields
    ]


def build_object_schema(kind: Kind) -> Schema:
    """Return the schema of a whole object of the kind."""
    spec = build_structural_schema(kind.spec)
    if kind.immutable:
        fields = tuple(field for field in spec["properties"] if field not in MUTABLE_FIELDS)
        spec["x-kubernetes-validations"] = [*spec["x-kubernetes-validations"], *build_immutability_rules(fields)]
    properties: Schema = {
        "apiVersion": {"description": f"{names.API_VERSION}.", "type": "string"},
        "kind": {"description": f"{kind.kind}.", "type": "string"},
        "metadata": {"type": "object"},
        "spec": spec,
    }
    if kind.status is not None:
        properties["status"] = build_structural_schema(kind.status)
    schema: Schema = {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": properties,
    }
    if kind.root_rules:
        schema["x-kubernetes-validations"] = list(kind.root_rules)
    return schema


def build_crd(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    version: dict[str, Any] = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": build_object_schema(kind)},
        "additionalPrinterColumns": [column.as_json() for column in kind.columns],
    }
    if kind.status is not None:
        version["subresources"] = {"status": {}}
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{names.GROUP}",
            # Without it `helm uninstall` would delete the CRDs, and with them every object of everybody.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short_name],
                "categories": ["atelier"],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors: equal rules are written out, as people read them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True


def render(kind: Kind) -> str:
    """Return the file of a kind.

    Raises:
        SchemaRefused: a model cannot be a CRD.
        ValueError: the file would be too large for `kubectl apply`.
    """
    text = HEADER + yaml.dump(build_crd(kind), Dumper=_PlainDumper, sort_keys=False, width=118, allow_unicode=True)
    if len(text.encode()) > MAX_CRD_BYTES:
        raise ValueError(f"{kind.file_name} has {len(text.encode())} bytes, over {MAX_CRD_BYTES}: shorten descriptions")
    return text


def find_drift() -> list[Path]:
    """Return every file that is missing or differs from what the models say."""
    return [
        target / kind.file_name
        for kind in KINDS
        for target in TARGETS
        if not (target / kind.file_name).is_file() or (target / kind.file_name).read_text() != render(kind)
    ]


def write_all() -> None:
    """Write all files."""
    for target in TARGETS:
        target.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            (target / kind.file_name).write_text(render(kind))


def main() -> int:
    """Write the files, or with --check say which of them drifted. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the CRDs from the contract's models.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail on any drift")
    if not parser.parse_args().check:
        write_all()
        return 0
    drifted = find_drift()
    for path in drifted:
        print(f"{path.relative_to(HERE.parent)} is not what the models say: run python crds/generate.py")
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
