"""Loads one exchange class of the installed ccxt wheel instead of all of its hundred and more.

Why: `import ccxt.async_support` runs package files that import every exchange (3.5 s, 114 MB). The
class that we need lives in one module. So, before that module is imported, `ccxt` and
`ccxt.async_support` are put into `sys.modules` with their true path and spec, but with their
package files not run yet. Whoever asks such a package for a name it does not have (a test that
imports all of ccxt, another client in the process) makes it run its file then, in place: same
module object, same classes, nothing in the wheel is changed.
"""

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

_LOCK = threading.RLock()


class _NotRunYet(ModuleType):
    """A package whose `__init__.py` runs at the first request for a name that is missing."""

    def __getattr__(self, name: str) -> Any:
        # Probes of tools (`__wrapped__`, `__warningregistry__`) must not cost 3.5 s; a star import
        # must.
        if name.startswith("__") and name not in {"__all__", "__version__"}:
            raise AttributeError(name)
        with _LOCK:
            if self.__class__ is _NotRunYet:
                # First of all: the look-ups of the file itself must not come back here.
                object.__setattr__(self, "__class__", ModuleType)
                spec = self.__spec__
                assert spec is not None
                assert spec.loader is not None
                spec.loader.exec_module(self)
        return getattr(self, name)


def _announce(package: str) -> ModuleType:
    """The package in sys.modules: as it is when somebody imported it already, else not run yet."""
    present = sys.modules.get(package)
    if present is not None:
        return present
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"the package {package} is not installed")
    module = _NotRunYet(package)
    module.__spec__ = spec
    module.__loader__ = spec.loader
    module.__package__ = package
    module.__path__ = list(spec.submodule_search_locations)
    module.__file__ = spec.origin
    sys.modules[package] = module
    parent, _, child = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def exchange_class(ccxt_id: str) -> Any:
    """The class `ccxt.async_support.<ccxt_id>.<ccxt_id>`; raises ImportError when ccxt has none."""
    if not ccxt_id.isidentifier():
        raise ImportError(f"not the name of an exchange: {ccxt_id!r}")
    with _LOCK:
        root = _announce("ccxt")
        if isinstance(root, _NotRunYet):
            # ccxt's own modules say `from ccxt import Exchange, NetworkError, ..`: have these names
            # ready.
            errors = importlib.import_module("ccxt.base.errors")
            base = importlib.import_module("ccxt.base.exchange")
            vars(root).update({name: getattr(errors, name) for name in errors.__all__})
            vars(root).update({"Exchange": base.Exchange, "__version__": base.__version__})
        package = _announce("ccxt.async_support")
        module = importlib.import_module(f"ccxt.async_support.{ccxt_id}")
        if isinstance(package, _NotRunYet):
            # The import left the submodule under the name that will be the class's.
            vars(package).pop(ccxt_id, None)
    return getattr(module, ccxt_id)


def stream_class(ccxt_id: str) -> Any:
    """The class `ccxt.pro.<ccxt_id>.<ccxt_id>`, which follows streams; raises ImportError when ccxt
    has none."""
    with _LOCK:
        rest = exchange_class(ccxt_id)
        # The module asks `ccxt.async_support` for its base class by name: have it ready there.
        vars(sys.modules["ccxt.async_support"])[ccxt_id] = rest
        package = _announce("ccxt.pro")
        module = importlib.import_module(f"ccxt.pro.{ccxt_id}")
        if isinstance(package, _NotRunYet):
            vars(package).pop(ccxt_id, None)
    return getattr(module, ccxt_id)
