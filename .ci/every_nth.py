"""pytest plugin: every n-th of the tests, spread over all files, where a tool is too slow for all ($EVERY)."""

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    every = int(os.environ["EVERY"])
    config.hook.pytest_deselected(items=[item for at, item in enumerate(items) if at % every])
    items[:] = items[::every]
