"""The laws of the house that a machine can check."""

import ast
import graphlib
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.tree import printed, tree

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "data": set(),
    "models": set(),  # and OF_ALL
    "train": {"data", "models"},
    "caption": {"data", "models"},
    "generate": {"data", "models"},
    "app": {"data", "models", "generate"},
    "evaluation": {"data", "models", "generate"},
    "publish": {"data", "models", "generate", "evaluation"},
    "launch": {"data", "models", "caption", "train", "generate", "app", "evaluation", "publish"},
}
# The wings of a room, in their order: each imports those before it, those of one line nothing of each other. A module
# beside the wings stands under all of them or on top of all of them.
WINGS = {
    "data": ["imagery", "pages", "sources", "patches", "quality captions", "dataset", "report", "simulation examples"],
    "models": ["cpu", "diffusionsat", "families", "conditioners", "tiny", "tiny_controlnet", "tiny_mask_controlnet"],
    "caption": ["prompts"],
    "train": ["processes", "inputs", "saving", "watching", "tiny"],
    "generate": ["images", "words", "scenes", "editing", "region"],
    "app": [],
    "evaluation": ["damage", "metrics", "prompts", "words", "report"],
    "publish": [],
    "launch": ["accelerate sky slurm"],
    "benchmarks": ["speed resume studies"],
}
ABSOLUTE = re.compile(r"(?<![\w.}])/(?:home/(?!eva)|(?:root|Users|mnt|work|scratch)/)\w+")
ABOVE = re.compile(r"\b(?:ROOT|REPOSITORY)\.parent|Path\(['\"]\.\.")
UP = re.compile(r"(?<![\w/])(?:\.\./)+[\w./-]*")
PARENTS = re.compile(r"__file__\)(?:\.resolve\(\))?(?:\.parents\[(\d+)\]|((?:\.parent)+))")
LAW = re.compile(r"\blaw (\d+)")
MOST_MODULES = 20  # in one folder
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 70
PAGE = ("app/desk.py", "app/handlers.py", "app/page.py")  # imported when the app starts, if its extra is there
OF_ALL = {  # what every room may import; see `test_the_ground_stands_on_nothing`
    "data.documents",  # JSON files that others wrote
    "data.progress",  # bars
    "data.storage",  # file systems
}
FILES = [path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))]
IN_WINGS = [*FILES, *sorted((ROOT / "benchmarks").rglob("*.py"))]
EVERYWHERE = [*IN_WINGS, *sorted((ROOT / "tests").rglob("*.py"))]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> set[str]:
    return names(parsed(path))


