"""Rule files as YAML documents that know where each part of them stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from monitor.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A path that begins so names a folder of rules that comes with the monitor.
PACK_PREFIX: Final = "pack:"
#: The folder of the packs.
PACKS: Final = Path(__file__).parent / "packs"
_SUFFIXES: Final = frozenset({".yml", ".yaml"})
#: What stands before the suffix of a file that tests rules.
TEST_INFIX: Final = ".test"
_MAX_FILE_BYTES: Final = 1024 * 1024
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document of a rule file."""

    file: str
    value: dict[str, Any]
    node: yaml.MappingNode
    number: int

    @property
    def title(self) -> str:
        """The rule's title, or which document of the file it is."""
        title = self.value.get("title")
        return repr(title) if isinstance(title, str) and title else f"document {self.number}"

    @property
    def line(self) -> int:
        """The line that the document begins at, from 1."""
        return int(self.node.start_mark.line) + 1

    def line_of(self, path: Sequence[str | int]) -> int:
        """Return the line of a part, or of the nearest part around it that exists."""
        node: yaml.Node = self.node
        line = self.line
        for step in path:
            found = _step(node, step)
            if found is None:
                break
            line, node = found
        return line

    def fault(self, path: Sequence[str | int], problem: str, remedy: str = "") -> Fault:
        """Return a fault at a part of the document."""
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        where = f"{self.file}:{self.line_of(path)} {self.title} {place.removeprefix('.')}".rstrip()
        return Fault(where, problem, remedy)


def read_documents(paths: Sequence[Path | str], faults: list[Fault]) -> tuple[list[Document], dict[str, str]]:
    """Return the documents of all rule files, and each file's text by its name.

    Files are read once, in the order of `paths`, folders sorted by name. What cannot be read is
    added to `faults`.
    """
    documents: list[Document] = []
    texts: dict[str, str] = {}
    for name, path in _files(paths, faults):
        if name in texts:
            continue
        text = read_text(name, path, faults)
        if text is not None:
            texts[name] = text
            documents += parse(name, text, faults)
    return documents, texts


def parse(name: str, text: str, faults: list[Fault]) -> list[Document]:
    """Return the documents of one text; empty ones are left out."""
    documents: list[Document] = []
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
                continue
            line = int(node.start_mark.line) + 1
            if not isinstance(node, yaml.MappingNode):
                faults.append(Fault(f"{name}:{line}", "not a rule: expected a mapping with a title"))
                continue
            faults += _duplicate_keys(name, node)
            value = loader.construct_document(node)
            documents.append(Document(name, value, node, len(documents) + 1))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{name}:{mark.line + 1}" if mark else name
        faults.append(Fault(at, f"not YAML: {error.problem or 'it cannot be read'}"))
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        faults.append(Fault(name, f"not YAML: it cannot be read ({type(error).__name__})"))
    finally:
        loader.dispose()
    return documents


def _files(paths: Sequence[Path | str], faults: list[Fault]) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for given in paths:
        label = str(given)
        path = Path(given)
        if label.startswith(PACK_PREFIX):
            path = PACKS / label.removeprefix(PACK_PREFIX)
            if path.parent != PACKS or not path.is_dir():
                packs = ", ".join(f"{PACK_PREFIX}{pack.name}" for pack in sorted(PACKS.iterdir()))
                faults.append(Fault(label, "no such pack", f"there is: {packs}"))
                continue
        if path.is_file():
            found.append((label, path))
        elif path.is_dir():
            inside = sorted(
                file
                for file in path.rglob("*")
                if file.suffix in _SUFFIXES
                and not file.stem.endswith(TEST_INFIX)
                and file.is_file()
                and not _hidden(file, path)
            )
            if not inside:
                faults.append(Fault(label, "a folder without rule files", "rules end in .yml or .yaml"))
            found += [(f"{label}/{file.relative_to(path).as_posix()}", file) for file in inside]
        else:
            faults.append(Fault(label, "no such file or folder"))
    return found


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def read_text(name: str, path: Path, faults: list[Fault]) -> str | None:
    """Return the text of a file that people write, or None with its fault added."""
    try:
        content = path.read_bytes()
        if len(content) > _MAX_FILE_BYTES:
            faults.append(Fault(name, "larger than 1 MiB", "a rule file is written by a person"))
            return None
        return content.decode("utf-8-sig")
    except OSError as error:
        faults.append(Fault(name, f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        faults.append(Fault(name, f"not UTF-8 at byte {error.start}"))
    return None


def _step(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        if step < len(node.value):
            child = node.value[step]
            return int(child.start_mark.line) + 1, child
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return int(key.start_mark.line) + 1, child
    return None


def _duplicate_keys(name: str, root: yaml.Node) -> list[Fault]:
    # YAML takes the last of two equal keys in silence: half of a selection would be gone.
    faults: list[Fault] = []
    seen: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, child in node.value:
                pending.append(child)
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        at = f"{name}:{key.start_mark.line + 1}"
                        faults.append(Fault(at, f"the key {key.value!r} stands twice in one mapping"))
                    keys.add(key.value)
    return faults
