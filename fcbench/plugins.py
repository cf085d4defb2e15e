"""Methods and metrics by name: from entry points, ours like anyone's, or as ``module:attribute``.

::

    [project.entry-points."fcbench.methods"]
    my-method = "my_package.my_module:MyMethod"

A plug-in is a (data)class; its options are its fields, given as text and converted to their types.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_type_hints, overload

from fcbench.errors import FcbenchError, MissingError, UsageError, did_you_mean
from fcbench.files import digest_file
from fcbench.types import Method, Metric

Kind: TypeAlias = Literal["methods", "metrics"]


def names(kind: Kind) -> list[str]:
    """The names that installed packages offer, sorted."""
    return sorted(_offered(kind))


@overload
def load(kind: Literal["methods"], name: str, options: Mapping[str, str] = ...) -> Method: ...
@overload
def load(kind: Literal["metrics"], name: str, options: Mapping[str, str] = ...) -> Metric: ...
def load(kind: Kind, name: str, options: Mapping[str, str] | None = None) -> Method | Metric:
    """The plug-in called ``name``, or found at ``module:attribute``, with its options set.

    Raises UsageError for an unknown name or option and for a required one that is not given, MissingError for a package
    that the plug-in needs, FcbenchError for a plug-in that fails when it is imported or made.
    """
    protocol = Method if kind == "methods" else Metric
    plugin: Any = _make(name, _find(kind, name), options or {})
    if not isinstance(plugin, protocol):
        raise UsageError(f"{name} is not a {protocol.__name__}: see fcbench.types.{protocol.__name__}")
    if isinstance(plugin, Method):
        sees: object = plugin.capabilities.sees
        if isinstance(sees, str):
            raise UsageError(f"{name}: sees={sees!r} must be a tuple of names: ({sees!r},)")
    return plugin


def code_of(kind: Kind, plugin: object) -> dict[str, str] | None:
    """Where a plug-in's class is, the sha256 of that file, and the package that offers it, with its version.

    None for fcbench's own, which its version identifies. What a plug-in imports is not looked at.
    """
    place = f"{type(plugin).__module__}:{type(plugin).__qualname__}"
    dist = next((entry.dist for entry in _offered(kind).values() if entry.value == place), None)
    if dist is not None and dist.name == "fcbench":
        return None
    try:
        file = inspect.getsourcefile(type(plugin))
    except TypeError:  # it was typed in, or is no Python
        file = None
    package = {"package": f"{dist.name} {dist.version}"} if dist is not None else {}
    digest = {"digest": digest_file(Path(file))} if file and Path(file).is_file() else {}
    return {"plugin": place, **package, **digest}


def source_of(place: str) -> Path | None:
    """The file of ``module:attribute`` as it would be found here, without importing anything; None if there is none."""
    inside = "/".join(place.partition(":")[0].split("."))
    files = (Path(base) / at for base in (*sys.path, ".") for at in (f"{inside}.py", f"{inside}/__init__.py"))
    return next((file for file in files if file.is_file()), None)


def _offered(kind: Kind) -> dict[str, EntryPoint]:
    offered: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"fcbench.{kind}"):
        other = offered.setdefault(entry.name, entry)
        if other is not entry:
            packages = " and ".join(sorted(e.dist.name if e.dist else e.value for e in (other, entry)))
            raise UsageError(f"{entry.name!r} is offered by {packages}: uninstall one, or name module:attribute")
    return offered


def _find(kind: Kind, name: str) -> Any:
    if ":" in name:
        return _import(name, name)
    offered = _offered(kind)
    if name not in offered:
        raise UsageError(f"no {kind.removesuffix('s')} is called {name!r}: {did_you_mean(name, offered)}")
    return _import(name, offered[name].value)


def _import(name: str, target: str) -> Any:
    """The attribute at ``module:attribute``; the working folder is searched last, so it shadows no package."""
    module, _, attribute = target.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if module == missing or module.startswith(f"{missing}."):
            raise UsageError(f"{name}: there is no module {missing!r}, here or installed") from error
        raise MissingError(f"{name} needs {missing!r}: pip install {missing.partition('.')[0]}") from error
    except AttributeError as error:
        file = getattr(sys.modules.get(module), "__file__", None)
        raise UsageError(f"{name}: {module} ({file or 'built in'}) has no {attribute!r}") from error
    except FcbenchError:
        raise
    except Exception as error:
        raise FcbenchError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _make(name: str, plugin: Any, options: Mapping[str, str]) -> Any:
    if not isinstance(plugin, type):
        raise UsageError(f"{name} names no class: a plug-in is a class, its options are its fields")
    known = [field.name for field in fields(plugin) if field.init] if is_dataclass(plugin) else []
    for option in options:
        if option not in known:
            raise UsageError(f"{name} has no option {option!r}: {did_you_mean(option, known)}")
    for option in sorted(_required(plugin) - set(options)):
        raise UsageError(f"{name} needs its option {option}: --set {option}=...")
    try:
        hints = get_type_hints(plugin) if options else {}
        return plugin(**{option: _convert(name, option, text, hints[option]) for option, text in options.items()})
    except FcbenchError:
        raise
    except Exception as error:  # what a plug-in does when it is made is its own affair
        raise FcbenchError(f"{name} cannot be made: {type(error).__name__}: {error}") from error


def _required(plugin: type) -> set[str]:
    """The options that have no default."""
    if not is_dataclass(plugin):
        return set()
    return {f.name for f in fields(plugin) if f.init and f.default is MISSING and f.default_factory is MISSING}


def _convert(name: str, option: str, text: str, hint: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(hint)
    try:
        value = adapter.validate_strings(text)
    except ValidationError as error:
        try:
            value = adapter.validate_json(text)  # lists and the like
        except ValidationError:
            raise UsageError(f"{name}: option {option}={text!r}: {error.errors()[0]['msg']}") from error
    if isinstance(value, float) and not isfinite(value):
        raise UsageError(f"{name}: option {option}={text!r}: no finite number")
    return value
