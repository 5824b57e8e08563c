"""The extension modules; all else is said in pyproject.toml, whose way to say this is still experimental.

They are optional: without a C++ compiler the package installs all the same, and runs in Python alone.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("monitor", "engine", "src")
HEADERS = sorted(str(path) for path in SOURCES.glob("*.hpp"))
FLAGS = ["-std=c++17", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-missing-field-initializers"]


def extension(name: str, *sources: str) -> Extension:
    """Return a module of the stable ABI of Python 3.11: one build serves all later ones."""
    return Extension(
        f"monitor.engine.{name}",
        [str(SOURCES / source) for source in sources],
        depends=HEADERS,
        language="c++",
        extra_compile_args=FLAGS,
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        optional=True,
    )


setup(
    ext_modules=[
        extension(
            "_store",
            "judging.cpp",
            "records.cpp",
            "recovering.cpp",
            "store.cpp",
            "store_module.cpp",
            "wanted.cpp",
        ),
        extension("_batches", "batches_module.cpp"),
        extension("_router", "router_module.cpp", "router_batch.cpp", "router_json.cpp", "router_rows.cpp"),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
