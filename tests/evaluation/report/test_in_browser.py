"""The report as a reader has it: opened in headless Chromium, no errors, images there, the slider uncovers."""

from pathlib import Path

from evaluation.run import evaluate
from generate.sampling import Sampling
from tests.browser import assert_fits_every_screen, in_browser, needs_browser

# Moves the first slider and asks which picture is seen at a quarter, the middle and three quarters of the width.
PROBE = """<script>
const problems = [];
addEventListener("error", event => problems.push(String(event.message || event.target.outerHTML)), true);
addEventListener("load", () => {
  const slider = document.querySelector("input[type=range]"), picture = slider.parentElement;
  picture.scrollIntoView();
  const seen = value => {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    const box = picture.getBoundingClientRect();
    return [0.25, 0.5, 0.75].map(
      share => document.elementFromPoint(box.left + share * box.width, box.top + 0.3 * box.height).alt.split(" of ")[0]
    );
  };
  const images = [...document.images];
  document.body.dataset.found = JSON.stringify({
    problems, broken: images.filter(image => !image.naturalWidth).length, images: images.length,
    start: [slider.value, ...seen(50)], left: seen(20), right: seen(80),
  });
});
</script>"""


@needs_browser
def test_slider_and_images(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """In the middle the generated image, to the left the pre image over it, to the right the real one."""
    out = tmp_path / "out"
    evaluate(checkpoint=run_folder, dataset=dataset, out=out, networks="none", sampling=Sampling(steps=1))
    page = (out / "report.html").read_text().replace("<head>", f"<head>{PROBE}", 1)
    found, console = in_browser(page, tmp_path)
    assert console == []
    assert_fits_every_screen(out / "report.html", tmp_path)
    assert (found["problems"], found["broken"], found["images"]) == ([], 0, 4 * 6)
    assert page.index("<table>") < page.index("Worst patches") < page.index("By event")
    assert page.index("The changed area: in simulated data") < page.index("<table>")
    assert found["start"] == ["50", "generated", "generated", "generated"]
    # At 20 the left three fifths show the pre image, at 80 the right three fifths the real one.
    assert found["left"] == ["pre", "pre", "generated"]
    assert found["right"] == ["generated", "real post", "real post"]
