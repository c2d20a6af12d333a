"""The floors hold: imports go down only, C knows no Python, no flag that would break an older processor."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "fastconv"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEXTS = sorted(
    path
    for suffix in ("*.py", "*.pyi", "*.pyx", "*.pxd", "*.h", "*.c")
    for folder in (PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "examples")
    for path in folder.rglob(suffix)
    # What Cython writes beside each .pyx is not ours.
    if not (path.suffix == ".c" and path.with_suffix(".pyx").exists())
)

# The floors from the ground up: a module imports from its own floor and those below it, never from above.
FLOORS = (
    {"_shapes", "_typing"},
    {"_validation", "_core"},
    {"reference", "_config"},
    {"ops"},
    {"activations", "initializers", "regularizers", "losses", "metrics", "optimizers", "utils", "_objects", "_random"},
    {"layers", "callbacks"},
    {"models"},
    {"datasets", "plots", "distributed"},
)
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    """Absolute names of all that the module imports anywhere, lazily or for type checkers too."""
    inside = ("fastconv", *path.relative_to(PACKAGE).with_suffix("").parts)
    package = inside[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *((node.module,) if node.module else ())))
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def our_parts(path: Path) -> set[str]:
    """First names below ``fastconv`` that the module imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("fastconv.")}


def test_something_is_looked_at():
    assert len(MODULES) >= 10
    assert any(path.suffix == ".h" for path in TEXTS)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_ops_and_config_open_the_door_to_the_core(path):
    part = path.relative_to(PACKAGE).parts[0]
    if part not in ("ops", "_config.py", "_core"):
        assert "_core" not in our_parts(path)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_go_down_only(path):
    part = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if part == "__init__":
        pytest.skip("the package's front imports from everywhere")
    assert part in FLOOR, f"give {part} its floor in this test"
    for other in our_parts(path) - {part, "__version__"}:
        assert other in FLOOR, f"{relative(path)} imports fastconv.{other}, which has no floor"
        assert FLOOR[other] <= FLOOR[part], f"{relative(path)} imports fastconv.{other} from a floor above"


@pytest.mark.parametrize("path", sorted((PACKAGE / "reference").glob("*.py")), ids=relative)
def test_the_reference_stands_alone(path):
    allowed = {"__future__", "typing", "itertools", "numpy", "fastconv"}
    assert {name.split(".")[0] for name in imports(path)} <= allowed
    assert our_parts(path) <= {"_shapes", "reference"}


def test_shapes_import_nothing():
    assert {name.split(".")[0] for name in imports(PACKAGE / "_shapes.py")} <= {"__future__"}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_run_time_needs_are_numpy_and_tqdm(path):
    # Whatever a module imports at its top must be there after a plain install; extras are imported where used.
    tree = ast.parse(path.read_text())
    top = {
        name.split(".")[0]
        for node in tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    extras = {"matplotlib", "pooch", "mlxtend", "h5py", "onnx", "onnxruntime", "mpi4py", "scipy", "torch", "tensorflow"}
    extras |= {"tensorboardX"}
    assert not top & extras


@pytest.mark.parametrize("path", sorted((PACKAGE / "_core" / "csrc").glob("*")), ids=relative)
def test_c_knows_no_python(path):
    includes = re.findall(r'#\s*include\s*[<"]([^>"]+)', path.read_text())
    assert not [name for name in includes if name.startswith(("Python", "numpy/", "omp"))]


def test_no_flag_that_breaks_an_older_processor_or_ieee():
    names = ("setup.py", "pyproject.toml", "MANIFEST.in")
    texts = {name: (ROOT / name).read_text() for name in names if (ROOT / name).exists()}
    assert "setup.py" in texts
    for name, text in texts.items():
        for flag in (
            "-march=native",
            "-mtune=native",
            "-Ofast",
            "-ffast-math",
            "-funsafe-math",
            "-ffinite-math",
            "/fp:fast",
        ):
            assert flag not in text, f"{flag} in {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "_core").glob("*.pyx")), ids=relative)
def test_prange_bodies_take_no_lock(path):
    # Without noexcept a nogil function takes the lock after each call to ask for an exception.
    for line in path.read_text().splitlines():
        if re.match(r"\s*cdef .*\bnogil\b.*:", line):
            assert "noexcept" in line, f"{relative(path)}: {line.strip()}"


def test_every_compiled_module_has_a_stub():
    core = PACKAGE / "_core"
    assert {path.stem for path in core.glob("*.pyi")} == {path.stem for path in core.glob("*.pyx")}


@pytest.mark.parametrize("path", sorted((PACKAGE / "_core").glob("*.pyi")), ids=relative)
def test_stubs_tell_the_truth(path):
    stub = ast.parse(path.read_text()).body
    declared = {node.name for node in stub if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    declared |= {node.target.id for node in stub if isinstance(node, ast.AnnAssign)}
    module = importlib.import_module(f"fastconv._core.{path.stem}")
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", module.__name__) == module.__name__
    }
    assert declared == own
    source = path.with_suffix(".pyx").read_text()
    for top in stub:
        # A class's methods are looked for from its own head on: another class of the module may have the same names.
        start = re.search(rf"^cdef class {top.name}\b", source, re.MULTILINE) if isinstance(top, ast.ClassDef) else None
        text = source[start.start() :] if start else source
        for node in ast.walk(top):
            if isinstance(node, ast.FunctionDef) and not node.decorator_list:
                assert stub_parameters(node) == pyx_parameters(text, node.name), node.name


def stub_parameters(node: ast.FunctionDef) -> list[str]:
    """Names in order, with a ``*`` before the keywords."""
    keywords = ["*", *(arg.arg for arg in node.args.kwonlyargs)] if node.args.kwonlyargs else []
    return [*(arg.arg for arg in node.args.args), *keywords]


def pyx_parameters(source: str, name: str) -> list[str]:
    """The same names from Cython's ``def``, of which C types, defaults and ``not None`` are dropped."""
    found = re.search(rf"^ *def {name.replace('__init__', '__cinit__')}\(([^)]*)\)", source, re.MULTILINE)
    assert found, f"no def {name}"
    parts = [part.replace("not None", "").split("=")[0].split() for part in found[1].split(",")]
    return [words[-1] for words in parts if words]


def test_every_check_has_one_home_and_a_user():
    # fastconv._validation re-exports its files with `import *`: a second function of one name would hide the first.
    home: dict[str, str] = {}
    for path in sorted((PACKAGE / "_validation").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert node.name not in home, f"{node.name} stands in {home[node.name]} and {path.name}"
                home[node.name] = path.name
    texts = {path: path.read_text() for path in MODULES}
    for name, file in home.items():
        used = re.compile(rf"(?<!def )(?<!class )\b{name}\b")
        assert any(used.search(text) for text in texts.values()), f"{file}: nothing uses {name}"


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_files_stay_readable(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 550, f"{len(lines)} lines: split the file"
    too_long = [number for number, line in enumerate(lines, 1) if len(line) > 120]
    assert not too_long, f"lines longer than 120 characters: {too_long[:5]}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name != "_core"], ids=relative)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())), "no docstring"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_assert_speaks_to_users(path):
    # An assert may narrow a type or state what the code above made sure of; it carries no message for a user.
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            assert node.msg is None, f"{relative(path)}:{node.lineno} raises through assert"