def names(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def rooms(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


def at_the_top(path: Path) -> set[str]:
    body = [node for node in parsed(path).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return set().union(*map(names, body))


def test_imports_point_one_way() -> None:
    for path in FILES:
        room = path.relative_to(ROOT).parts[0]
        ours = rooms(imported(path) - OF_ALL) & (set(MAY_IMPORT) | {"tests", "benchmarks"})
        assert ours <= MAY_IMPORT[room] | {room}, path


def wing(module: str) -> str | None:
    """Of `data.imagery.raster` imagery; None of what stands beside the wings."""
    room, *rest = module.split(".")
    known = " ".join(WINGS.get(room, [])).split()
    return rest[0] if rest and rest[0] in known else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_folder_is_a_known_wing() -> None:
    for room, lines in WINGS.items():
        folders = {path.name for path in (ROOT / room).iterdir() if path.is_dir() and path.name != "__pycache__"}
        assert folders == set(" ".join(lines).split()), room


def test_wings_import_those_before_them() -> None:
    for path in IN_WINGS:
        module, room = module_of(path), path.relative_to(ROOT).parts[0]
        mine = wing(module)
        order = {name: level for level, line in enumerate(WINGS[room]) for name in line.split()}
        used = {wing(found) for found in imported(path) if found.split(".")[0] == room} - {None, mine}
        assert mine is None or all(order[str(name)] < order[mine] for name in used), path


def test_no_module_imports_itself_by_way_of_others() -> None:
    """So what stands beside the wings and imports one is imported by none; graphlib names the circle otherwise."""
    modules = {module_of(path): path for path in IN_WINGS}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = imported(path)
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        graph[module] = (found & set(modules)) - {module.rpartition(".")[0]}
    graphlib.TopologicalSorter(graph).prepare()


def test_no_folder_is_a_wall() -> None:
    for folder in {path.parent for path in IN_WINGS}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MOST_MODULES, folder


def texts() -> dict[Path, str]:
    """Every text file of the repository."""
    folders = [ROOT / name for name in ("benchmarks", "configs", "docs", "tests", *MAY_IMPORT)]
    paths = [*ROOT.glob("[!.]*"), *(path for folder in folders for path in folder.rglob("*"))]
    endings = {".py", ".md", ".yaml", ".toml", ".json", ".sh", ".sbatch", ""}
    return {path: path.read_text() for path in paths if path.suffix in endings and path.is_file()}


def test_nothing_names_a_folder_outside() -> None:
    """Real files come by PRE2POST_REAL (tests/real.py). Tests may give `../x` to what must refuse it."""
    for path, text in texts().items():
        assert not ABSOLUTE.findall(text) + ABOVE.findall(text), path
        for number, parent in PARENTS.findall(text):
            assert int(number or parent.count(".parent") - 1) < len(path.relative_to(ROOT).parts), path
        refused = path.suffix == ".py" and ROOT / "tests" in path.parents
        for found in [] if refused else UP.findall(text):
            there = (path.parent / found).resolve()
            assert there.exists() and ROOT in there.parents, (path, found)


def test_files_are_read_in_one_go() -> None:
    assert not [path for path in EVERYWHERE if len(path.read_text().splitlines()) > MOST_LINES]


def test_functions_fit_a_screen() -> None:
    for path in EVERYWHERE:
        nodes = ast.walk(parsed(path))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        lengths = [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in functions]
        long = {f"{path.relative_to(ROOT)} {name}" for name, lines in lengths if lines > MOST_LINES_OF_A_FUNCTION}
        assert not long, path


def test_there_is_one_sampling_loop() -> None:
    """A scheduler is given prediction, timestep and latents; an optimizer nothing."""
    found = [
        module_of(path)
        for path in IN_WINGS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".step") and len(node.args) > 1
    ]
    assert found == ["models.sampling"]


def test_an_installed_copy_is_whole() -> None:
    """Not only one that is installed to be edited: every package, and every file that is no code."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["packages"]["find"]["include"] == [f"{room}*" for room in MAY_IMPORT]
    files = [path for room in MAY_IMPORT for path in (ROOT / room).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} - {".py", ".pyc"} <= {
        pattern.removeprefix("*") for pattern in setuptools["package-data"]["*"]
    }


def test_the_tree_in_the_docs_is_the_tree_on_disk() -> None:
    """`python -m tests.tree` writes it."""
    assert printed() == tree()


@pytest.mark.parametrize("number", sorted({int(n) for path in FILES for n in LAW.findall(path.read_text())}))
def test_every_law_that_the_code_cites_is_in_the_docs(number: int) -> None:
    assert f"\n{number}. **" in (ROOT / "docs/design.md").read_text()


def test_the_ground_stands_on_nothing() -> None:
    """Every room may import it, so it must not bring any room along."""
    found = imported(ROOT / "data/storage.py") | imported(ROOT / "data/errors.py")
    assert rooms(found - {"data.errors"}) <= sys.stdlib_module_names
    reading = imported(ROOT / "data/documents.py")
    assert rooms(reading - {"data.errors"}) <= sys.stdlib_module_names | {"pydantic"}
    assert rooms(imported(ROOT / "data/progress.py")) <= sys.stdlib_module_names | {"tqdm"}


def test_bars_are_readable_in_log_files() -> None:
    """Those of data/progress.py are."""
    for path in IN_WINGS:
        assert "tqdm" not in imported(path) or path == ROOT / "data/progress.py", path


def test_the_core_never_imports_an_extra() -> None:
    for path in FILES:
        extras = {"torchvision", "torchmetrics", "torch_fidelity", "lpips", "xformers", "bitsandbytes", "gradio"}
        in_evaluation = path.relative_to(ROOT).parts[0] == "evaluation"
        if path.relative_to(ROOT).as_posix() in PAGE:
            extras -= {"gradio"}
        # There a function may import one when it is needed: absent, it is a gap in a table.
        assert not rooms(at_the_top(path) if in_evaluation else imported(path)) & extras, path


def test_pictures_are_opened_as_named_formats_only() -> None:
    """GDAL and Pillow know a hundred, some of which read other files, fetch something or run PostScript."""
    for path in FILES:
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        for call in calls:
            given = {keyword.arg for keyword in call.keywords}
            called = ast.unparse(call.func)
            assert called != "Image.open" or "formats" in given, (path, ast.unparse(call))
            writes = len(call.args) > 1 and ast.unparse(call.args[1]) == "'w'"  # whose driver is in its profile
            assert called not in ("rasterio.open", "DatasetReader") or writes or "driver" in given, (
                path,
                ast.unparse(call),
            )


def test_nothing_is_unpickled() -> None:
    """But for foreign weights, whose pickles are searched for tensors only, by an explicit conversion."""
    for path in FILES:
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        unpickling = {"pickle.load", "pickle.loads", "torch.load", "torch.save"}
        found = [ast.unparse(call) for call in calls if ast.unparse(call.func) in unpickling]
        if path == ROOT / "models/weight_files.py":
            assert found == ["torch.load(path, map_location='cpu', weights_only=True)"], path
        else:
            assert not found, path


def test_random_state_is_kept_of_named_devices() -> None:
    """Without names torch keeps that of every GPU, and warns where there are several."""
    for path in FILES:
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        kept = [call for call in calls if ast.unparse(call.func).endswith("fork_rng")]
        assert all(word.arg == "devices" for call in kept for word in call.keywords) and all(
            call.keywords for call in kept
        ), path


def test_what_macos_lacks_is_asked_for_in_two_places_only() -> None:
    """`models` may not import `data`, so each has its own."""
    asking = [path for path in FILES if "sched_getaffinity" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in asking] == ["data/workers.py", "models/cpu/threads.py"]


def test_json_is_written_by_strict_json() -> None:
    """It knows no NaN; elsewhere JSON is made where no number can be one: hashes, options, keys, config files."""
    dumping = {str(path.relative_to(ROOT)) for path in FILES if "json.dump" in path.read_text()}
    assert dumping == {
        "data/schema.py",
        "data/strict_json.py",
        "generate/images/batch_file.py",
        "launch/leave_one_out.py",
        "models/conditioners/controlnet_lora.py",
        "models/checkpoint.py",  # is given what `finite` has looked through
        "models/convert.py",
        "train/inputs/packs.py",
    }
