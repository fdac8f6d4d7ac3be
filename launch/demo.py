"""`make demo`: simulate, build, train, generate, measure. Finished parts are reused."""

from pathlib import Path

from data.build import build
from data.simulation.simulate import simulate
from evaluation.compare import compare
from generate.sampling import Sampling
from launch.accelerated import launch

EXPECTED = """
What was expected: that some minutes of training (row `demo`) keep houses, roads and rivers where they are, and come
nearer to the truth inside the change than copying the pre image does, as does what ships with pre2post (row `tiny`,
ten times as many examples); and that copying wins outside, where nothing changes. Measured once, with
pictures: docs/first-slice.md. For images of real places, take a GPU and a recipe: docs/recipes.md."""
CONFIG = Path(__file__).parent.parent / "configs" / "demo.yaml"


def demo(*, out: Path = Path("out/demo"), scenes: int = 60, seed: int = 0) -> None:
    """Run the whole pipeline on simulated scenes with the tiny base; a few minutes on two CPU cores.

    Args:
        out: folder for everything; run the same command again to continue where it stopped.
        scenes: simulated locations; every fifth is held out for the test.
        seed: of the simulation.
    """
    release, dataset, run, results = (out / name for name in ("release", "dataset", "run", "results"))
    if not release.exists():
        headline("1/4 simulate", f"{scenes} places before and after a disaster, as an xView2 release: {release}")
        simulate(out=release, scenes=scenes, seed=seed)
    if not dataset.exists():
        headline("2/4 build", f"256 px patches with masks, captions and metadata: {dataset}")
        build(source=release, out=dataset, size=256)
    headline("3/4 train", f"a ControlNet on the frozen tiny base: {run}")
    launch("train", "--config", str(CONFIG), "--data.dataset", str(dataset), "--run.out", str(run))
    headline("4/4 generate and measure", f"unseen scenes, also by what ships with pre2post: {results}")
    compare(
        checkpoints=[f"demo={run}", "tiny"],
        dataset=dataset,
        out=results,
        limit=64,
        methods="copy,base",
        networks="none",
        sampling=Sampling(steps=3),
        overwrite=True,
    )
    print(EXPECTED)


def headline(part: str, what: str) -> None:
    """Announce a step."""
    print(f"\n=== {part}: {what}", flush=True)
