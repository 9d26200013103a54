"""The questions of `create` at a terminal, in the order of the guide: each with what the answer is good for.

In come the cluster and what was given as options, out goes the whole wish. Only what is missing is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atelier_contract.identity import slugify
from atelier_studio.actions import choices
from atelier_studio.actions.choices import CONCEPT, EMBEDDING, RECOMMENDED_STEPS, Choice
from atelier_studio.actions.wishes import Wishes
from atelier_studio.edges.cluster import DATASET, TEMPLATE, TRAINING_JOB, Cluster
from atelier_studio.errors import BadRequest

if TYPE_CHECKING:
    from questionary import Question

    from atelier_contract.template import Recipe

OTHER = Choice("", "another: type where it lies")
NONE = Choice("", "none: built-in defaults")
MAX_PHRASE = 8
"""Characters of an embedding's initial phrase, by the guide and the contract."""
TYPES = (
    Choice(CONCEPT, "a concept model (LoRA): learns something new in detail; the pictures need captions"),
    Choice(EMBEDDING, "an embedding: one word for what the base model can draw already; no captions needed"),
)


def ask_wishes(cluster: Cluster, name: str, wishes: Wishes) -> tuple[str, Wishes]:
    """Ask whatever is not given yet.

    Args:
        cluster: where datasets, templates and base models are looked up.
        name: of the job; empty: ask.
        wishes: what is given.

    Raises:
        KeyboardInterrupt: the person left.
        BadRequest: there is no dataset to choose.
    """
    kind = wishes.kind or choose("What do you want to train?", TYPES)
    wishes = replace(wishes, kind=kind)
    if not wishes.dataset:
        wishes = replace(wishes, dataset=choose("Dataset", _find_datasets(cluster, kind)))
    if not wishes.model_name:
        wishes = replace(wishes, model_name=write("Model name", "for people; published files are named after it"))
    if not name:
        name = write("Name of the job", "lower-case letters, digits and dashes", slugify(wishes.model_name or ""))
    if not wishes.architecture:
        wishes = replace(wishes, architecture=choose("Architecture", choices.list_architectures(kind)))
    if not wishes.base_model:
        wishes = replace(wishes, base_model=_ask_base(cluster, wishes.architecture or ""))
    templates = cluster.list(TEMPLATE)
    if not wishes.template:
        found = choices.list_templates(templates, kind, wishes.architecture or "")
        wishes = replace(wishes, template=choose("Template", [*found, NONE]) or None)
    body = next((one for one in templates if one["metadata"]["name"] == wishes.template), None)
    recipe = choices.find_recipe(body, kind, wishes.architecture or "")
    wishes = _ask_method(wishes, recipe)
    return name, _ask_learning(wishes, recipe)


def _find_datasets(cluster: Cluster, kind: str) -> Sequence[Choice]:
    found = choices.list_datasets(cluster.list(DATASET), kind)
    if not found:
        raise BadRequest(
            f"there is no Dataset in namespace {cluster.namespace} yet: `kubectl atelier dataset push FOLDER` makes one"
        )
    return found


def _ask_base(cluster: Cluster, architecture: str) -> str:
    known = choices.list_bases(cluster.list(TRAINING_JOB), architecture)
    chosen = choose("Base model", [*(Choice(base, base) for base in known), OTHER]) if known else ""
    hint = "its path in the store, such as base-models/sdxl; or claim:NAME/PATH, or hub:OWNER/NAME@COMMIT"
    return chosen or write("Where does the base model lie?", hint)


def _ask_method(wishes: Wishes, recipe: Recipe | None) -> Wishes:
    if wishes.kind == CONCEPT:
        if wishes.caption_prefix is not None:
            return wishes
        hint = "put before every caption as the prompt trigger, such as TKXW; empty if your captions hold one already"
        return replace(wishes, caption_prefix=write("Caption prefix", hint, needed=False) or None)
    if wishes.initial_phrase is not None:
        return wishes
    default = choices.tell_default_phrase(recipe)
    hint = f"a word to start from, such as painting; at most {MAX_PHRASE} characters; empty: {default}"
    return replace(wishes, initial_phrase=write("Initial phrase", hint, needed=False, check=check_phrase) or None)


def _ask_learning(wishes: Wishes, recipe: Recipe | None) -> Wishes:
    if wishes.learning_rate is None:
        hint = f"speed of learning; empty: {choices.tell_default_rate(recipe, wishes.kind or CONCEPT)}, a good start"
        rate = write("Learning rate", hint, needed=False, check=check_number)
        wishes = replace(wishes, learning_rate=float(rate) if rate else None)
    if wishes.steps is None:
        hint = f"empty: {choices.tell_default_steps(recipe)}; {RECOMMENDED_STEPS} or more are recommended otherwise"
        steps = write("Training steps", hint, needed=False, check=check_count)
        wishes = replace(wishes, steps=int(steps) if steps else None)
    return wishes


def check_phrase(text: str) -> str:
    """Return what is wrong with an initial phrase; empty: nothing."""
    return f"at most {MAX_PHRASE} characters, these are {len(text)}" if len(text) > MAX_PHRASE else ""


def check_number(text: str) -> str:
    """Return what is wrong with a learning rate; empty: nothing."""
    try:
        return "" if not text or 0 < float(text) <= 10 else "more than 0, at most 10; 0.0001 is usual"
    except ValueError:
        return "a number, such as 0.0001"


def check_count(text: str) -> str:
    """Return what is wrong with a number of steps; empty: nothing."""
    return "" if not text or (text.isdigit() and int(text) > 0) else "a whole number, such as 2000"


def choose(question: str, found: Sequence[Choice]) -> str:
    """Let the person choose one answer with the arrow keys. Raises KeyboardInterrupt where they leave."""
    import questionary  # noqa: PLC0415  (a third of a second that only people at a terminal wait for)

    listed = [questionary.Choice(choice.title, choice.value) for choice in found]
    return str(_ask(questionary.select(question, listed)))


def write(
    question: str, hint: str, default: str = "", *, needed: bool = True, check: Callable[[str], str] | None = None
) -> str:
    """Let the person type an answer.

    Args:
        question: in a word or two.
        hint: what it is good for; said before the question.
        default: what stands there already.
        needed: whether an empty answer is refused.
        check: returns what is wrong with an answer, empty for nothing.

    Raises:
        KeyboardInterrupt: the person left.
    """
    import questionary  # noqa: PLC0415  (as above)

    def judge(text: str) -> bool | str:
        fault = check(text.strip()) if check else ""
        return fault or (bool(text.strip()) or not needed) or "it is needed"

    return str(_ask(questionary.text(f"{question} ({hint}):", default, validate=judge))).strip()


def confirm(question: str) -> bool:
    """Ask a yes-or-no question whose usual answer is yes. Raises KeyboardInterrupt where the person leaves."""
    import questionary  # noqa: PLC0415  (as above)

    return bool(_ask(questionary.confirm(question)))


def _ask(question: Question) -> Any:
    return question.unsafe_ask()  # "safe" would swallow Ctrl-C


def list_missing(wishes: Wishes) -> list[str]:
    """Return the words and options that a job needs and that are not given."""
    needed = {
        "concept-model or embedding": wishes.kind,
        "--dataset": wishes.dataset,
        "--model-name": wishes.model_name,
        "--architecture": wishes.architecture,
        "--base-model": wishes.base_model,
    }
    return [option for option, value in needed.items() if not value]
