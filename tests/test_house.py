"""The rooms of course_lib: what may import what, how big a folder and a module may be, and what each says of itself."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "course_lib"
GROUND = {"cli", "doctor", "files", "installation", "lazy", "limits", "text", "threads"}
# what each room may stand on, besides the ground and itself
MAY_IMPORT = {
    "data": set(),
    "models": {"data"},
    "knowledge": {"data", "models"},
    "training": {"data", "models", "knowledge"},
    "experiments": {"data", "models", "knowledge", "training", "analysis"},
    "analysis": {"data"},
    "figures": {"data", "models", "knowledge", "training", "experiments", "analysis"},
    "lessons": {"data", "models", "knowledge", "training", "experiments", "analysis", "figures"}}
TOPS = {"cli", "doctor"}  # commands, which may use every room
FILES = {"lessons/exercises": 14}  # one for each lesson


def modules() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def dotted(name: str) -> str:
    return ".".join(["course_lib", *Path(name).with_suffix("").parts]).removesuffix(".__init__")


def imported(name: str, *, at_import: bool = False) -> set[str]:
    """Dotted names that a file imports, all of them or those outside of functions and of ``if TYPE_CHECKING``."""
    found, nodes = set(), [ast.parse((PACKAGE / name).read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        skipped = at_import and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)))
        nodes += [] if skipped else ast.iter_child_nodes(node)
    return found


def rooms_of(names: set[str]) -> set[str]:
    return {parts[1] for name in names if (parts := name.split("."))[0] == "course_lib" and len(parts) > 1} & {
        *MAY_IMPORT, *GROUND}


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_what_its_room_stands_on(name):
    room = name.partition("/")[0].removesuffix(".py")
    if room in TOPS or room == "__init__":
        return
    allowed = GROUND - TOPS | MAY_IMPORT.get(room, set()) | ({room} if room in MAY_IMPORT else set())
    assert rooms_of(imported(name)) <= allowed


@pytest.mark.parametrize("package", ["matplotlib", "ipywidgets", "IPython"])
def test_only_figures_and_lessons_draw(package):
    drawing = [name for name in modules() if any(found.split(".")[0] == package for found in imported(name))]
    assert [name for name in drawing if not name.startswith(("figures/", "lessons/"))] == []


def test_analysis_needs_no_torch():
    heavy = {"torch", "transformers", "peft"}
    assert [name for name in modules() if name.startswith("analysis/")
            and heavy & {found.split(".")[0] for found in imported(name)}] == []


def test_only_the_executors_start_processes_of_their_own():
    assert [name for name in modules() if any(found.split(".")[0] == "multiprocessing" for found in imported(name))
            ] == ["experiments/executors.py"]


def test_no_module_imports_itself_by_way_of_others():
    wanted = {dotted(name): imported(name) for name in modules() if not name.endswith("__init__.py")}
    graph = {name: {found for found in names if found in wanted and found != name} for name, names in wanted.items()}
    while free := [name for name, names in graph.items() if not names & graph.keys()]:
        for name in free:
            del graph[name]
    assert sorted(graph) == []


@pytest.mark.parametrize("folder", sorted({str(Path(name).parent) for name in modules()}))
def test_a_folder_has_a_face_and_few_files(folder):
    inside = [name for name in modules() if str(Path(name).parent) == folder]
    assert any(name.endswith("__init__.py") for name in inside)
    assert len(inside) - 1 <= FILES.get(folder, 10)


@pytest.mark.parametrize("name", [name for name in modules() if name.endswith("__init__.py")])
def test_a_face_offers_what_its_modules_export(name):
    # a name that is no export of its home is found only where something else has imported it before
    for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "attach":
            for home in node.keywords:
                exported = importlib.import_module(f"{dotted(name)}.{home.arg}").__all__
                assert sorted(set(home.value.value.split()) - set(exported)) == []


@pytest.mark.parametrize("name", modules())
def test_a_module_opens_with_a_docstring_and_is_not_long(name):
    text = (PACKAGE / name).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) and len(text.splitlines()) <= 360


@pytest.mark.parametrize("name", modules())
def test_what_a_module_exports_exists(name):
    module = importlib.import_module(dotted(name))
    assert [export for export in getattr(module, "__all__", []) if not hasattr(module, export)] == []
