"""Difference of our DiffusionSat networks from the original ones: largest difference over largest value, per call.

python -m benchmarks.studies.sat_parity          reads tests/parity and, where it exists, PRE2POST_REAL/parity
"""

import torch

from models import load_controlnet
from models.diffusionsat.unet import SatUNet
from tests.models.parity import HERE, Case, difference
from tests.real import REAL

CASES = ("satunet", "controlnet2d", "controlnet2d_condscale2", "controlnet3d_temporal")


@torch.no_grad()
def worst_difference(parity: Case, call: str) -> float:
    """Worst difference over all outputs of one call."""
    arguments = parity.arguments(call)
    if parity.folder.name == "satunet":
        unet = SatUNet.from_pretrained(parity.folder, torch_dtype=torch.float32)
        return difference(unet(**arguments).sample, parity.outputs[f"{call}.sample"])
    network = load_controlnet(parity.folder)
    for name, value in parity.described["calls"][call].get("parameter_overrides", {}).items():
        network.get_parameter(name).fill_(value)
    down, mid = network(**arguments, return_dict=False)
    found = {f"{call}.down.{slot}": residual for slot, residual in enumerate(down)} | {f"{call}.mid": mid}
    return max(difference(residual, parity.outputs[name]) for name, residual in found.items())


if __name__ == "__main__":
    print("| case | call | difference |\n|---|---|---|")
    for name in CASES:
        for root in (HERE, REAL / "parity"):
            if (root / name).is_dir():
                parity = Case(root / name)
                for call in parity.described["calls"]:
                    print(f"| {name} | {call} | {worst_difference(parity, call):.1e} |")
                break
