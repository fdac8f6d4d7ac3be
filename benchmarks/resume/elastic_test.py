"""The same training with one process, two, two with accumulation, and 1 -> 2 -> 1 over two resumes.

    python -m benchmarks.resume.elastic_test --work WORK

Examples must be identical (fingerprints of views, captions, noise, timesteps), losses equal to within 1e-5. The effect
of rounding on the weights is reported: norm of their difference over the norm of their change.
"""

from pathlib import Path

import torch
from jsonargparse import auto_cli
from safetensors.torch import load_file

from benchmarks.small_runs import finish, metrics, settings, weight_files, write_world
from models import controlnet_from_unet, load_base

STEPS = 50
WEIGHTS = "controlnet/diffusion_pytorch_model.safetensors"
# Name -> (processes, micro-batch, last step), one after the other in the same run folder.
LAYOUTS = {
    "2 processes": [(2, 2, STEPS)],
    "2 processes, accumulation 2": [(2, 1, STEPS)],
    "1 -> 2 -> 1": [(1, 2, 17), (2, 2, 34), (1, 2, STEPS)],
}


def elastic_test(*, work: Path) -> None:
    """Run all layouts and compare each with the single process.

    Args:
        work: folder for everything.

    Raises:
        SystemExit: examples or losses differ.
    """
    write_world(work)
    finish(settings(work, "one", train__steps=STEPS), log=work / "one.log")
    base = load_base(work / "base")
    start = dict(
        controlnet_from_unet(base.load_unet(), vae_scale_factor=base.vae_scale_factor, seed=0).named_parameters()
    )
    reference = load_file(weight_files(work / "one", STEPS)[WEIGHTS])
    change = _norm({name: reference[name] - start[name].detach() for name in reference})
    failed = False
    for name, parts in LAYOUTS.items():
        out = f"run-{len(list(work.glob('run-*')))}"
        for processes, micro_batch, steps in parts:
            options = {"train__steps": steps, "train__micro_batch": micro_batch}
            finish(settings(work, out, **options), processes, work / f"{out}.log")
        one, other = metrics(work / "one"), metrics(work / out)
        examples = sum(a["fingerprint"] == b["fingerprint"] for a, b in zip(one, other, strict=True))
        loss = max(abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(one, other, strict=True))
        weights = load_file(weight_files(work / out, STEPS)[WEIGHTS])
        distance = _norm({key: weights[key] - reference[key] for key in weights}) / change
        print(
            f"{name}: examples identical in {examples} of {STEPS} steps, losses within {loss:.1e} relative, "
            f"weights apart by {distance:.1e} of their change"
        )
        failed = failed or examples != STEPS or loss > 1e-5
    if failed:
        raise SystemExit("the runs differ")


def _norm(tensors: dict[str, torch.Tensor]) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in tensors.values()]).sum().sqrt())


if __name__ == "__main__":
    auto_cli(elastic_test, as_positional=False)
