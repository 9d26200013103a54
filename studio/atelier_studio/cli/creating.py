"""The verbs that make jobs: create and clone. Both show the YAML that they apply."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from atelier_contract.architectures import Architecture
from atelier_studio.actions import choices, tables, wishes
from atelier_studio.actions.documents import write_yaml
from atelier_studio.actions.refusals import propose
from atelier_studio.actions.selection import list_selectable, read_names
from atelier_studio.actions.wishes import Wishes
from atelier_studio.cli import completing, questions
from atelier_studio.cli.asking import Declined
from atelier_studio.cli.options import ContextOption, DryRun, DryRunOption, JobArgument, NamespaceOption, OutputOption
from atelier_studio.cli.output import Output, is_terminal
from atelier_studio.cli.sending import tell
from atelier_studio.edges.cluster import DATASET, TEMPLATE, TRAINING_JOB, Cluster, Object
from atelier_studio.errors import AlreadyExists, BadRequest


class Type(StrEnum):
    """What can be trained, as it is typed."""

    CONCEPT_MODEL = "concept-model"
    EMBEDDING = "embedding"


KINDS = {Type.CONCEPT_MODEL: choices.CONCEPT, Type.EMBEDDING: choices.EMBEDDING}
FROM, LEARN = "What to learn from", "How to learn"
TypeArgument = Annotated[
    Type | None, typer.Argument(metavar="type", help="What to train: concept-model (LoRA) or embedding.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of the new TrainingJob. Default: from the model's name.")]
NewNameArgument = Annotated[str, typer.Argument(help="Name of the new TrainingJob.")]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", "-d", rich_help_panel=FROM, autocompletion=completing.complete_dataset, help="A Dataset."
    ),
]
ModelNameOption = Annotated[
    str | None,
    typer.Option("--model-name", "-m", rich_help_panel=FROM, help="Name of the model for people and published files."),
]
ArchitectureOption = Annotated[
    Architecture | None, typer.Option("--architecture", "-a", rich_help_panel=FROM, help="Family of the base model.")
]
BaseModelOption = Annotated[
    str | None,
    typer.Option(
        "--base-model",
        "-b",
        rich_help_panel=FROM,
        help="Path in the namespace's store (base-models/sdxl), claim:NAME/PATH, or hub:OWNER/NAME@COMMIT.",
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        "-t",
        rich_help_panel=LEARN,
        autocompletion=completing.complete_template,
        help="Settings for an objective: style, character, object, product, or your own TrainingTemplate.",
    ),
]
PrefixOption = Annotated[
    str | None,
    typer.Option(
        "--caption-prefix",
        rich_help_panel=LEARN,
        help="Concept models: prompt trigger put before every caption. Leave out if the captions hold it already.",
    ),
]
PhraseOption = Annotated[
    str | None,
    typer.Option(
        "--initial-phrase", rich_help_panel=LEARN, help="Embeddings: word to start from, at most 8 characters."
    ),
]
PlaceholderOption = Annotated[
    str | None, typer.Option("--placeholder", rich_help_panel=LEARN, help="Embeddings: word that calls it: <tkxw>.")
]
VectorsOption = Annotated[
    int | None, typer.Option("--vectors", rich_help_panel=LEARN, help="Embeddings: rows. Default by template.")
]
RankOption = Annotated[
    int | None, typer.Option("--rank", rich_help_panel=LEARN, help="Concept models: rank. Default by template.")
]
RateOption = Annotated[
    float | None,
    typer.Option("--learning-rate", rich_help_panel=LEARN, help="Speed of learning: 0.0001. Default by template."),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", rich_help_panel=LEARN, help="Training steps: 2000 or more. Default by template."),
]
EveryOption = Annotated[
    int | None,
    typer.Option("--every-steps", rich_help_panel=LEARN, help="Steps between checkpoints. Default: a tenth of all."),
]
PromptOption = Annotated[
    list[str] | None,
    typer.Option("--prompt", rich_help_panel=LEARN, help="What to draw at each checkpoint; up to 8 times."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        rich_help_panel=LEARN,
        help="Any other field of spec: --set tuning.resolution=512. `kubectl explain trainingjob.spec` lists them.",
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--start-from",
        metavar="CHECKPOINT",
        rich_help_panel=FROM,
        help="Go on from this checkpoint of the job that is cloned.",
    ),
]


def create(
    type_: TypeArgument = None,
    name: NameArgument = "",
    *,
    dataset: DatasetOption = None,
    model_name: ModelNameOption = None,
    architecture: ArchitectureOption = None,
    base_model: BaseModelOption = None,
    template: TemplateOption = None,
    caption_prefix: PrefixOption = None,
    initial_phrase: PhraseOption = None,
    placeholder: PlaceholderOption = None,
    vectors: VectorsOption = None,
    rank: RankOption = None,
    learning_rate: RateOption = None,
    steps: StepsOption = None,
    every_steps: EveryOption = None,
    prompt: PromptOption = None,
    set_: SetOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Make a TrainingJob, which begins to train. Asks at a terminal whatever is not given."""
    asked = Wishes(
        kind=KINDS[type_] if type_ else None,
        model_name=model_name,
        dataset=dataset,
        architecture=architecture,
        base_model=base_model,
        template=template,
        caption_prefix=caption_prefix,
        rank=rank,
        initial_phrase=initial_phrase,
        placeholder=placeholder,
        vectors=vectors,
        learning_rate=learning_rate,
        steps=steps,
        every_steps=every_steps,
        prompts=tuple(prompt or ()),
        settings=tuple(set_ or ()),
    )
    missing = questions.list_missing(asked)
    if missing and not is_terminal():
        raise BadRequest(f"say also {', '.join(missing)}: nobody can be asked here (no terminal)")
    if dry_run is DryRun.CLIENT and not missing:
        # Needs no cluster: a manifest for Git.
        sys.stdout.write(write_yaml(wishes.build_job(name, asked)))
        return
    cluster = Cluster(namespace, context)
    if missing:
        name, asked = questions.ask_wishes(cluster, name, asked)
    body = wishes.build_job(name, asked)
    if missing and dry_run is None:
        sys.stdout.write(write_yaml(body))
        if not questions.confirm("Begin training?"):
            raise Declined("nothing was created")
    _apply(cluster, body, output, dry_run, is_shown=bool(missing) and dry_run is None)


