"""Generated against copied: paired, over scenes, and no verdict where there is none."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.estimate import weighted_mean
from evaluation.folds import macro_less_than_copying
from evaluation.report.terminal import interval_sentence, verdict
from evaluation.restoring import MEAN_COLOUR
from evaluation.results import METHODS, Evaluation, Method, PatchResult

Floats = NDArray[np.float64]


def patch(
    number: int, scene: str, ours: float, copy: float, pixels: float = 10, event: str = "storm", kind: str = "wind"
) -> PatchResult:
    """One patch whose errors are the same in all areas."""

    def values(mse: float) -> dict[str, dict[str, float]]:
        of_area = {"pixels": pixels, "mse": mse if pixels else math.nan, "psnr": 20.0, "ssim": 0.5}
        return {area: dict(of_area) for area in ("whole", "inside", "outside")}

    scores = {"generated": [values(ours)], "copy": [values(copy)]}
    return PatchResult(f"p{number}", scene, event, kind, number, [number], "", scores)


def test_the_interval_is_paired() -> None:
    """Scenes differ by ten times what generating gains: each row's interval is wide, that of the difference is not."""
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.uniform(0.1, 1, 10), 4)
    gain = 0.01 + rng.normal(0, 0.001, 40)
    evaluation = Evaluation({}, [patch(i, f"s{i // 4}", hard[i] - gain[i], hard[i]) for i in range(40)])
    found = evaluation.less("generated", "copy", "inside")
    assert found.value == pytest.approx(-gain.mean())
    assert found.clusters == 10
    assert -0.011 < found.low < found.high < -0.009
    whole = evaluation.estimate(evaluation.patches, "generated", "inside", "mse")
    assert whole.high - whole.low > 0.1
    expected = weighted_mean(-gain[:, None], np.full(40, 10.0), [f"s{i // 4}" for i in range(40)])
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    inside = verdict(evaluation)[0]
    assert f"{gain.mean() / hard.mean():.0%} less squared error" in inside
    assert "95 % over 10 scenes" in inside


def test_no_verdict_where_the_interval_holds_zero() -> None:
    """Better in half of the scenes, worse in the other."""
    patches = [patch(i, f"s{i}", 0.5 + (0.1 if i % 2 else -0.11), 0.5) for i in range(8)]
    inside, outside = verdict(Evaluation({}, patches))
    assert inside.startswith("Inside the changed area: no verdict")
    assert "contains 0" in inside
    assert outside.startswith("Outside of it: no verdict")
    assert "% less" not in inside


def test_no_verdict_of_few_scenes() -> None:
    """However many patches; those without a changed area do not count."""
    patches = [patch(i, f"s{i % 4}", 0.1, 0.5) for i in range(40)] + [patch(40, "s9", 0.1, 0.5, pixels=0)]
    assert "no verdict, an interval needs at least 5 scenes; there are 4" in verdict(Evaluation({}, patches))[0]
    nothing = [patch(i, f"s{i}", 0.1, 0.5, pixels=0) for i in range(6)]
    assert verdict(Evaluation({}, nothing))[0] == "Inside the changed area: nothing to measure in these patches."


def test_worse_than_a_perfect_copy() -> None:
    """No share of nothing."""
    sentence = verdict(Evaluation({}, [patch(i, f"s{i}", 0.1, 0.0) for i in range(6)]))[1]
    assert sentence.startswith("Outside of it the generated images have more squared error")


def test_several_trainings_are_drawn_by_what_each_left_out() -> None:
    """Six events of four scenes: events are drawn, two left out together as one; one event by itself, its scenes."""
    events = [f"e{i}" for i in range(6)]
    patches = [patch(i, f"{events[i % 6]}-{i // 6 % 5}", 0.1 + i / 100, 0.5, event=events[i % 6]) for i in range(60)]
    folds = {event: "e0+e1" if event in ("e0", "e1") else event for event in events}
    evaluation = Evaluation({}, patches, folds=folds)
    assert evaluation.estimate(patches, "generated", "inside", "mse").clusters == 5
    assert macro_less_than_copying(evaluation, "inside").clusters == 5
    means = [np.mean([0.1 + i / 100 - 0.5 for i in range(60) if i % 6 == event]) for event in range(6)]
    assert macro_less_than_copying(evaluation, "inside").value == pytest.approx(np.mean(means))
    of_one = evaluation.by_event()["e2"]
    assert evaluation.estimate(of_one, "generated", "inside", "mse").clusters == 5
    assert "bootstrap over events" in interval_sentence(evaluation)
    assert "bootstrap over scenes" in interval_sentence(Evaluation({}, patches))


def test_the_disaster_types_that_were_won_are_named() -> None:
    """By squared error pooled over pixels, not by the number of patches; a type without change is none of them."""
    fire = [patch(0, "a", 0.1, 0.2, 10, kind="fire"), patch(1, "b", 0.3, 0.25, 30, kind="fire")]  # -1 + 1.5
    wind = [patch(2, "c", 0.1, 0.2, 10, kind="wind"), patch(3, "d", 0.3, 0.25, 10, kind="wind")]
    none = [patch(4, "e", 0.1, 0.2, 0, kind="flooding")]
    said = "By disaster type, without intervals: less error than copying for wind; more for fire."
    assert verdict(Evaluation({}, [*fire, *wind, *none]))[-1] == said
    assert len(verdict(Evaluation({}, [*wind, *none]))) == 2
    filled = METHODS | {"copy": MEAN_COLOUR}
    assert verdict(Evaluation({}, [*fire, *wind], named=filled))[-1] == said.replace("copying", "the mean colour")
    for one in (*fire, *wind):
        one.scores["other"] = one.scores["copy" if one.disaster_type == "fire" else "generated"]
    named = METHODS | {"other": Method("Other", "", trained=True)}
    assert verdict(Evaluation({}, [*fire, *wind], named=named))[-2:] == [
        said.replace(", without", ", of generated, without"),
        "By disaster type, of Other, without intervals: less error than copying for wind; more for fire.",
    ]
