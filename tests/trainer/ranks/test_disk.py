"""What the processes of one pod share on its disk: one copy of the base model, and the space for what is encoded."""

from __future__ import annotations

from pathlib import Path

from atelier_contract import names
from atelier_contract.architectures import Architecture
from atelier_contract.exit_codes import ExitCode
from atelier_contract.inputs import BaseModelInput
from atelier_trainer.commands.attempt import open_cache
from atelier_trainer.edges.home import Home
from atelier_trainer.records import Place
from forked_pods import Nursery, run_pod
from learning import BASE_MODEL, build_settings, build_workspace
from single_files import write_single_file
from trainer_pod import UPLOAD, Tenant, put_teapots

SHORT = {"steps": 1, "everySteps": 1, "warmupSteps": 0, "validation": {"samplerSteps": 1, "heldOut": "none"}}


def test_one_file_is_written_out_once(volume_tenant: Tenant, nursery: Nursery, tmp_path: Path) -> None:
    """Two processes that train on a base model of one file make one folder of it between them."""
    single = write_single_file(BASE_MODEL, Architecture.STABLE_DIFFUSION_1, tmp_path / "single")
    volume_tenant.put_folder(single, "base-models", "single")
    told = {"architecture": Architecture.STABLE_DIFFUSION_1, "source": {"storage": {"path": "base-models/single"}}}
    asked = volume_tenant.training_input(
        put_teapots(volume_tenant),
        UPLOAD,
        settings=build_settings(**SHORT),
        base_model=BaseModelInput.model_validate(told),
    )
    pod = volume_tenant.pod()
    pod.tell(asked)
    environment = {**pod.environment, names.ENV_PROCESSES: "2", "PATH": "/nonexistent"}  # without a compiler
    code = nursery.wait(nursery.fork(run_pod, environment, pod.root / "log"))
    assert code == ExitCode.DONE, (pod.root / "log").read_text()
    unets = list(pod.place(names.SCRATCH_DIR).rglob("unet/*.safetensors"))
    assert len(unets) == 1, unets


def test_processes_of_other_pods_take_no_space(volume_tenant: Tenant, tmp_path: Path) -> None:
    """Half of a pod's scratch space is divided by the processes in that pod, however many train elsewhere."""
    place = Place(index=3, count=8, pod_count=2)
    workspace = build_workspace(tmp_path / "work", build_settings(), scratch_bytes=4000, place=place)
    with open_cache(Home(volume_tenant.store, volume_tenant.layout), workspace) as cache:
        assert (cache.has_space(1000), cache.has_space(1001)) == (True, False)