def clone(
    job: JobArgument,
    new: NewNameArgument,
    *,
    start_from: StartOption = None,
    dataset: DatasetOption = None,
    model_name: ModelNameOption = None,
    base_model: BaseModelOption = None,
    template: TemplateOption = None,
    caption_prefix: PrefixOption = None,
    initial_phrase: PhraseOption = None,
    rank: RankOption = None,
    learning_rate: RateOption = None,
    steps: StepsOption = None,
    every_steps: EveryOption = None,
    prompt: PromptOption = None,
    set_: SetOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = None,
) -> None:
    """Make a TrainingJob like another one, with changes; with --start-from it goes on from a checkpoint."""
    cluster = Cluster(namespace, context)
    source = cluster.get(TRAINING_JOB, job)
    asked = Wishes(
        model_name=model_name,
        dataset=dataset,
        base_model=base_model,
        template=template,
        caption_prefix=caption_prefix,
        rank=rank,
        initial_phrase=initial_phrase,
        learning_rate=learning_rate,
        steps=steps,
        every_steps=every_steps,
        prompts=tuple(prompt or ()),
        start_from=(job, find_start(source, start_from)) if start_from else None,
        settings=tuple(set_ or ()),
    )
    body = wishes.build_job(new, asked, wishes.copy_spec(source["spec"]))
    _apply(cluster, body, output, dry_run)


def find_start(source: Object, words: str) -> str:
    """Return the checkpoint of a job to go on from.

    Raises:
        BadRequest: the job has no such checkpoint any more; says which there are.
    """
    (name,) = read_names([words])
    known = [row.name for row in list_selectable(tables.read_status(source))]
    if name not in known:
        raise BadRequest(
            f"{name} is no checkpoint of {source['metadata']['name']} to go on from: {propose(name, known)}"
        )
    return name


def _apply(
    cluster: Cluster, body: Object, output: Output | None, dry_run: DryRun | None, *, is_shown: bool = False
) -> None:
    """Check a job against what is there, show it, and create it."""
    name = body["metadata"]["name"]
    if dry_run is DryRun.CLIENT:
        sys.stdout.write(write_yaml(body))
        return
    spec = tables.read_spec(body)
    choices.check_dataset(cluster.get(DATASET, spec.dataset_ref.name), spec.model_type)
    if spec.template_ref:
        template = cluster.get(TEMPLATE, spec.template_ref.name)
        choices.check_template(template, spec.model_type, spec.base_model.architecture)
    try:
        created = cluster.create(TRAINING_JOB, body, dry_run=dry_run is DryRun.SERVER)
    except AlreadyExists as error:
        raise AlreadyExists(
            f"there is a TrainingJob {name} in namespace {cluster.namespace} already, and what a job trains is fixed: "
            f"choose another name, or `kubectl delete trainingjob {name}` first"
        ) from error
    if output in {None, Output.WIDE} and not is_shown:
        sys.stdout.write(write_yaml(body))
    sentence = (
        f"{name} would be created" if dry_run else f"{name} is created: `kubectl atelier watch {name}` follows it"
    )
    tell(created, f"\n{sentence}", output=output, dry_run=dry_run)
