"""Checks everything that the app needs, and reports problems with their solutions. Changes nothing.

It opens connections only to the configured runners.

Checks are functions with the same signature in one table. An error in one check does not stop the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.doctor.contents import check_lists, check_loras
from zimage_app.service.diagnostics.doctor.disk import check_databases, check_folders
from zimage_app.service.diagnostics.doctor.finding import Finding, Level, make_finding
from zimage_app.service.diagnostics.doctor.runners import check_runners
from zimage_app.service.diagnostics.doctor.system import (
    check_accelerator,
    check_packages,
    check_port,
    check_python,
    check_settings,
)
from zimage_app.service.diagnostics.doctor.weights import check_models
from zimage_app.service.setup.config import StudioConfig

__all__ = ["CHECKS", "Finding", "Level", "examine"]

log = logging.getLogger(__name__)

Check = Callable[[StudioConfig, bool], Iterator[Finding]]
"""A check of one thing. The flag asks for a deep check, which may read all files to the end."""

CHECKS: tuple[Check, ...] = (
    check_python,
    check_packages,
    check_settings,
    check_accelerator,
    check_folders,
    check_databases,
    check_models,
    check_loras,
    check_lists,
    check_runners,
    check_port,
)
"""In order of cause: a problem in one check may cause those in later ones."""


def examine(config: StudioConfig, *, deep: bool = False, checks: tuple[Check, ...] = CHECKS) -> Iterator[Finding]:
    """Run the checks and yield their findings one by one."""
    for check in checks:
        try:
            yield from check(config, deep)
        except StudioError as error:
            yield Finding("problem", _name(check), error.text)
        except Exception as error:  # a failed check is a finding, and the others still run
            log.exception("%s failed", check.__name__)
            words = f"{type(error).__name__}: {error}"
            yield make_finding(
                "problem",
                _name(check),
                f"the check itself failed ({words}); please report it.",
                f"检查本身出错（{words}），欢迎反馈。",
            )


def _name(check: Check) -> Text:
    name = check.__name__.removeprefix("check_")
    return Text(name, name)
