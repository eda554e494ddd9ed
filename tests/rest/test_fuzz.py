"""F4: requests that are made up from the published schema, right ones and wrong ones; and 401 without the key.

``tests/long/`` runs the same with ten times as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.ui.doubles import QuickPageStudio
from zimage_app.rest.app import rest_routes
from zimage_app.web.credentials import Credentials
from zimage_app.web.guard import is_ambiguous_path
from zimage_app.web.middleware import MiddlewareConfig

UNHURRIED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
KEY = "key-0123456789abcdef"
CASES = {"POST /generate": 60, "GET /history": 40}
"""How many of each kind, right and wrong; of the others, which take a name or nothing, 10."""
BARE = dict.fromkeys(("/models", "/loras", "/presets", "/system/status", "/images/latest", "/queue", "/groups"), "GET")
BARE |= {"/queue/pause": "POST", "/queue/resume": "POST"}
"""What takes nothing that could be wrong, and its method."""
ANY_BYTES = ("/inputs",)
"""What takes a body that no schema can call wrong."""
OPERATIONS = [
    ("POST", "/generate"),
    ("POST", "/batch"),
    ("POST", "/grid"),
    ("GET", "/groups/{group_id}"),
    ("DELETE", "/groups/{group_id}"),
    ("GET", "/groups/{group_id}/{name}"),
    ("POST", "/inputs"),
    ("POST", "/upscale"),
    ("POST", "/workflow"),
    ("GET", "/images/{image_id}/workflow"),
    ("GET", "/generate/{task_id}"),
    ("DELETE", "/generate/{task_id}"),
    ("GET", "/generate/{task_id}/events"),
    ("POST", "/generate/{task_id}/move"),
    ("DELETE", "/queue/groups/{group}"),
    ("GET", "/history"),
    ("GET", "/images/{image_id}"),
    ("GET", "/download/{image_id}"),
    ("DELETE", "/queue"),
    *((method, path) for path, method in BARE.items()),
]


class Impatient(QuickPageStudio):
    """Takes every request and draws none but the first."""

    asked = 0

    def submit_group(self, *given: Any, **named: Any) -> list[str]:
        ids = super().submit_group(*given, **named)
        for job_id in ids[self.asked == 0 :]:
            self.cancel(job_id)
        self.asked += len(ids)
        return ids


@contextmanager
def rest(folder: Path) -> Iterator[Starlette]:
    """REST behind its middleware, with one task and one picture."""
    studio = Impatient(folder, step_seconds=0.0)
    config = MiddlewareConfig(credentials=Credentials(api_key=KEY))
    yield Starlette(routes=rest_routes(studio, "auto"), middleware=config.middleware("auto"))
    studio.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starlette]:
    with rest(tmp_path_factory.mktemp("fuzz")) as app:
        yield app


def published(app: Starlette) -> Any:
    """The schema, but for the key: it is tried with every call, and not made up."""
    schema = TestClient(app, base_url="http://127.0.0.1").get("/api/openapi.json").json()
    for methods in schema["paths"].values():
        for operation in methods.values():
            del operation["security"]
    loaded = schemathesis.openapi.from_dict(schema)
    loaded.app = app
    return loaded


def call(app: Starlette, method: str, path: str, mode: schemathesis.GenerationMode, more: int = 1) -> int:
    """Make up calls of an operation, check every answer against the schema; gives how many there were."""
    most = more * CASES.get(f"{method} {path}", 1 if path in BARE else 10)
    schema = published(app)
    statuses: list[int] = []

    @given(case=schema[path][method].as_strategy(mode))
    @settings(UNHURRIED, max_examples=most)
    def check(case: schemathesis.Case[Any]) -> None:
        answer = case.call(headers={"host": "127.0.0.1", "x-api-key": KEY})
        # What the schema can't say (start before end of EasyCache, names that exist) is refused all the same.
        case.validate_response(answer, excluded_checks=[positive_data_acceptance, ignored_auth])
        statuses.append(answer.status_code)
        unkeyed = case.call(headers={"host": "127.0.0.1"})
        no_address = is_ambiguous_path(case.formatted_path.encode())
        assert unkeyed.status_code == (404 if no_address else 401)

    check()
    if mode is schemathesis.GenerationMode.NEGATIVE:
        # An unknown setting whose value is an empty list leaves no trace in an address, and is answered with 200.
        parameters = schema.raw_schema["paths"][path][method.lower()].get("parameters", ())
        in_address = method == "GET" or any(each["in"] == "query" for each in parameters)
        assert set(statuses) <= ({200, 404, 405, 422} if in_address else {404, 405, 422})
        assert set(statuses) & {404, 422}
    else:
        assert set(statuses) <= {200, 404, 422}
    return len(statuses)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_f4_what_the_schema_allows_is_answered_as_it_says(method: str, path: str, app: Starlette) -> None:
    assert call(app, method, path, schemathesis.GenerationMode.POSITIVE) > 0


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[1] not in (*BARE, *ANY_BYTES)])
def test_f4_what_the_schema_forbids_is_refused(method: str, path: str, app: Starlette) -> None:
    assert call(app, method, path, schemathesis.GenerationMode.NEGATIVE) > 0


def test_f4_every_operation_is_called(app: Starlette) -> None:
    schema = published(app)
    operations = [each.ok() for each in schema.get_all_operations()]
    assert {(each.method.upper(), each.path) for each in operations} == set(OPERATIONS)
