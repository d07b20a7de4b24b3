"""What is dropped of the user's environment, and who still gets it."""

from __future__ import annotations

import os

import pytest

from flows.engine import environment
from flows.engine.environment import DASK, PREFECT, drop_variables, user_environment


def test_settings_of_other_programs_are_dropped_and_hooks_still_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_as_given", {})
    given = {
        "PREFECT_API_URL": "a",
        "prefect_api_database_connection_url": "b",
        "Prefect_Home": "c",
        "PREFECT__FLOW_RUN_ID": "d",
        "UVICORN_PORT": "e",
        "DASK_CONFIG": "f",
        "dask_distributed__worker__preload": "g",
        "HTTP_PROXY": "h",
        "MY_PREFECT": "i",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    drop_variables(PREFECT)
    drop_variables(DASK)
    assert {name for name in given if name in os.environ} == {"HTTP_PROXY", "MY_PREFECT"}
    assert {name: value for name, value in user_environment().items() if name in given} == given
